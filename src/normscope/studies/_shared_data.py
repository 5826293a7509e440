"""A data set once in memory, for many processes.

Its arrays go to a temporary file that has no name. Processes that inherit the file's handle map the
same pages of memory; when the last of them is gone, however it went, so is the file.
"""

import mmap
import pickle
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from normscope.data import Dataset, Split
from normscope.records import storage_errors

_ALIGNMENT = 64
"""Bytes: where the widest vector instructions want an array to begin."""


@dataclass(frozen=True)
class SharedDataset:
    """What another process needs in order to see a data set.

    Attributes:
        handle: a file descriptor, valid in every process that inherits it.
        content: the data set without the bytes of its arrays (PEP 574).
        extents: where in the file these begin and end, one array after another.
    """

    handle: int
    content: bytes
    extents: tuple[tuple[int, int], ...]

    def open(self) -> Dataset:
        """The data set, over the shared pages.

        They are mapped copy-on-write: a process that writes to them changes a private copy, never
        what the others see. (Read-only arrays would be stricter, but torch warns of each of them.)
        """
        memory = memoryview(mmap.mmap(self.handle, 0, access=mmap.ACCESS_COPY))
        arrays = [memory[begin:end] for begin, end in self.extents]
        dataset: Dataset = pickle.loads(self.content, buffers=arrays)  # noqa: S301 - our own bytes
        return dataset


def share(dataset: Dataset, file: BinaryIO) -> SharedDataset:
    """Lay `dataset` into `file`, for processes that inherit its handle to open.

    Args:
        dataset: any.
        file: empty and without a name, as `tempfile.TemporaryFile` makes it; keep it open.

    Raises:
        StorageError: if its disk is full.
    """
    arrays: list[pickle.PickleBuffer] = []
    content = pickle.dumps(_contiguous(dataset), protocol=5, buffer_callback=arrays.append)
    extents = []
    with storage_errors(Path(tempfile.gettempdir())):
        for array in arrays:
            begin = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
            file.seek(begin)
            extents.append((begin, begin + file.write(array.raw())))
        file.flush()
    return SharedDataset(file.fileno(), content, tuple(extents))


def _contiguous(dataset: Dataset) -> Dataset:
    """The same data, without gaps in memory: others cannot be shared."""
    train, valid, test = (
        Split(np.ascontiguousarray(split.images), np.ascontiguousarray(split.labels))
        for split in (dataset.train, dataset.valid, dataset.test)
    )
    return replace(dataset, train=train, valid=valid, test=test)
