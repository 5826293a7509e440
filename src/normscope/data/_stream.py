"""Reading bytes from a file that may lie about how many there are."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from normscope._errors import DataError
from normscope.data._limits import allowance
from normscope.data._text import shown

GZIP = b"\x1f\x8b"


class Stream:
    """A file that gives all the bytes asked for or raises, and never more than its limit.

    Nothing is allocated for a length that the file cannot have.
    """

    def __init__(self, file: BinaryIO, limit: int):
        self._file = file
        self._limit = limit
        self.position = 0

    def read(self, count: int) -> bytes:
        """Read exactly `count` bytes.

        Raises:
            EOFError: if there are fewer.
        """
        if count < 0 or count > self._limit - self.position:
            msg = f"{count:,} bytes are announced after byte {self.position:,}"
            raise EOFError(msg)
        data = self._file.read(count)
        self.position += len(data)
        if len(data) < count:
            msg = f"it ends after {self.position:,} bytes"
            raise EOFError(msg)
        return data

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
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield Stream(cast("BinaryIO", unpacked), allowance(size))
    except (zlib.error, gzip.BadGzipFile) as error:
        msg = f"{shown(path)}: the gzip layer is damaged ({error}); fetch it again."
        raise DataError(msg) from None
    except OSError as error:
        raise DataError(unreadable(path, error)) from None


def unreadable(path: Path, error: OSError) -> str:
    """Say in one sentence why the system did not let us read."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{shown(error.filename or path)} cannot be read: {reason}."
