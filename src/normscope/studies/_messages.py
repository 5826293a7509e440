"""What a worker process and its employer say to each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from normscope.records import DataRecord, Recipe, Run

RunStatus = Literal["running", "complete", "diverged", "interrupted", "failed"]


@dataclass(frozen=True)
class Watch:
    """What a study looks at while a run trains, and when it has.

    Attributes:
        every: so many steps of an epoch lie between two validations.
        inspect: whether the inside of the network is looked at as well.
        probes: so many steps lie between two moments at which probes read; 0 for none.
        timed: whether it is noted when what was done.
    """

    every: int
    inspect: bool
    probes: int = 0
    timed: bool = False


@dataclass(frozen=True)
class Task:
    """One run to train, or to take up where it stopped.

    Attributes:
        name: what people call the run.
        recipe: one that fits the data.
        folder: where it goes, or stands unfinished.
        data: which of the shared data sets, counted from 0.
        record: what the run's record says of the data.
        watch: what is looked at besides; None where nobody asks for more than the run.
    """

    name: str
    recipe: Recipe
    folder: Path
    data: int
    record: DataRecord
    watch: Watch | None = None


@dataclass(frozen=True)
class RunProgress:
    """Where one run of many stands.

    Attributes:
        name: the run's; its folder is called the same.
        epoch: finished epochs.
        epochs: those that the recipe asks for.
        valid_accuracy: percent, after the last finished epoch; None before the first.
        status: ``running`` while it trains; each of the others is said once, at the end.
        message: why it did not complete, as a sentence.
    """

    name: str
    epoch: int
    epochs: int
    valid_accuracy: float | None
    status: RunStatus
    message: str = ""

    @classmethod
    def of(cls, name: str, run: Run) -> Self:
        """What its record says of a run."""
        return cls(
            name=name,
            epoch=len(run.epochs),
            epochs=run.recipe.epochs,
            valid_accuracy=run.epochs[-1].valid_accuracy if run.epochs else None,
            status=run.status,
        )

    def __str__(self) -> str:
        """A line for a person.

        Example:
            >>> print(RunProgress("seed-0", 1, 5, 96.125, "running"))
            seed-0: 1 of 5 epochs, 96.12 % of the validation set right
            >>> print(RunProgress("seed-0", 0, 5, None, "failed", "The disk is full."))
            seed-0: failed in epoch 1 of 5: The disk is full.
        """
        right = self.valid_accuracy
        accuracy = "" if right is None else f", {right:.2f} % of the validation set right"
        if self.status == "running":
            epochs = "epoch" if self.epochs == 1 else "epochs"
            return f"{self.name}: {self.epoch} of {self.epochs} {epochs}{accuracy}"
        if self.status == "complete":
            return f"{self.name}: complete{accuracy}"
        where = f"in epoch {min(self.epoch + 1, self.epochs)} of {self.epochs}"
        why = f": {self.message}" if self.message else ""
        return f"{self.name}: {self.status} {where}{why}"

    @property
    def finished(self) -> bool:
        """Whether nothing more will be heard of the run."""
        return self.status != "running"
