"""How good a model's outputs are, row by row, where batches say what is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Measure = Literal["accuracy", "squared error", "loss", "output"]
"""What outputs are judged by: class labels, targets of their own shape, their own size where they
are one number for a batch, or only each other."""

CONSTANT = 1.5
"""A squared error above this is far above that of a constant, which is 1: the targets are not what
such answers look like."""

_TARGETS = ("labels", "label", "targets", "target", "y")
_IGNORED = (-100, 255)
"""Labels that losses leave out: torch's default, and that of segmentation maps in bytes."""

_SEVERAL = object()
"""Stands where more than one part of a batch may be class labels."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model answered one batch with.

    Attributes:
        output: the first tensor of floating-point numbers in the answer, a row for each row of
            the batch, in float64; or the one number that is the whole answer; None if there is
            none.
        scores: per row, how good that is: the share right (of the largest output; of the sign,
            where targets are zeros and ones), or minus the squared error in units of the targets'
            variance; for the batch, minus the one number, which is a loss; None where nothing says
            what is right.
        measure: what it is judged by.
        unfit: why what the batch says is right could not be used, or not all of it; empty if it
            could, or if the batch says nothing.
    """

    output: Tensor | None
    scores: Tensor | None
    measure: Measure
    unfit: str = ""


def outcome_of(answer: Any, batch: Any) -> Outcome:
    """Judge an answer."""
    tensors = [
        leaf
        for leaf in pytree.tree_leaves(answer)
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim and leaf.numel()
    ]
    if not tensors:
        return _of_loss(answer)
    output = tensors[0].detach().cpu().double()
    given = _given(batch)
    if given is None:
        return Outcome(_rows(output), None, "output")
    if not isinstance(given, Tensor) or not given.ndim:
        return Outcome(_rows(output), None, "output", _no_labels(given))
    target = given.detach().cpu()
    if outside := _outside(output, target):
        return Outcome(_rows(output), None, "output", outside)
    if (right := _right(output, target)) is not None:
        return Outcome(_rows(output), right, "accuracy", _partly_outside(output, target))
    if (right := _right_of_shares(output, target)) is not None:
        return Outcome(_rows(output), right, "accuracy")
    if (error := _squared_error(output, target)) is not None:
        return Outcome(_rows(output), -error, "squared error")
    return Outcome(_rows(output), None, "output", _unfit(output, target))


def _of_loss(answer: Any) -> Outcome:
    """Of a model that computes its loss and returns nothing else."""
    numbers = [
        leaf.detach()
        for leaf in pytree.tree_leaves(answer)
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and not leaf.ndim
    ]
    if not numbers:
        return Outcome(None, None, "output")
    loss = numbers[0].cpu().double().reshape(1)
    return Outcome(loss[:, None], -loss, "loss")


def target_of(batch: Any) -> Tensor | None:
    """What a batch says is right: its second part, or what it calls labels or targets.

    Of more than two parts the second as well, unless another one looks like class labels, too.
    """
    target = _given(batch)
    return target if isinstance(target, Tensor) and target.ndim else None


def _given(batch: Any) -> object:
    """What stands where a batch says what is right, of whatever kind."""
    target: object = None
    if isinstance(batch, tuple | list) and len(batch) > 1:
        target = _SEVERAL if sum(map(_may_be_classes, batch[1:])) > 1 else batch[1]
    elif isinstance(batch, Mapping):
        target = next((batch[name] for name in _TARGETS if name in batch), None)
    return target


def _may_be_classes(part: object) -> bool:
    """Whether these are whole numbers, one per row, and not just the rows' own numbers."""
    if not isinstance(part, Tensor) or part.ndim != 1 or part.is_floating_point():
        return False
    return part.dtype != torch.bool and len(part.unique()) < len(part)


def classes_of(batch: Any) -> Tensor | None:
    """The class label of every row, where a batch has whole numbers for that."""
    target = target_of(batch)
    if target is None or target.ndim != 1 or target.is_floating_point():
        return None
    return None if target.dtype == torch.bool else target.detach().cpu()


# --- what cannot be used, and why ---


def _no_labels(given: object) -> str:
    if given is _SEVERAL:
        return (
            "several parts of a batch may be class labels (or lengths); pass pairs of what the "
            "model takes and labels, or a mapping with 'labels'"
        )
    what = "a single number" if isinstance(given, Tensor) else f"of type {type(given).__name__}"
    return f"they are {what}; pass a tensor with an entry for each row"


def _outside(output: Tensor, target: Tensor) -> str:
    """Why no label can be right; empty if one can, or if these are no labels."""
    if not _are_classes(output, target) or not target.numel():
        return ""
    classes = output.shape[1]
    if bool(((target >= 0) & (target < classes)).any()):
        return ""
    return (
        f"they go from {int(target.min())} to {int(target.max())}, and the model answers with "
        f"{classes} classes, 0 to {classes - 1}"
    )


def _partly_outside(output: Tensor, target: Tensor) -> str:
    """How many labels no answer can have; those that losses ignore by custom are none."""
    classes = output.shape[1]
    outside = (target < 0) | (target >= classes)
    for ignored in _IGNORED:
        outside &= target != ignored
    if not (count := int(outside.sum())):
        return ""
    return f"{count} of {target.numel()} are not among the model's classes, 0 to {classes - 1}"


def _unfit(output: Tensor, target: Tensor) -> str:
    """Why targets do not fit answers."""
    shape, answers = list(target.shape), list(output.shape)
    if len(target) != len(output):
        return f"there are {len(target)} for {len(output)} rows of answers"
    if target.numel() == output.numel() and target.is_floating_point():
        return "they are all the same"
    if target.is_floating_point() and target.ndim == output.ndim - 1:
        return (
            f"they are {target.dtype} of shape {shape}, and answers have the shape {answers}: "
            "class labels are whole numbers (labels.long())"
        )
    if not target.is_floating_point() and target.numel() == output.numel():
        return (
            f"they are {target.dtype} beside one number per row or position: zeros and ones for a "
            "logit, and numbers for a regression, have to be floats (labels.float())"
        )
    return f"their shape is {shape}, and that of answers is {answers}"


def _are_classes(output: Tensor, target: Tensor) -> bool:
    """Whether there is a whole number for every column of answers."""
    if target.is_floating_point() or output.ndim < 2 or output.shape[1] < 2:
        return False
    return output[:, 0].shape == target.shape


# --- scores ---


def _right(output: Tensor, target: Tensor) -> Tensor | None:
    """The share right per row, where the targets are classes."""
    if not _are_classes(output, target):
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
