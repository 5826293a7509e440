"""What can be told of loaders without going through them."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset

from normscope.doctor._batches import (
    is_sorted_by_class,
    rows_of_last_batch,
    smallest_share,
)


def numbers(count: int) -> TensorDataset:
    return TensorDataset(torch.zeros(count, 1), torch.arange(count) // 3)


@given(rows=st.integers(1, 200), parts=st.integers(1, 9))
def test_the_smallest_share_is_that_of_torch_chunk(rows: int, parts: int) -> None:
    assert smallest_share(rows, parts) == min(map(len, torch.zeros(rows).chunk(parts)))


@given(rows=st.integers(1, 60), size=st.integers(1, 20), ranks=st.integers(1, 4))
def test_the_last_batch_is_the_one_that_comes_last(rows: int, size: int, ranks: int) -> None:
    data = numbers(rows)
    sampler = DistributedSampler(data, num_replicas=ranks, rank=0)
    for loader in (DataLoader(data, size, shuffle=True), DataLoader(data, size, sampler=sampler)):
        assert rows_of_last_batch(loader) == len(list(loader)[-1][0])


class Stream(IterableDataset[int]):
    """A data set without a length."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(5))


@pytest.mark.parametrize(
    "loader",
    [
        None,
        [torch.zeros(3)],
        DataLoader(Stream(), 2),
        DataLoader(numbers(5), 2, drop_last=True),
        DataLoader(numbers(5), batch_size=None),
        DataLoader(numbers(5), batch_sampler=[[0, 1], [2]]),
    ],
)
def test_of_other_loaders_nothing_is_known(loader: object) -> None:
    assert rows_of_last_batch(loader) is None  # type: ignore[arg-type]


class Named(Dataset[int]):
    """A data set with labels under a name."""

    def __init__(self, targets: object) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return 4


@pytest.mark.parametrize(
    ("targets", "is_sorted"),
    [
        ([0, 0, 1, 2], True),
        (torch.tensor([0, 0, 1, 2]), True),
        ([0, 2, 1, 2], False),
        ([1, 1, 1, 1], False),
        ([0.1, 0.2, 0.3, 0.4], False),
        (["a", "a", "b", "b"], False),
        ([[0, 1], [1, 2], [1, 2], [2, 3]], False),
        (None, False),
    ],
)
def test_sorted_labels_are_seen(targets: object, is_sorted: bool) -> None:
    assert is_sorted_by_class(DataLoader(Named(targets))) == is_sorted
    assert not is_sorted_by_class(DataLoader(Named(targets), shuffle=True))
