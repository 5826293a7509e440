"""Whether all examples push a unit the same way."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer
from normscope.probes._units import by_example, layer_sums
from normscope.records import Reading


@dataclass
class InputIndependence:
    r"""How much of a unit's gradient is the same whatever the example.

    |Σ_b g_b|/Σ_b |g_b| over the examples b of the probe batch: 1 where all push the unit the same
    way, near 0 where they cancel. Bjorck et al. 2018 (arXiv 1806.02375) take it per weight; here
    g_b is dL/dz of one unit, summed over an example's places, since behind a batch norm an example
    has no gradient of its own with respect to the weights.

    Quantities, per layer. The value is the mean over units, the values are the quantiles 0, 0.15,
    0.5, 0.85 and 1; units without any gradient are left out:

    - ``normalized``: of dL/dy, of what the norm behind the layer gives; of z where there is none,
    - ``sums``, where there is a norm: of dL/dz. Through a batch norm it is 0 by construction: its
      gradient is centred over the batch.

    Cost: 1 FB, which the other probes of activations share.

    Example:
        >>> import torch
        >>> independence(torch.tensor([[1.0, 1.0, 0.0], [3.0, -1.0, 0.0]]))
        tensor([1., 0., nan])
    """

    needs_loss: ClassVar[bool] = True

    name: str = "input-independence"
    every: int = 500

    def read(self, moment: Moment) -> list[Reading]:
        """One or two quantities of every weight layer."""
        write, readings = Writer(moment, self.name), list[Reading]()
        for seen in layer_sums(moment):
            kinds = {"normalized": seen.normalized_gradient}
            if seen.layer.norm is not None:
                kinds["sums"] = seen.sums_gradient
            for kind, gradient in kinds.items():
                each = independence(by_example(moment.network, seen.layer, gradient))
                readings.append(write.spread(kind, each, seen.layer.path))
        return readings


def independence(gradient: Tensor) -> Tensor:
    """|Σ_b g_b|/Σ_b |g_b| of every column of ``[examples, units]``."""
    return gradient.sum(0).abs() / gradient.abs().sum(0)
