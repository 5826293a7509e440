"""How long a step along the gradient may be before the loss rises."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from normscope.probes._moment import Moment
from normscope.probes._vectors import length, ratio
from normscope.records import Reading

LENGTHS = tuple(float(part) for part in np.geomspace(1e-4, 10**0.5, 19))
"""Of the steps, in lengths of the parameters: four per decade from 0.0001 to 3.16."""


@dataclass
class SafeStep:
    r"""The largest safe step: the relative loss along the gradient, far out.

    .. math:: r(a) = L(\theta - a \nabla L(\theta)) / L(\theta)

    for the parameters θ after the step and the loss of the probe batch, over 19 step lengths
    ‖a ∇L‖ of 0.0001 to 3.16 times ‖θ‖ (of all that learns), four per decade, so that the grid fits
    any parametrization; a itself is what gradient descent calls the learning rate.

    (Bjorck, Gomes, Selman & Weinberger 2018, arXiv 1806.02375, draw r over a with and without batch
    norm: with it, the minimum lies at a larger a.)

    Quantities, of the network:

    - ``relative-loss``: r over the grid, as values,
    - ``unit``: ‖θ‖ / ‖∇L‖, the a that moves the parameters by their own length; the a of a point of
      the grid is that point times this,
    - ``largest-safe``: the largest a of the grid before the first at which the loss is above
      L(θ); 0 if that is the first of all, and the end of the grid, 3.16 units, if there is none,
    - ``best``: the a of the grid with the smallest loss.

    NaN where there is no gradient.

    Cost: 1 FB and 19 F.

    Example:
        >>> from torch import nn
        >>> network = nn.Linear(1, 1, bias=False)
        >>> moment = Moment(1, network, lambda n: n.weight.square().sum(), {}, {}, {})
        >>> {r.quantity: round(r.value, 2) for r in SafeStep().read(moment)[1:]}
        {'unit': 0.5, 'largest-safe': 0.89, 'best': 0.5}
    """

    needs_loss: ClassVar[bool] = True

    name: str = "safe-step"
    every: int = 2000

    def read(self, moment: Moment) -> list[Reading]:
        """The curve, and where it is lowest and where it rises."""
        loss, gradient = moment.gradient_at(moment.after)
        size, slope = length(moment.after[n] for n in gradient), length(gradient.values())
        unit = ratio(size, slope)
        down = {name: part * -unit for name, part in gradient.items()}
        losses = [moment.loss_at(moment.moved(part, down, moment.after)) for part in LENGTHS]
        safe = next((i for i, at in enumerate(losses) if not at <= loss), len(losses))
        numbers = {
            "unit": unit,
            "largest-safe": unit * (0.0, *LENGTHS)[safe],
            # NaN sorts as the largest here, as infinity does.
            "best": unit * LENGTHS[int(torch.tensor(losses).nan_to_num(torch.inf).argmin())],
        }
        curve = tuple(ratio(at, loss) for at in losses)
        step, probe = moment.step, self.name
        return [
            Reading(step=step, probe=probe, quantity="relative-loss", values=curve),
            *(Reading(step=step, probe=probe, quantity=q, value=v) for q, v in numbers.items()),
        ]
