"""The validation curve of a run: `curve.jsonl` in its folder, for the steps to a target.

The file holds what was measured within the epochs, a line each; their ends stand in the run's
record. It is kept so that a kill at any moment loses nothing that the newest checkpoint has seen,
and a run that is taken up again ends in the lines that it would have ended in.
"""

from collections.abc import Iterable
from pathlib import Path

from normscope.data import Split
from normscope.records import (
    CurvePoint,
    DataRecord,
    EpochRecord,
    Recipe,
    Run,
    append_line,
    keep_lines,
    read_lines,
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
            RunFolderError: if the file cannot be read, or holds something else.
            StorageError: if the disk refuses.
        """
        assert view.folder, "runs of a study have folders"
        self._file = view.folder / _FILE
        self._rows = Rows.of(self._valid, next(view.network.parameters()).device)
        keep_lines(self._file, [p for p in _points(self._file) if p.step <= view.steps])

    def on_step(self, view: StepView) -> None:
        """Validate where it is time to, and wait until the disk has it: a checkpoint may be next.

        Raises:
            StorageError: if the disk refuses.
        """
        if view.step % self._every or view.step == self._steps:
            return
        step, score = (view.epoch - 1) * self._steps + view.step, evaluate(view.network, self._rows)
        point = CurvePoint(step=step, valid_loss=score.loss, valid_accuracy=score.accuracy)
        append_line(self._file, point)

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing: it is in the record."""

    def on_end(self, run: Run) -> None:
        """Nothing: every line is on the disk."""


def read_curve(folder: Path, run: Run) -> tuple[CurvePoint, ...]:
    """All validations of a run, in the order of their steps: within its epochs, and at their ends.

    Raises:
        RunFolderError: if the file cannot be read, or holds something else.
    """
    within, steps = _points(folder / _FILE), run.data.train_rows // run.recipe.batch_size
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
    """The validations in the file; none where there is no file."""
    advice = f"Delete {file.parent} and give the same command again: it trains that run anew."
    return read_lines(file, CurvePoint, advice=advice)
