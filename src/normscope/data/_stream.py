"""Reading bytes from a file that may lie about how many there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from normscope._errors import DataError
from normscope.data._gzip import DAMAGE, GzipFile
from normscope.data._limits import allowance
from normscope.data._text import shown

GZIP = b"\x1f\x8b"
_PIECE = 2**18


class Stream:
    """A file that gives all the bytes asked for or raises, and never more than its limit.

    Nothing is allocated for a length that the file cannot have.
    """

    def __init__(self, file: BufferedIOBase, limit: int):
        self._file = file
        self._limit = limit
        self.position = 0

    def read(self, count: int) -> bytes:
        """Read exactly `count` bytes.

        Raises:
            EOFError: if there are fewer.
        """
        self._refuse_more_than_there_can_be(count)
        data = self._file.read(count)
        self._advance(len(data), count)
        return data

    def read_array(self, count: int) -> NDArray[np.uint8]:
        """Read exactly `count` bytes into a new array, without a copy of them all on the way.

        Raises:
            EOFError: if there are fewer.
        """
        self._refuse_more_than_there_can_be(count)
        array = np.empty(count, np.uint8)
        # In pieces that stay in the cache from unpacking to checksum to copy.
        for start in range(0, count, _PIECE):
            piece = array[start : start + _PIECE]
            self._advance(self._file.readinto(piece.data), len(piece))
        return array

    def _refuse_more_than_there_can_be(self, count: int) -> None:
        if count < 0 or count > self._limit - self.position:
            msg = f"{count:,} bytes are announced after byte {self.position:,}"
            raise EOFError(msg)

    def _advance(self, read: int, wanted: int) -> None:
        self.position += read
        if read < wanted:
            msg = f"it ends after {self.position:,} bytes"
            raise EOFError(msg)

    def readline(self) -> bytes:
        """Read up to and with the next line break."""
        line = self._file.readline(self._limit - self.position)
        self.position += len(line)
        return line

    def has_more(self) -> bool:
        """Whether bytes are left; looking past the last one also checks gzip's checksum."""
        return bool(self._file.read(1))


@contextmanager
def opened(path: Path) -> Iterator[Stream]:
    """Open a plain or gzipped file; what is in the file tells which, not its name.

    Raises:
        DataError: if it cannot be read, or if its gzip layer is damaged.
    """
    # Before it is opened: opening a pipe waits for somebody to write to it.
    if path.exists() and not path.is_file():
        msg = f"{shown(path)} cannot be read: it is not a file."
        raise DataError(msg)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
            size = file.seek(0, 2)
            file.seek(0)
            if not packed:
                yield Stream(file, size)
                return
            with GzipFile(fileobj=file) as unpacked:
                yield Stream(unpacked, allowance(size))
    except DAMAGE as error:
        msg = f"{shown(path)}: the gzip layer is damaged ({error}); fetch it again."
        raise DataError(msg) from None
    except OSError as error:
        raise DataError(unreadable(path, error)) from None


def unreadable(path: Path, error: OSError) -> str:
    """Say in one sentence why the system did not let us read."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{shown(error.filename or path)} cannot be read: {reason}."
