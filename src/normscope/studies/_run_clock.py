"""When what a run is made of was done: an observer that notes it, last of all."""

import os
import time
from pathlib import Path

from pydantic import ValidationError

from normscope.data import Split
from normscope.records import EpochRecord, Run, storage_errors, write_atomically
from normscope.records._base import Record
from normscope.training import Rows, StartView, StepView, evaluate

_FILE = "clock.json"


class Stamps(Record):
    """Seconds of a clock that all processes of the machine share."""

    process: int
    """Which one trained."""
    probed: bool
    """Whether probes read."""
    start: float
    """When there was a network."""
    ready: float
    """When the first step was about to be made, with everything that is looked at before."""
    steps: list[float]
    """When each of the first epoch's steps was over, with whoever looked at it."""
    validation: float
    """How long one validation took, when the first epoch was over."""
    epoch: float
    """When that was, with everything saved; then the network was validated once more."""


class RunClock:
    """Notes the first epoch's times in the run's folder. Has to be the last of the observers.

    Args:
        valid: the rows that the training validates on.
        probed: whether probes are among the others.
    """

    def __init__(self, valid: Split, *, probed: bool) -> None:
        self._valid, self._probed = valid, probed
        self._steps: list[float] = []

    def on_start(self, run: Run, steps_per_epoch: int) -> None:  # noqa: ARG002 - the protocol's
        """Note it."""
        self._start = time.monotonic()

    def on_ready(self, view: StartView) -> None:
        """Note it, and where to write."""
        assert view.folder, "runs of a study have folders"
        self._rows = Rows.of(self._valid, next(view.network.parameters()).device)
        self._folder, self._network = view.folder, view.network
        self._ready = time.monotonic()

    def on_step(self, view: StepView) -> None:
        """Note it, once a GPU is done."""
        if view.epoch == 1:
            float(view.loss)
            self._steps.append(time.monotonic())

    def on_epoch(self, record: EpochRecord) -> None:
        """Write what was noted of the first.

        Raises:
            StorageError: if the disk refuses.
        """
        if record.epoch > 1 or not self._steps:
            return
        epoch = time.monotonic()
        evaluate(self._network, self._rows)
        stamps = Stamps(
            process=os.getpid(),
            probed=self._probed,
            start=self._start,
            ready=self._ready,
            steps=self._steps,
            validation=time.monotonic() - epoch,
            epoch=epoch,
        )
        with storage_errors(self._folder):
            write_atomically(self._folder / _FILE, stamps.model_dump_json().encode())

    def on_end(self, run: Run) -> None:
        """Nothing: the first epoch was enough."""


def read_stamps(folder: Path) -> Stamps | None:
    """What was noted of a run; None where it did not get so far."""
    try:
        return Stamps.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
