"""How activations and gradients grow or shrink from layer to layer."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch

from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer, exact
from normscope.probes._units import by_unit, layer_sums
from normscope.records import Reading


@dataclass
class DepthGrowth:
    r"""Mean and deviation of every layer's sums, the gradients' norms, and their growth with depth.

    Without a norm activations may grow from layer to layer (Bjorck et al. 2018, arXiv
    1806.02375); with batch norm gradients do, backwards. In wide networks of batch norm and ReLU at
    initialisation ‖dL/dz‖² grows by π/(π − 1) a layer, ‖dL/dz‖ by 1.211 (Yang et al. 2019, arXiv
    1902.08129).

    Quantities, per layer, on the probe batch after the step:

    - ``mean``, ``deviation``: of z, over all examples and units, divided by n,
    - ``gradient``: ‖dL/dz‖ over all examples and units, of the mean loss,
    - ``gradient-growth``: ‖dL/dz‖ of this layer over that of the next that is called; none for the
      last,
    - ``weight-gradient``: ‖dL/dW‖ of the step, on the training's own batch, where it is known.

    Cost: 1 FB, which the other probes of activations share.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
        >>> _ = torch.nn.init.constant_(network[1].weight, 3.0)
        >>> moment = Moment(1, network, lambda n: n(torch.ones(4, 1)).mean(), {}, {}, {})
        >>> [r.value for r in DepthGrowth().read(moment) if r.quantity == "gradient-growth"]
        [3.0]
    """

    needs_loss: ClassVar[bool] = True

    name: str = "depth-growth"
    every: int = 500

    def read(self, moment: Moment) -> list[Reading]:
        """Up to five quantities of every weight layer."""
        write, readings = Writer(moment, self.name), list[Reading]()
        norms: dict[str, float] = {}
        for seen in layer_sums(moment):
            path, units = seen.layer.path, by_unit(moment.network, seen.layer, seen.sums)
            variance, mean = torch.var_mean(units, correction=0)
            norms[path] = float(exact(seen.sums_gradient).norm())
            readings += [
                write.number("mean", mean, path),
                write.number("deviation", variance.sqrt(), path),
                write.number("gradient", norms[path], path),
            ]
            if (gradient := moment.gradients.get(seen.layer.weight)) is not None:
                readings.append(write.number("weight-gradient", exact(gradient).norm(), path))
        return readings + [
            write.number("gradient-growth", norms[here] / norms[after], here)
            for here, after in pairwise(norms)
            if norms[after]
        ]
