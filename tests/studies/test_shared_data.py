"""A data set that processes share: one copy, and nobody can change what the others see."""

import dataclasses
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from normscope._errors import StorageError
from normscope.data import Dataset, Split, fingerprint
from normscope.studies._shared_data import SharedDataset, share


def copied_kilobytes(process: int | str = "self") -> int | None:
    """How much of its nameless files a process has copied for itself; None if it maps none."""
    text = Path(f"/proc/{process}/smaps").read_text(encoding="utf-8", errors="replace")
    mappings = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text)
    ours = [mapping for mapping in mappings if "(deleted)" in mapping.partition("\n")[0]]
    copied = [int(re.search(r"Anonymous: +(\d+) kB", mapping)[1]) for mapping in ours]
    return sum(copied) if ours else None


@contextmanager
def shared(dataset: Dataset) -> Iterator[SharedDataset]:
    with tempfile.TemporaryFile() as file:
        yield share(dataset, file)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_it_is_the_same_data(tiny: Dataset) -> None:
    with shared(tiny) as handed_over:
        opened = handed_over.open()
    assert fingerprint(opened) == fingerprint(tiny)
    words = [
        (data.name, data.source, data.classes, data.notes, data.train.images.dtype)
        for data in (opened, tiny)
    ]
    assert words[0] == words[1]


def test_images_with_gaps_in_memory_are_shared_as_well(tiny: Dataset) -> None:
    every_other = Split(tiny.train.images[:, ::2, ::2], tiny.train.labels)
    gaps = dataclasses.replace(tiny, train=every_other)
    with shared(gaps) as handed_over:
        assert fingerprint(handed_over.open()) == fingerprint(gaps)
        assert len(handed_over.content) < 1000 < tiny.test.images.nbytes


def test_arrays_begin_where_vector_instructions_like_it(tiny: Dataset) -> None:
    with shared(tiny) as handed_over:
        opened = handed_over.open()
    for split in (opened.train, opened.valid, opened.test):
        assert split.images.ctypes.data % 64 == split.labels.ctypes.data % 64 == 0


def test_who_writes_changes_it_for_nobody_else(tiny: Dataset) -> None:
    with shared(tiny) as handed_over:
        first, second = handed_over.open(), handed_over.open()
        first.train.images[:] = 7
        third = handed_over.open()
    assert fingerprint(second) == fingerprint(third) == fingerprint(tiny)
    assert fingerprint(first) != fingerprint(tiny)


@on_linux
def test_reading_copies_nothing(tiny: Dataset) -> None:
    large = dataclasses.replace(
        tiny, train=Split(np.zeros((2000, 28, 28), np.float32), np.zeros(2000, np.int64))
    )
    before = copied_kilobytes() or 0
    with shared(large) as handed_over:
        opened = handed_over.open()
        assert opened.train.images.sum() == 0
        assert copied_kilobytes() == before
        opened.train.images[:] = 1  # the control: a copy would be seen
        assert copied_kilobytes() > before + 6000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_a_sentence(tiny: Dataset) -> None:
    with Path("/dev/full").open("wb") as full, pytest.raises(StorageError, match="Free some space"):
        share(tiny, full)


def test_it_outlives_its_file(tiny: Dataset) -> None:
    with tempfile.TemporaryFile() as file:
        assert os.fstat(file.fileno()).st_nlink == 0
        opened = share(tiny, file).open()
    assert fingerprint(opened) == fingerprint(tiny)
