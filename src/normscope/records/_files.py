"""Writing to disk so that a reader never sees half a file, and a person never sees a traceback."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normscope._errors import StorageError

_ADVICE = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some of your quota",
    errno.EROFS: "Choose a folder that can be written",
    errno.EACCES: "Choose a folder that you may write to",
    errno.EPERM: "Choose a folder that you may write to",
    errno.ENOENT: "Choose a folder that is there, or make it first",
    errno.ENOTDIR: "Choose another place, for a part of this path is a file",
    errno.EISDIR: "Choose another name, for this is a folder's",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EIO: "The disk may be failing: look into it, or choose another",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the disk's refusals inside the block into one sentence about `path`.

    Raises:
        StorageError: for any `OSError` inside the block: a full disk, a read-only folder, …
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "Choose another place")
        msg = (
            f"{path} could not be written: {reason}. {advice}; whatever had been saved before is "
            "intact."
        )
        raise StorageError(msg) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`: afterwards the file is the old one or the new one, never half.

    The bytes go to a temporary file beside it, reach the disk (fsync), and take the name in one
    step. A kill at any moment leaves at most a stray file, one of its `strays`.

    Raises:
        OSError: if the disk refuses; the old file is then untouched.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def strays(folder: Path) -> list[Path]:
    """What a kill in the middle of `write_atomically` may have left in `folder`."""
    return list(folder.glob(".*.tmp"))


def _umask() -> int:
    """The process's file mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
