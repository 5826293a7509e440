"""`readings.jsonl`: one `Reading` per line, written while the network trains."""

from collections.abc import Sequence
from pathlib import Path

from normscope.records import Reading, append_lines, keep_lines, read_lines

_NAME = "readings.jsonl"


def read_readings(folder: str | Path) -> list[Reading]:
    """What probes read while the run in `folder` trained; nothing where there were none.

    Half a line at the end, as a kill may leave it, is no line.

    Raises:
        RunFolderError: if the file cannot be read, or holds something else.
    """
    advice = "Delete it; the run goes on without what it held."
    return read_lines(Path(folder) / _NAME, Reading, advice=advice)


def readings_until(folder: Path, steps: int) -> list[Reading]:
    """The readings up to `steps`; those beyond, which will be made again, leave the file.

    Raises:
        RunFolderError: if the file cannot be read, or holds something else.
        StorageError: if the disk refuses.
    """
    kept = [reading for reading in read_readings(folder) if reading.step <= steps]
    keep_lines(folder / _NAME, kept)
    return kept


def append_readings(folder: Path, readings: Sequence[Reading]) -> None:
    """Add a moment's readings, and wait until the disk has them.

    Raises:
        StorageError: if the disk refuses.
    """
    append_lines(folder / _NAME, readings)


def holds_readings(folder: Path) -> bool:
    """Whether there is such a file."""
    return (folder / _NAME).exists()
