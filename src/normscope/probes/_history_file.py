"""`history.jsonl`: a `History` of one moment per line, written while the network trains."""

import os
from pathlib import Path

from pydantic import ValidationError

from normscope._errors import RunFolderError
from normscope.records import History, LayerHistory, storage_errors, write_atomically

_NAME = "history.jsonl"


def read_history(folder: str | Path) -> History | None:
    """What was seen while the run in `folder` trained; None where nobody looked on.

    Half a line at the end, as a kill may leave it, is no line.

    Raises:
        RunFolderError: if the file cannot be read, or holds something else.
    """
    return joined(_read(Path(folder) / _NAME))


def kept_until(folder: Path, steps: int) -> list[History]:
    """The moments up to `steps`; those beyond, which will be measured again, leave the file.

    Raises:
        RunFolderError: if the file cannot be read, or holds something else.
        StorageError: if the disk refuses.
    """
    file = folder / _NAME
    moments = [moment for moment in _read(file) if moment.steps[0] <= steps]
    if file.exists():
        with storage_errors(file):
            write_atomically(file, b"".join(map(_line, moments)))
    return moments


def append(folder: Path, moment: History) -> None:
    """Add a moment, and wait until the disk has it: a checkpoint that follows finds it there.

    Raises:
        StorageError: if the disk refuses.
    """
    file = folder / _NAME
    with storage_errors(file), file.open("ab") as lines:
        lines.write(_line(moment))
        lines.flush()
        os.fsync(lines.fileno())


def joined(moments: list[History]) -> History | None:
    """Histories of the same rows and layers, one after the other, as one; None of none."""
    if not moments:
        return None
    layers = zip(*(moment.layers for moment in moments), strict=True)
    return History(
        rows=moments[0].rows,
        steps=tuple(step for moment in moments for step in moment.steps),
        layers=tuple(map(_joined_layer, layers)),
    )


def _joined_layer(parts: tuple[LayerHistory, ...]) -> LayerHistory:
    bands = {
        kind: tuple(band for part in parts for band in getattr(part, kind))
        for kind in ("s1", "s3", "unit_s1", "unit_s3")
    }
    return LayerHistory(unit=parts[0].unit, **bands)


def _line(moment: History) -> bytes:
    return moment.model_dump_json().encode() + b"\n"


def _read(file: Path) -> list[History]:
    """The moments in the file; none where there is no file."""
    try:
        *lines, _ = file.read_bytes().split(b"\n")
        return [History.model_validate_json(line) for line in lines]
    except FileNotFoundError:
        return []
    except OSError as error:
        msg = f"{file}: the history cannot be read ({error.strerror})."
        raise RunFolderError(msg) from None
    except ValidationError as error:
        msg = (
            f"{file}: this is not a history that this version of Normscope can read "
            f"({error.errors()[0]['msg']}). Delete it; the run goes on without what it held."
        )
        raise RunFolderError(msg) from None
