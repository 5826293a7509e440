"""Files of one record a line, written while a network trains: what a kill leaves can be read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from normscope._errors import RunFolderError
from normscope.records._base import Record
from normscope.records._files import storage_errors, write_atomically
from normscope.records._problems import first_told

_Kind = TypeVar("_Kind", bound=Record)


def read_lines(file: Path, kind: type[_Kind], *, advice: str) -> list[_Kind]:
    """The records in `file`; none where there is no file.

    Half a line at the end, as a kill may leave it, is no line.

    Args:
        file: as `append_line` writes it.
        kind: of record that every line holds.
        advice: a sentence for the person whose file holds something else.

    Raises:
        RunFolderError: if the file cannot be read, or holds something else.
    """
    try:
        *lines, _ = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        msg = f"{file}: this cannot be read ({error.strerror})."
        raise RunFolderError(msg) from None
    records: list[_Kind] = []
    try:
        records.extend(map(kind.model_validate_json, lines))
    except ValidationError as error:
        msg = (
            f"{file}, line {len(records) + 1}: this is nothing that this version of Normscope "
            f"can read ({first_told(error)}). {advice}"
        )
        raise RunFolderError(msg) from None
    return records


def append_line(file: Path, record: Record) -> None:
    """Add a record, and wait until the disk has it: a checkpoint that follows finds it there.

    Raises:
        StorageError: if the disk refuses.
    """
    append_lines(file, [record])


def append_lines(file: Path, records: Sequence[Record]) -> None:
    """Add several records, and wait for the disk once.

    Raises:
        StorageError: if the disk refuses.
    """
    with storage_errors(file), file.open("ab") as lines:
        lines.write(b"".join(map(_line, records)))
        lines.flush()
        os.fsync(lines.fileno())


def keep_lines(file: Path, records: Sequence[Record]) -> None:
    """Write `file` anew, with these records alone, if it is there.

    Raises:
        StorageError: if the disk refuses.
    """
    if file.exists():
        with storage_errors(file):
            write_atomically(file, b"".join(map(_line, records)))


def _line(record: Record) -> bytes:
    return record.model_dump_json().encode() + b"\n"
