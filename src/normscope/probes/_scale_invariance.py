"""Whether the scale of the weights in front of a norm is of no account."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from normscope.anatomy import WeightLayer
from normscope.probes._moment import Moment, Parameters
from normscope.probes._summaries import Writer, exact
from normscope.probes._units import by_unit, layer_sums
from normscope.records import Reading

_FACTOR = 2.0  # a power of two: the scaled weights are exact


@dataclass
class ScaleInvariance:
    r"""Whether L(αw) = L(w) holds for a layer, and where a norm's eps breaks it.

    In front of a norm, L(αw) = L(w) for every α > 0, and so <w, ∇L(w)> = 0 by Euler's theorem (van
    Laarhoven 2017, arXiv 1706.05350; Arora, Li & Lyu 2019, arXiv 1812.03981). It is exact where eps
    is 0, and breaks where a unit's variance comes near eps. w is all that the layer has, weight and
    bias: in front of a layer norm only both together have no scale.

    Quantities, per layer; those without a norm are the comparison:

    - ``loss-change``: |L(2w) − L(w)|/|L(w)| of the probe batch,
    - ``cosine``: cos(w, ∇L(w)), of the probe batch after the step; NaN where either is 0, none
      where the weight does not learn,
    - ``variance-over-eps``, in front of a batch norm: the population variance of a unit's sums over
      eps. The value is the least of all units; the values are the quantiles 0, 0.15, 0.5, 0.85 and
      1 over units.

    Cost: 2 FB, of which the other probes of activations share one, and 1 F for each layer.

    Example:
        >>> norm = torch.nn.BatchNorm1d(1, eps=1e-12)
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 1), norm)
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> moment = Moment(1, network, lambda n: (n(x) - x[:, :1]).square().mean(), {}, {}, {})
        >>> ScaleInvariance().read(moment)[0].value < 1e-5
        True
    """

    needs_loss: ClassVar[bool] = True

    name: str = "scale-invariance"
    every: int = 2000

    def read(self, moment: Moment) -> list[Reading]:
        """Two quantities of every weight layer, three of those in front of a batch norm."""
        write, readings = Writer(moment, self.name), list[Reading]()
        loss, gradient = moment.gradient_at(moment.after)
        for layer in moment.layers:
            own = {n: v for n, v in moment.after.items() if n.rpartition(".")[0] == layer.path}
            scaled = moment.loss_at(moment.after | {n: _FACTOR * v for n, v in own.items()})
            change = abs(scaled - loss) / abs(loss) if loss else torch.nan
            readings.append(write.number("loss-change", change, layer.path))
            if layer.weight in gradient:
                readings.append(write.number("cosine", _cosine(own, gradient), layer.path))
        return readings + self._variances(moment)

    def _variances(self, moment: Moment) -> list[Reading]:
        """How far the variances are from eps."""
        write, readings = Writer(moment, self.name), list[Reading]()
        for seen in layer_sums(moment):
            if not seen.layer.is_batch_norm:
                continue
            variances = by_unit(moment.network, seen.layer, seen.sums).var(0, correction=0)
            over = variances / _eps(moment, seen.layer)
            readings.append(write.spread("variance-over-eps", over, seen.layer.path, over.min()))
        return readings


def _cosine(own: Parameters, gradient: Parameters) -> float:
    """Between parameters and those of their gradients that are known."""
    pairs = [
        (exact(value).flatten(), exact(gradient[name]).flatten())
        for name, value in own.items()
        if name in gradient
    ]
    w, g = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return float(w @ g / (w.norm() * g.norm()))


def _eps(moment: Moment, layer: WeightLayer) -> float:
    assert layer.norm is not None
    return float(moment.network.get_submodule(layer.norm).eps)  # type: ignore[arg-type]
