"""How good a model's outputs are, row by row, where batches say what is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Measure = Literal["accuracy", "squared error", "output"]
"""What outputs are judged by: class labels, targets of their own shape, or only each other."""

_TARGETS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model answered one batch with.

    Attributes:
        output: the first tensor of floating-point numbers in the answer, a row for each row of
            the batch, in float64; None if there is none.
        scores: per row, how good that is: the share right (of the largest output; of the sign,
            where targets are zeros and ones), or minus the squared error in units of the targets'
            variance; None where nothing says what is right.
        measure: what it is judged by.
    """

    output: Tensor | None
    scores: Tensor | None
    measure: Measure


def outcome_of(answer: Any, batch: Any) -> Outcome:
    """Judge an answer."""
    tensors = [
        leaf
        for leaf in pytree.tree_leaves(answer)
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim and leaf.numel()
    ]
    if not tensors:
        return Outcome(None, None, "output")
    output = tensors[0].detach().cpu().double()
    target = target_of(batch)
    if target is None:
        return Outcome(_rows(output), None, "output")
    target = target.detach().cpu()
    if (right := _right(output, target)) is not None:
        return Outcome(_rows(output), right, "accuracy")
    if (right := _right_of_shares(output, target)) is not None:
        return Outcome(_rows(output), right, "accuracy")
    if (error := _squared_error(output, target)) is not None:
        return Outcome(_rows(output), -error, "squared error")
    return Outcome(_rows(output), None, "output")


def target_of(batch: Any) -> Tensor | None:
    """What a batch says is right: its second part, or what it calls labels or targets."""
    target: object = None
    if isinstance(batch, tuple | list) and len(batch) > 1:
        target = batch[1]
    elif isinstance(batch, Mapping):
        target = next((batch[name] for name in _TARGETS if name in batch), None)
    return target if isinstance(target, Tensor) and target.ndim else None


def classes_of(batch: Any) -> Tensor | None:
    """The class label of every row, where a batch has whole numbers for that."""
    target = target_of(batch)
    if target is None or target.ndim != 1 or target.is_floating_point():
        return None
    return None if target.dtype == torch.bool else target.detach().cpu()


def _right(output: Tensor, target: Tensor) -> Tensor | None:
    """The share right per row, where the targets are classes."""
    if target.is_floating_point() or output.ndim < 2 or output.shape[1] < 2:
        return None
    if output[:, 0].shape != target.shape:
        return None
    right = (output.argmax(dim=1) == target).double()
    return right.flatten(1).mean(dim=1) if right.ndim > 1 else right


def _right_of_shares(output: Tensor, target: Tensor) -> Tensor | None:
    """The share right per row, where targets are zeros and ones, or shares of classes."""
    if not target.is_floating_point() or target.numel() != output.numel():
        return None
    target = target.double().reshape(output.shape)
    if output.ndim > 1 and output.shape[1] > 1 and _are_shares(target):
        right = (output.argmax(dim=1) == target.argmax(dim=1)).double()
        return right.flatten(1).mean(dim=1) if right.ndim > 1 else right
    if bool(((target == 0) | (target == 1)).all()):
        middle = 0.5 if bool(((output >= 0) & (output <= 1)).all()) else 0.0
        return _rows(((output > middle) == (target > 0)).double()).mean(dim=1)
    return None


def _are_shares(target: Tensor) -> bool:
    total = target.sum(dim=1)
    return bool((target >= 0).all() and torch.allclose(total, torch.ones_like(total), atol=1e-3))


def _rows(values: Tensor) -> Tensor:
    """As a matrix, a row for each row."""
    return values.reshape(len(values), -1)


def _squared_error(output: Tensor, target: Tensor) -> Tensor | None:
    """Per row, in units of the targets' variance, where targets look like outputs."""
    if not target.is_floating_point() or target.numel() != output.numel():
        return None
    target = target.double().reshape(output.shape)
    variance = float(target.var(correction=0))
    if not variance > 0:
        return None
    return _rows((output - target).square()).mean(dim=1) / variance
