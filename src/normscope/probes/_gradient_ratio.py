"""The gradient's size beside the weights', unit by unit."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer
from normscope.probes._weight_steps import Products, weight_steps
from normscope.records import Reading


@dataclass
class GradientRatio:
    r"""The norm of each unit's gradient over that of its weights, ‖G_i‖/‖W_i‖.

    What adaptive gradient clipping keeps below a constant (Brock et al. 2021, arXiv 2102.06171).
    The clipping itself takes max(‖W_i‖, ε) below; here it is the plain ratio, infinite for weights
    that are all 0, NaN where the gradient is, too.

    Quantity, per layer: ``ratio``. The value is that of all its weights as one vector; the values
    are the quantiles 0, 0.15, 0.5, 0.85 and 1 over its units. The gradient is the step's own, on
    the training's batch; the weights are those from before the step. Layers without a gradient are
    left out.

    Cost: O(parameters), no pass.

    Example:
        >>> import torch
        >>> network = torch.nn.Linear(2, 1, bias=False)
        >>> moment = Moment(1, network, lambda n: n(torch.ones(1, 2)).sum(),
        ...     {"weight": torch.tensor([[3.0, 4.0]])}, {"weight": torch.tensor([[0.0, 1.0]])}, {})
        >>> [(r.quantity, r.value) for r in GradientRatio().read(moment)]
        [('ratio', 0.2)]
    """

    needs_loss: ClassVar[bool] = False

    name: str = "gradient-ratio"
    every: int = 250

    def read(self, moment: Moment) -> list[Reading]:
        """One quantity of every weight layer."""
        write = Writer(moment, self.name)
        return [
            write.spread("ratio", _ratio(step.rows), step.path, _ratio(step.rows.whole))
            for step in weight_steps(moment)
        ]


def _ratio(p: Products) -> Tensor:
    return (p.gg / p.ww).sqrt()
