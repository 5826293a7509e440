"""How much of a step lengthens the weights, and how much turns them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer, exact
from normscope.probes._weight_steps import Products, weight_steps
from normscope.records import Reading


@dataclass
class LengthDirection:
    r"""The radial and the tangential part of every step; length against direction.

    Kohler et al. 2019 (arXiv 1805.10694) read batch norm as w = γ·u/‖u‖_S: γ learns the
    length, u no more than the direction. Of the step d = w' − w of a row, the radial part is
    <w, d>/‖w‖, and what is left is tangential.

    Quantities, per layer. The value is that of all its weights as one vector; the values are the
    quantiles 0, 0.15, 0.5, 0.85 and 1 over its rows:

    - ``radial-share``: <w, d>²/(‖w‖²‖d‖²), the share of ‖d‖² that is radial. 0 in front of a batch
      norm under plain SGD; for a direction drawn at random among n inputs 1/n in the mean,
    - ``radial-step``: <w, d>/‖w‖², with its sign; ``tangential-step``: the other part over ‖w‖,
    - ``length-step``: |‖w'‖ − ‖w‖|/‖w‖. In front of a norm it does nothing: there the length is γ,
      whose ‖γ' − γ‖/‖γ‖ is the ``length-step`` at the norm's own path, over its channels,
    - ``direction-step``: the angle between w and w', in radians.

    NaN where a row or its step is 0. Layers without a gradient are left out.

    Cost: O(parameters), no pass; next to nothing beside the angular update, which goes through the
    same products.

    Example:
        >>> import torch
        >>> network = torch.nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[2.0, 1.0]])
        >>> moment = Moment(1, network, lambda n: n(torch.ones(1, 2)).sum(),
        ...     {"weight": torch.tensor([[1.0, 0.0]])}, {"weight": torch.tensor([[-1.0, -1.0]])},
        ...     {"weight": 1.0})
        >>> [(r.quantity, round(r.value, 3)) for r in LengthDirection().read(moment)][:3]
        [('radial-share', 0.5), ('radial-step', 1.0), ('tangential-step', 1.0)]
    """

    needs_loss: ClassVar[bool] = False

    name: str = "length-direction"
    every: int = 250

    def read(self, moment: Moment) -> list[Reading]:
        """Five quantities of every weight, one of every norm with a γ."""
        write, readings = Writer(moment, self.name), list[Reading]()
        for step in weight_steps(moment):
            whole = step.rows.whole
            readings += [
                write.spread(quantity, formula(step.rows), step.path, formula(whole))
                for quantity, formula in _FORMULAS.items()
            ]
        for path, (before, after) in _gammas(moment).items():
            change = after - before
            relative = change.norm() / before.norm()
            readings.append(write.spread("length-step", (change / before).abs(), path, relative))
        return readings


def _growth(p: Products) -> Tensor:
    """|‖w'‖ − ‖w‖|/‖w‖, without the difference of two lengths that are all but equal."""
    grown = 2 * p.wd + p.dd
    return (grown / ((p.ww + grown).clamp(min=0.0).sqrt() + p.length) / p.length).abs()


_FORMULAS: dict[str, Callable[[Products], Tensor]] = {
    "radial-share": lambda p: p.wd**2 / (p.ww * p.dd),
    "radial-step": lambda p: p.wd / p.ww,
    "tangential-step": lambda p: p.tangent / p.length,
    "length-step": _growth,
    "direction-step": lambda p: p.angle,
}


def _gammas(moment: Moment) -> dict[str, tuple[Tensor, Tensor]]:
    """What every norm multiplies by, before the step and after, by the norm's path."""
    weights = {
        path: f"{path}.weight".lstrip(".")
        for path, module in moment.network.named_modules()
        if hasattr(module, "eps")
    }
    return {
        path: (exact(moment.before[name]), exact(moment.after[name]))
        for path, name in weights.items()
        if name in moment.before and name in moment.after
    }
