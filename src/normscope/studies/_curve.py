"""The validation curve of a run: `curve.jsonl` in its folder, for the steps to a target.

The file holds what was measured within the epochs, a line each; their ends stand in the run's
record. It is kept so that a kill at any moment loses nothing that the newest checkpoint has seen,
and a run that is taken up again ends in the lines that it would have ended in.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from normscope.data import Split
from normscope.records import (
    CurvePoint,
    DataRecord,
    EpochRecord,
    Recipe,
    Run,
    storage_errors,
    write_atomically,
)
from normscope.training import Rows, StartView, StepView, evaluate

_FILE = "curve.jsonl"
_FEWEST, _MOST = 4, 8
_SHARE = 0.1
_COST_OF_A_ROW = 1 / 3


def steps_between_validations(recipes: Iterable[Recipe], data: DataRecord) -> int:
    """How far apart validations are, so that they are many and cost little.

    A row costs a third in validation of what it costs in training (measured: 0.30), and an epoch's
    end is validated anyway. So an epoch has as many validations as add a tenth to its time, but at
    least 4, which add a tenth where a tenth of the rows are for validation, and at most 8.

    Args:
        recipes: of the study; the one with the shortest epochs decides.
        data: what all of them see.
    """
    steps = min(data.train_rows // recipe.batch_size for recipe in recipes)
    affordable = 1 + _SHARE * data.train_rows / (data.valid_rows * _COST_OF_A_ROW)
    return max(1, -(-steps // min(max(int(affordable), _FEWEST), _MOST)))


class CurveObserver:
    """Validates the network every so many steps of an epoch, and keeps what it finds on disk.

    The end of an epoch is left to the training, which validates there itself.

    Args:
        valid: the rows to validate on.
        every: steps between two validations.
    """

    def __init__(self, valid: Split, every: int) -> None:
        self._valid, self._every = valid, every

    def on_start(self, run: Run, steps_per_epoch: int) -> None:  # noqa: ARG002 - the protocol's
        """Note how long an epoch is."""
        self._steps = steps_per_epoch

    def on_ready(self, view: StartView) -> None:
        """Drop what a killed process measured beyond its checkpoint: it will be measured again.

        Raises:
            StorageError: if the disk refuses.
        """
        assert view.folder, "runs of a study have folders"
        self._file = view.folder / _FILE
        self._rows = Rows.of(self._valid, next(view.network.parameters()).device)
        with storage_errors(self._file):
            if self._file.exists():
                kept = [point for point in _points(self._file) if point.step <= view.steps]
                write_atomically(self._file, b"".join(map(_line, kept)))

    def on_step(self, view: StepView) -> None:
        """Validate where it is time to, and wait until the disk has it: a checkpoint may be next.

        Raises:
            StorageError: if the disk refuses.
        """
        if view.step % self._every or view.step == self._steps:
            return
        step, score = (view.epoch - 1) * self._steps + view.step, evaluate(view.network, self._rows)
        point = CurvePoint(step=step, valid_loss=score.loss, valid_accuracy=score.accuracy)
        with storage_errors(self._file), self._file.open("ab") as file:
            file.write(_line(point))
            file.flush()
            os.fsync(file.fileno())

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing: it is in the record."""

    def on_end(self, run: Run) -> None:
        """Nothing: every line is on the disk."""


def read_curve(folder: Path, run: Run) -> tuple[CurvePoint, ...]:
    """All validations of a run, in the order of their steps: within its epochs, and at their ends.

    Raises:
        StorageError: if the file is there and cannot be read.
    """
    file, steps = folder / _FILE, run.data.train_rows // run.recipe.batch_size
    with storage_errors(file):
        within = _points(file) if file.exists() else []
    ends = [
        CurvePoint(
            step=record.epoch * steps,
            valid_loss=record.valid_loss,
            valid_accuracy=record.valid_accuracy,
        )
        for record in run.epochs
    ]
    return tuple(sorted([*within, *ends], key=lambda point: point.step))


def _points(file: Path) -> list[CurvePoint]:
    """The lines of the file, but not one that a kill cut off."""
    points = []
    for line in file.read_bytes().splitlines():
        try:
            points.append(CurvePoint.model_validate_json(line))
        except ValidationError:
            break
    return points


def _line(point: CurvePoint) -> bytes:
    return point.model_dump_json().encode() + b"\n"
