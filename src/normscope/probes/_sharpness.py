"""The Hessian's largest eigenvalue, by power iteration."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from normscope.probes._moment import Moment, Parameters
from normscope.probes._vectors import length, product, ratio
from normscope.records import Reading

_ITERATIONS = 12


@dataclass
class Sharpness:
    r"""The eigenvalue of the loss's Hessian that is largest in size: the sharpness.

    .. math:: v_{k+1} = H v_k / \lVert H v_k \rVert, \qquad \lambda = v_k^\top H v_k

    for the Hessian H of the probe batch's loss by all parameters that learn, after the step; 12
    iterations from a random vector that is the same at every reading. The residual says how far
    that got: H has an eigenvalue within residual · |λ| of λ.

    (Yao, Gholami, Keutzer & Mahoney 2019, arXiv 1912.07145, who found that batch norm does not
    necessarily make it smaller in shallow networks.)

    Quantities, of the network:

    - ``eigenvalue``: λ; negative where the largest in size is,
    - ``residual``: ‖H v − λ v‖ / |λ|; where it is not small, |λ| is but a lower bound.

    Cost: 12 times a forward pass, a backward pass and one back through both: about 30 FB. A network
    with an operation that torch cannot differentiate twice raises torch's error.

    Example:
        >>> from torch import nn
        >>> network = nn.Linear(1, 1, bias=False)
        >>> moment = Moment(1, network, lambda n: 3 * n.weight.square().sum(), {}, {}, {})
        >>> {r.quantity: r.value for r in Sharpness().read(moment)}
        {'eigenvalue': 6.0, 'residual': 0.0}
    """

    needs_loss: ClassVar[bool] = True

    name: str = "sharpness"
    every: int = 5000

    def read(self, moment: Moment) -> list[Reading]:
        """The eigenvalue, and how well it is known."""
        direction = _random(moment)
        for _ in range(_ITERATIONS):
            image = moment.curvature_at(moment.after, direction)
            eigenvalue = product(direction, image)
            rest = length(image[n] - eigenvalue * part for n, part in direction.items())
            size = length(image.values())
            if not size > 0:
                break
            direction = {name: part / size for name, part in image.items()}
        numbers = {"eigenvalue": eigenvalue, "residual": ratio(rest, abs(eigenvalue))}
        return [
            Reading(step=moment.step, probe=self.name, quantity=quantity, value=value)
            for quantity, value in numbers.items()
        ]


def _random(moment: Moment) -> Parameters:
    """A direction of length 1, the same at every reading."""
    generator = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.randn(p.shape, generator=generator).to(p)
        for name, p in moment.network.named_parameters()
        if p.requires_grad
    }
    size = length(drawn.values())
    return {name: part / size for name, part in drawn.items()}
