"""The run folder: the record, the recipe and the checkpoints of one training."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from normscope._errors import RunFolderError
from normscope.nn import MLP
from normscope.records import Recipe, Run, storage_errors, write_atomically
from normscope.training._checkpoints import (
    checkpoints,
    clean,
    load_network_tensors,
    load_state,
    save_checkpoint,
)
from normscope.training._network import build_network
from normscope.training._state import TrainingState


class RunFolder:
    """``run.json``, ``recipe.toml``, ``checkpoints/`` and, with its extra, ``tensorboard/``.

    Args:
        path: the folder; `create` makes it, `locked` keeps other processes out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def create(self, run: Run) -> None:
        """Make the folder and write the record and the recipe of a run that is about to start.

        Raises:
            RunFolderError: if the folder holds a run, or anything else.
            StorageError: if the disk refuses.
        """
        with storage_errors(self.path):
            if (self.path / "run.json").exists():
                msg = (
                    f"{self.path}: this folder already holds a run. Resume it with "
                    f"`normscope train --resume {self.path}`, or choose another with --out."
                )
                raise RunFolderError(msg)
            if self.path.is_dir() and any(self.path.iterdir()):
                msg = f"{self.path}: this folder holds other files. Choose a new one with --out."
                raise RunFolderError(msg)
            self.path.mkdir(parents=True, exist_ok=True)
        self.write_run(run)
        self.write_recipe(run.recipe)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training into this folder.

        Raises:
            RunFolderError: if another process already does.
            StorageError: if the disk refuses.
        """
        lock = FileLock(self.path / ".lock", blocking=False)
        with storage_errors(self.path):
            try:
                lock.acquire()
            except Timeout:
                msg = f"{self.path}: another process is training this run. Wait for it, or stop it."
                raise RunFolderError(msg) from None
        try:
            yield
        finally:
            lock.release()

    def write_run(self, run: Run) -> None:
        """Replace the record, in one step.

        Raises:
            StorageError: if the disk refuses; the old record is intact.
        """
        with storage_errors(self.path):
            run.save(self.path / "run.json")

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe for people to read, unless it is there.

        Raises:
            StorageError: if the disk refuses.
        """
        file = self.path / "recipe.toml"
        with storage_errors(self.path):
            if not file.exists():
                write_atomically(file, recipe.to_toml().encode())

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, in one step.

        Raises:
            StorageError: if the disk refuses; the old checkpoints are intact.
        """
        with storage_errors(self.path):
            save_checkpoint(self._checkpoints, state)

    def restore(self, state: TrainingState) -> None:
        """Take `state`, fresh from the recipe, to the newest checkpoint; without one it stays.

        Raises:
            RunFolderError: if the checkpoint is damaged or does not fit.
        """
        clean(self._checkpoints)
        if found := checkpoints(self._checkpoints):
            load_state(found[-1], state)

    def load_network(self, run: Run) -> MLP:
        """The network of the newest checkpoint, on the CPU, in eval mode.

        Raises:
            RunFolderError: if there is no checkpoint yet, or it is damaged or does not fit.
        """
        found = checkpoints(self._checkpoints)
        if not found:
            msg = (
                f"{self.path}: the run has no checkpoint yet. Let it finish an epoch: "
                f"`normscope train --resume {self.path}`."
            )
            raise RunFolderError(msg)
        height, width = run.data.image_size
        network = build_network(run.recipe, inputs=height * width, classes=len(run.data.classes))
        try:
            network.load_state_dict(load_network_tensors(found[-1]))
        except RuntimeError as error:
            msg = f"{found[-1]}: the checkpoint does not fit the run's recipe ({error})."
            raise RunFolderError(msg) from error
        return network.eval()


def new_folder(parent: Path, stem: str) -> Path:
    """The first of ``parent/stem-1``, ``parent/stem-2``, … that does not exist."""
    return next(
        path for number in itertools.count(1) if not (path := parent / f"{stem}-{number}").exists()
    )


def load(path: str | Path) -> MLP:
    """Load the network of a run folder, on the CPU, in eval mode.

    Raises:
        RunFolderError: if `path` holds no run, or no checkpoint that can be read.
    """
    folder = Path(path)
    return RunFolder(folder).load_network(Run.load(folder))
