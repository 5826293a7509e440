"""Where readings go: into a folder as they come, to TensorBoard, or into memory."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normscope.probes._readings_file import append_readings, read_readings
from normscope.records import Reading, storage_errors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard_is_here() -> bool:
    """Whether ``pip install 'normscope[tensorboard]'`` was done."""
    return importlib.util.find_spec("tensorboard") is not None


class Kept:
    """The readings of one training.

    Args:
        folder: where they are written, and read when they are asked for, so that memory does not
            grow with the training; None to keep them in memory.
        tensorboard: whether to write numbers (curves are left out) to event files as well, below
            the folder, as a run of its own called ``probes``. Its axis counts steps.
        before: those of the same training that the folder holds already; event files that a kill
            cut off are voided by writing them again.
    """

    def __init__(
        self, folder: Path | None, *, tensorboard: bool, before: Sequence[Reading] = ()
    ) -> None:
        self._folder = folder
        self._memory: list[Reading] = []
        self._before = before
        self._tensorboard = tensorboard and folder is not None
        self._writer: SummaryWriter | None = None

    @property
    def readings(self) -> list[Reading]:
        """All so far.

        Raises:
            RunFolderError: if the file cannot be read any more.
        """
        return list(self._memory) if self._folder is None else read_readings(self._folder)

    def open(self) -> None:
        """Make the folder, and an event file.

        Raises:
            StorageError: if the disk refuses.
        """
        if self._folder is None:
            return
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._tensorboard:
                from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

                events = self._folder / "tensorboard" / "probes"
                # Its writer voids what earlier files say from the purged step on.
                first = self._memory or not self._before
                self._writer = SummaryWriter(events, purge_step=None if first else 1)
                self._draw(self._before)
                self._before = ()

    def add(self, readings: Sequence[Reading]) -> None:
        """Keep those of one moment.

        Raises:
            StorageError: if the disk refuses.
        """
        if self._folder is None:
            self._memory += readings
            return
        append_readings(self._folder, readings)
        with storage_errors(self._folder):
            self._draw(readings)

    def close(self) -> None:
        """Close the event file.

        Raises:
            StorageError: if the disk refuses.
        """
        if self._writer is not None:
            assert self._folder is not None
            with storage_errors(self._folder):
                self._writer.close()
            self._writer = None

    def _draw(self, readings: Sequence[Reading]) -> None:
        if self._writer is None:
            return
        for reading in readings:
            if reading.value is not None:
                tag = "/".join(filter(None, (reading.probe, reading.quantity, reading.layer)))
                self._writer.add_scalar(tag, reading.value, reading.step)
        self._writer.flush()
