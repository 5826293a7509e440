"""Units that say the same of every example, or that the loss does not hear."""

from dataclasses import dataclass
from typing import ClassVar

from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer
from normscope.probes._units import by_unit, layer_sums
from normscope.records import Reading


@dataclass
class DeadUnits:
    r"""The share of units that are dead, or always on, for every example of the probe batch.

    By the sign of what goes into the activation: y, what the norm behind a layer gives, or the
    layer's sums where there is no norm. A ReLU makes nothing of a unit that is never positive, and
    is no more than a linear map for one that always is; only between do its two pieces meet inside
    the data (Balestriero & Baraniuk 2022, arXiv 2209.14778). What the activation is, is not looked
    at: for others than ReLU, and for a last layer, the first two are plain counts of signs, while
    the third means the same for all.

    Quantities, per layer, each a share of its units:

    - ``never-positive``: y ≤ 0 at every place of every example: dead, in front of a ReLU,
    - ``always-positive``: y > 0 at every place of every example,
    - ``unheard``: dL/dy is exactly 0 at every place of every example, so that the unit does not
      learn from this batch: dead whatever the activation, or saturated beyond the last digit.

    A unit with a NaN is neither of the first two, and one whose gradient has a NaN is not unheard.

    Cost: 1 FB, which the other probes of activations share.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU())
        >>> network[0].weight.data = torch.tensor([[-1.0], [1.0]])
        >>> moment = Moment(1, network, lambda n: n(torch.ones(4, 1)).mean(), {}, {}, {})
        >>> [(r.quantity, r.value) for r in DeadUnits().read(moment)]
        [('never-positive', 0.5), ('always-positive', 0.5), ('unheard', 0.5)]
    """

    needs_loss: ClassVar[bool] = True

    name: str = "dead-units"
    every: int = 500

    def read(self, moment: Moment) -> list[Reading]:
        """Three quantities of every weight layer."""
        write, readings = Writer(moment, self.name), list[Reading]()
        for seen in layer_sums(moment):
            y = by_unit(moment.network, seen.layer, seen.normalized)
            gradient = by_unit(moment.network, seen.layer, seen.normalized_gradient)
            shares = {"never-positive": y <= 0, "always-positive": y > 0, "unheard": gradient == 0}
            readings += [
                write.number(quantity, holds.all(0).double().mean(), seen.layer.path)
                for quantity, holds in shares.items()
            ]
        return readings
