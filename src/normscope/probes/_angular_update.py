"""How far a step turns each weight row, and the rate that this amounts to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer
from normscope.probes._weight_steps import Products, weight_steps
from normscope.records import Reading

_FORMULAS: dict[str, Callable[[Products], Tensor]] = {
    "norm": lambda p: p.length,
    "relative-step": lambda p: (p.dd / p.ww).sqrt(),
    "angle": lambda p: p.angle,
    "cosine-gradient": lambda p: p.wg / (p.ww * p.gg).sqrt(),
    "cosine-step": lambda p: p.wd / (p.ww * p.dd).sqrt(),
}


@dataclass
class AngularUpdate:
    r"""How far a step turns the weights in front of a norm; of any other layer, for comparison.

    In front of a batch norm only a row's direction counts, L(αw) = L(w), so that the gradient is at
    right angles to w and shrinks as 1/‖w‖ (van Laarhoven 2017, arXiv 1706.05350; Hoffer et al.
    2018, arXiv 1803.01814). Then a step of SGD turns the row as one with the rate η/‖w‖² turns a
    row of length 1, and a step of Adam, which does not know the gradient's scale, as one with the
    rate η/‖w‖.

    Quantities, per layer. The value is that of all its weights as one vector; the values are the
    quantiles 0, 0.15, 0.5, 0.85 and 1 over its rows, one row per output unit:

    - ``norm``: ‖w‖ before the step,
    - ``relative-step``: ‖w' − w‖/‖w‖,
    - ``angle``: between w and w', in radians,
    - ``effective-rate-sgd``: η/‖w‖²; ``effective-rate-adam``: η/‖w‖,
    - ``cosine-gradient``: cos(w, g), with the step's own gradient; 0 in front of a batch norm,
    - ``cosine-step``: cos(w, w' − w); 0 there under plain SGD, and under Adam whatever it is.

    NaN where a row, its step or its gradient is 0. w is the parameter as the optimizer holds it:
    where a layer divides it by a constant, the angles and ratios are the same. Every parameter of
    two axes or more is a layer here, by its module's path; those without a gradient are left out,
    and embeddings.

    Cost: O(parameters), no pass.

    Example:
        >>> import torch
        >>> network = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.ones_(network.weight)
        >>> moment = Moment(1, network, lambda n: n(torch.ones(1, 2)).sum(),
        ...     {"weight": torch.tensor([[1.0, 0.0]])}, {"weight": torch.tensor([[0.0, -1.0]])},
        ...     {"weight": 1.0})
        >>> [(r.quantity, round(r.value, 3)) for r in AngularUpdate().read(moment)][:3]
        [('norm', 1.0), ('relative-step', 1.0), ('angle', 0.785)]
    """

    needs_loss: ClassVar[bool] = False

    name: str = "angular-update"
    every: int = 250

    def read(self, moment: Moment) -> list[Reading]:
        """Seven quantities of every weight layer."""
        write, readings = Writer(moment, self.name), list[Reading]()
        for step in weight_steps(moment):
            rates = {
                "effective-rate-sgd": lambda p, rate=step.rate: rate / p.ww,
                "effective-rate-adam": lambda p, rate=step.rate: rate / p.length,
            }
            whole = step.rows.whole
            readings += [
                write.spread(quantity, formula(step.rows), step.path, formula(whole))
                for quantity, formula in (_FORMULAS | rates).items()
            ]
        return readings
