"""Lengths and angles of all parameters taken as one vector, in float64."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def length(parts: Iterable[Tensor]) -> float:
    """The Euclidean length of several tensors taken as one vector.

    Example:
        >>> length([torch.tensor([2.0]), torch.tensor([[1.0, 2.0]])])
        3.0
    """
    norms = [torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def product(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The inner product of two vectors whose parts have names: those of `a`.

    Example:
        >>> product({"w": torch.tensor([2.0, 1.0])}, {"w": torch.tensor([3.0, 4.0])})
        10.0
    """
    return math.fsum(float((a[n].double() * b[n].double()).sum()) for n in a)


def ratio(numerator: float, denominator: float) -> float:
    """A quotient; that by zero is NaN, or infinite.

    Example:
        >>> ratio(1.0, 0.0), ratio(0.0, 0.0)
        (inf, nan)
    """
    return float(torch.tensor(numerator, dtype=torch.float64) / denominator)
