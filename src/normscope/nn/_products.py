"""Matrix products by the faster of the two libraries that torch brings for the CPU."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

_MANY_ROWS = 1024
"""For how many rows oneDNN chooses the order of a weight; the order serves any number."""


def fast_linear(x: Tensor, weight: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``x @ weight.T`` for two matrices; no gradient flows through it.

    torch multiplies float32 matrices by MKL, its compiler by oneDNN, which is faster at the sizes
    of the article's network. Where torch has both, this is oneDNN's product.

    Args:
        x: ``[rows, inputs]``.
        weight: ``[outputs, inputs]``.
        out: where the product may be put; oneDNN makes a new tensor all the same.

    Example:
        >>> fast_linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[11.]])
    """
    linear = _onednns_linear()
    if linear is None or not _float32_on_cpu(x):
        return torch.mm(x, weight.mT, out=out)
    return linear(x, weight, None, "none", [], "")


def repeated_linear(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """``x -> x @ weight.T`` for many large x: `fast_linear`, which prepares the weight only once.

    Args:
        weight: ``[outputs, inputs]``; it must not change meanwhile.

    Example:
        >>> linear = repeated_linear(torch.tensor([[3.0, 4.0]]))
        >>> linear(torch.tensor([[1.0, 2.0]])), linear(torch.tensor([[1.0, 1.0]]))
        (tensor([[11.]]), tensor([[7.]]))
    """
    linear, packing = _onednns_linear(), _onednns_packing()
    if linear is None or packing is None or not _float32_on_cpu(weight):
        return functools.partial(fast_linear, weight=weight)
    packed = packing(weight, _MANY_ROWS)
    return lambda x: linear(x, packed, None, "none", [], "")


@functools.cache
def _onednns_linear() -> Callable[..., Tensor] | None:
    """``x, weight -> x @ weight.T`` as the compiler's back end calls it; None unless it works."""
    x, weight = torch.ones(2, 2), torch.tensor([[1.0, -3.0]])
    try:
        linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        works = linear(x, weight, None, "none", [], "").tolist() == [[-2.0], [-2.0]]
    except (AttributeError, RuntimeError, TypeError):
        return None
    return linear if works else None


@functools.cache
def _onednns_packing() -> Callable[[Tensor, int], Tensor] | None:
    """A weight in oneDNN's own order, for so many rows; None unless the product takes it."""
    linear, x, weight = _onednns_linear(), torch.ones(2, 2), torch.tensor([[1.0, -3.0]])
    if linear is None:
        return None
    try:
        packing: Callable[[Tensor, int], Tensor] = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001
        works = linear(x, packing(weight, 2), None, "none", [], "").tolist() == [[-2.0], [-2.0]]
    except (AttributeError, RuntimeError, TypeError):
        return None
    return packing if works else None


def _float32_on_cpu(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu"
