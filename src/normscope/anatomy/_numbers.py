"""Tensors whose numbers can be looked at, and where they can be looked at closely."""

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy


def readable(value: object) -> Tensor | None:
    """A tensor without its history; None if `value` is none, or one that shows no numbers.

    Those of lazy parameters are not there yet, those on the meta device never, and what is sparse,
    nested or quantized in a layout of its own refuses most of what is asked of a tensor.

    Example:
        >>> readable(torch.ones(2, requires_grad=True)), readable(torch.ones(2).to_sparse())
        (tensor([1., 1.]), None)
    """
    if not isinstance(value, Tensor) or is_lazy(value) or value.is_meta:
        return None
    return value.detach() if value.layout == torch.strided and not value.is_nested else None


def in_float64(values: Tensor) -> Tensor:
    """The same numbers in float64, on the CPU where their device has none (Apple's GPUs).

    Example:
        >>> in_float64(torch.tensor([1], dtype=torch.int32))
        tensor([1.], dtype=torch.float64)
    """
    return (values.cpu() if values.device.type == "mps" else values).double()
