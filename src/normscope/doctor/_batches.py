"""What can be told of a loader and its batches without going through it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import BatchSampler, SequentialSampler, TensorDataset

_NAMES = ("targets", "labels")
"""What data sets call their labels."""


def rows_of_last_batch(loader: Iterable[Any] | None) -> int | None:
    """How many rows the last batch of an epoch of a torch `DataLoader`, or one around it, has.

    By its sampler, which of a `DistributedSampler` is the part of this process.

    Returns:
        None if rows that are left over are dropped, or nobody can tell.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> rows = TensorDataset(torch.zeros(65, 2))
        >>> rows_of_last_batch(DataLoader(rows, batch_size=8))
        1
        >>> rows_of_last_batch(DataLoader(rows, batch_size=8, drop_last=True)) is None
        True
    """
    sampler = getattr(loader, "batch_sampler", None)
    if type(sampler) is not BatchSampler or sampler.drop_last:
        return None
    try:
        rows = len(sampler.sampler)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):  # it has no length
        return None
    return (rows % sampler.batch_size or sampler.batch_size) if rows else None


def smallest_share(rows: int, parts: int) -> int:
    """The fewest rows that a batch gives to one of several devices, as `torch.chunk` cuts it.

    Example:
        >>> [smallest_share(rows, 4) for rows in (8, 9, 5, 3)]
        [2, 3, 1, 1]
        >>> [len(part) for part in torch.zeros(9).chunk(4)]
        [3, 3, 3]
    """
    most = -(-rows // parts)
    return rows % most or most


def is_sorted_by_class(loader: Iterable[Any] | None) -> bool:
    """Whether a `DataLoader` goes through a data set in order, and its labels are in order, too.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> rows = TensorDataset(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
        >>> is_sorted_by_class(DataLoader(rows)), is_sorted_by_class(DataLoader(rows, shuffle=True))
        (True, False)
    """
    if not isinstance(getattr(loader, "sampler", None), SequentialSampler):
        return False
    labels = _labels(getattr(loader, "dataset", None))
    if labels is None or labels.ndim != 1 or len(labels) < 2:
        return False
    return bool((labels[1:] >= labels[:-1]).all() & (labels[0] != labels[-1]))


def _labels(dataset: object) -> Tensor | None:
    """The labels of a data set, if it holds whole numbers under a usual name."""
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        found: object = dataset.tensors[1]
    else:
        held = getattr(dataset, "__dict__", {})
        found = next((held[name] for name in _NAMES if name in held), None)
    try:
        labels = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):  # words, or nothing
        return None
    return None if labels.is_floating_point() or labels.is_complex() else labels


def rows_of(values: Any) -> int | None:
    """How many rows a batch has; None where its tensors do not agree on that.

    Example:
        >>> rows_of((torch.zeros(5, 2), torch.zeros(5))), rows_of([torch.ones(3), torch.ones(4)])
        (5, None)
    """
    tensors = [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor)]
    counts = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    return counts.pop() if len(counts) == 1 and counts != {0} else None


def with_rows(values: Any, index: Tensor) -> Any:
    """A batch of other rows: every tensor in it, taken along its first axis.

    Example:
        >>> with_rows({"x": torch.tensor([10, 20])}, torch.tensor([1, 1]))["x"].tolist()
        [20, 20]
    """
    return pytree.tree_map_only(Tensor, lambda tensor: tensor[index.to(tensor.device)], values)
