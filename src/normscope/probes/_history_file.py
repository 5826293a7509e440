"""`history.jsonl`: a `History` of one moment per line, written while the network trains."""

from pathlib import Path

from normscope.records import History, LayerHistory, append_line, keep_lines, read_lines

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
    keep_lines(file, moments)
    return moments


def append(folder: Path, moment: History) -> None:
    """Add a moment, and wait until the disk has it: a checkpoint that follows finds it there.

    Raises:
        StorageError: if the disk refuses.
    """
    append_line(folder / _NAME, moment)


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


def _read(file: Path) -> list[History]:
    """The moments in the file; none where there is no file."""
    return read_lines(file, History, advice="Delete it; the run goes on without what it held.")
