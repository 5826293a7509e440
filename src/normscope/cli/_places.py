"""Where a result goes: tried before it is worked out, and written in one step."""

import os
import tempfile
from pathlib import Path

from normscope._errors import InputError, StorageError


def try_place(file: Path) -> None:
    """Refuse a file that could not be written, before minutes are spent on what goes there.

    Nothing is left there, and a file of that name stays as it is.

    Raises:
        InputError: saying why.
    """
    from normscope.records import storage_errors

    if file.is_dir():
        msg = f"--out {file}: this is a folder. Name a file in it."
        raise InputError(msg)
    if not file.parent.is_dir():
        msg = f"--out {file}: there is no folder {file.parent}. Make it first."
        raise InputError(msg)
    try:
        with storage_errors(file):
            handle, trial = tempfile.mkstemp(
                dir=file.parent, prefix=f".{file.name}.", suffix=".tmp"
            )
            os.close(handle)
            Path(trial).unlink()
    except StorageError as error:
        msg = f"--out {error}"
        raise InputError(msg) from error
