"""What a model answers an example with, and how far answers are from each other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from normscope._errors import InputError
from normscope.anatomy import in_float64, own_errors


def outputs_of(model: nn.Module, example: Any) -> list[Tensor]:
    """Every tensor of floats that the model answers the example with.

    The example is copied before, since a model may write into what it is given.

    Raises:
        InputError: if there is none, or a number that is not finite.
        OwnModelError: if the model raises.
    """
    given = pytree.tree_map_only(Tensor, Tensor.clone, example)
    with own_errors(model, "on the example", _advice(example)):
        if isinstance(given, Mapping):
            answer = model(**given)
        else:
            answer = model(*given) if isinstance(given, tuple) else model(given)
    tensors = [
        leaf
        for leaf in pytree.tree_leaves(answer)
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
    name = type(model).__name__
    if not any(tensor.numel() for tensor in tensors):
        msg = (
            f"{name} answers the example with no floating-point numbers, so nothing can be compared"
        )
        raise InputError(msg)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        msg = (
            f"{name} answers the example with numbers that are not finite, so that nothing can be "
            "compared. Look at the example, the weights and the running statistics."
        )
        raise InputError(msg)
    return tensors


def _advice(example: Any) -> str:
    """How an example is taken."""
    if isinstance(example, tuple):
        return (
            "A tuple is taken for the model's arguments: of a batch with labels pass the inputs "
            "alone."
        )
    if isinstance(example, Mapping):
        return "A mapping is taken for the model's named arguments: pass these and no others."
    return "Pass what it is called with: a tensor, a tuple of arguments, or a dictionary of them."


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest absolute value expected."""
    if not expected.numel():
        return 0.0
    difference = float((in_float64(found) - in_float64(expected)).abs().max())
    largest = float(expected.abs().max())
    return difference / largest if largest else (math.inf if difference else 0.0)


_SAYS_LITTLE = (
    "The model answers every row of the example with the same numbers, so that the difference says "
    "little of the weights: compare on rows that it tells apart."
)


def notes_on(expected: Sequence[Tensor], tolerance: float) -> tuple[str, ...]:
    """What a comparison on these outputs could not have seen, in a note; none if it is fine.

    Args:
        expected: the outputs, rows first.
        tolerance: on the relative difference; rows that differ by less look alike to it.

    Example:
        >>> import torch
        >>> notes_on([torch.tensor([[1.0], [2.0]])], 1e-5)
        ()
        >>> notes_on([torch.tensor([[2.0], [2.0]])], 1e-5)
        ('The model answers every row of the example with the same numbers, ...
    """
    if not all(_is_constant(tensor, tolerance) for tensor in expected if tensor.numel()):
        return ()
    return (_SAYS_LITTLE,)


def _is_constant(output: Tensor, tolerance: float) -> bool:
    """Whether the rows are the same; of one row, whether it is zero."""
    values = in_float64(output)
    several = values.ndim > 0 and len(values) > 1
    spread = (values - values[:1]).abs().max() if several else values.abs().max()
    return bool(spread <= tolerance * values.abs().max())
