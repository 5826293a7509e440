"""Adam as it is used here, and Adam behind adaptive gradient clipping."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from normscope.nn import MLP

_LEAST_NORM = 1e-3


class LeanAdam(torch.optim.Adam):
    """`torch.optim.Adam`, which to be built needs not load torch's compiler.

    The compiler, which only `step` needs, costs a second and 70 MB in every process; a step that
    is written out does without.
    """

    add_param_group = getattr(
        torch.optim.Optimizer.add_param_group,
        "__wrapped__",  # without the decorator that hides the method from the compiler
        torch.optim.Optimizer.add_param_group,
    )


class ClippedAdam(LeanAdam):
    r"""Adam on gradients that are short beside what they are to change.

    .. math:: G_i \leftarrow \lambda \, \frac{\max(\lVert W_i \rVert, 10^{-3})}{\lVert G_i \rVert}
              \, G_i \quad \text{where} \quad
              \lVert G_i \rVert > \lambda \max(\lVert W_i \rVert, 10^{-3})

    Adaptive gradient clipping (Brock, De, Smith & Simonyan 2021, arXiv 2102.06171, equation 3):
    i is a row of a weight matrix, one unit's; a vector, a bias or a gain, counts as one. As there,
    the last linear map's parameters are left alone. Norms are those of the weights that act: with
    scaled weights W is c times the parameter, and G its gradient divided by c.

    Adam, unlike the article's momentum, divides by the size of past gradients, so that a factor
    that stays the same changes nothing; what is left of the clipping is that no single step stands
    out.

    Args:
        network: whose parameters are trained.
        clipping: :math:`\lambda`.
        **options: as those of `torch.optim.Adam`.
    """

    def __init__(self, network: MLP, clipping: float, **options: Any) -> None:
        super().__init__(network.parameters(), **options)
        *clipped, _ = network.normalized_layers()
        self._clipping = clipping
        self._clipped: list[tuple[nn.Parameter, float]] = [
            (parameter, _scale(layer.linear) if parameter.ndim > 1 else 1.0)
            for layer in clipped
            for parameter in layer.parameters()
        ]

    @torch.no_grad()
    def clip(self) -> None:
        """Shorten the gradients that are too long."""
        for parameter, scale in self._clipped:
            if parameter.grad is not None:
                longest = self._clipping * (scale * _norms(parameter)).clamp(min=_LEAST_NORM)
                # Where a gradient is 0 the quotient is infinite, and the factor 1.
                parameter.grad.mul_((scale * longest / _norms(parameter.grad)).clamp(max=1))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Clip, and make Adam's step."""
        self.clip()
        return super().step(closure)


def _norms(values: Tensor) -> Tensor:
    """Of every row of a matrix, ``[rows, 1]``; of a vector as a whole."""
    axes = 1 if values.ndim > 1 else None
    norms: Tensor = torch.linalg.vector_norm(values, dim=axes, keepdim=True)
    return norms


def _scale(linear: nn.Module) -> float:
    """c: 1 for plain weights."""
    scale = getattr(linear, "scale", 1.0)
    assert isinstance(scale, float)
    return scale
