"""TensorBoard event files, where the extra is installed."""

import importlib.util
from pathlib import Path

from normscope.records import EpochRecord, Run, storage_errors
from normscope.training._observers import StepView


def tensorboard_is_installed() -> bool:
    """Whether ``pip install 'normscope[tensorboard]'`` was done."""
    return importlib.util.find_spec("tensorboard") is not None


_TAGS = {
    "train_loss": "loss/train",
    "valid_loss": "loss/valid",
    "train_accuracy": "accuracy/train",
    "valid_accuracy": "accuracy/valid",
}
"""Tags by which TensorBoard draws training and validation into one picture."""


class TensorBoardObserver:
    """Writes every epoch's figures to event files under `folder`, one point per epoch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_start(self, run: Run, steps_per_epoch: int) -> None:  # noqa: ARG002 - the protocol's
        """Open an event file that voids those before it, and write the finished epochs anew.

        A killed run may have lost points that its writer still held.
        """
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

        with storage_errors(self._folder):
            self._writer = SummaryWriter(self._folder, purge_step=1)
            for record in run.epochs:
                self._write(record)

    def on_step(self, view: StepView) -> None:
        """Nothing: one point per epoch is enough."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the epoch's figures."""
        with storage_errors(self._folder):
            self._write(record)

    def _write(self, record: EpochRecord) -> None:
        for name, value in record.model_dump(exclude={"epoch"}).items():
            self._writer.add_scalar(_TAGS.get(name, name), value, record.epoch)
        self._writer.flush()

    def on_end(self, run: Run) -> None:  # noqa: ARG002 - the protocol's
        """Close the file."""
        with storage_errors(self._folder):
            self._writer.close()
