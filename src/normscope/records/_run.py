"""`run.json`: what a training run was, did, and reached."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator

from normscope._errors import RecipeError, RunFolderError
from normscope.records._base import Record
from normscope.records._files import write_atomically
from normscope.records._problems import first_told
from normscope.records._recipe import Recipe

RUN_FORMAT: Literal[1] = 1

Measured = Annotated[float, Field(strict=False)]
"""A figure that may be infinite or NaN, which JSON has to spell as strings."""

Count = Annotated[int, Field(ge=1)]

Status = Literal["running", "interrupted", "diverged", "complete"]


class Environment(Record):
    """What the run ran on: the other half of "the same bits"."""

    normscope: str
    """Version of Normscope."""
    python: str
    """Version of Python."""
    torch: str
    """Version of PyTorch."""
    numpy: str
    """Version of NumPy."""
    platform: str
    """Operating system and architecture."""
    processor: str
    """The CPU, in the vendor's words."""
    device: str
    """Where the arithmetic ran: ``cpu``, or the GPU's name."""
    threads: int
    """CPU threads that torch used."""


class DataRecord(Record):
    """Which data the run saw."""

    name: str
    """What to call the set in a title."""
    source: str
    """The built-in name or the absolute path that loads it again."""
    fingerprint: str
    """SHA-256 over all arrays: a resumed run refuses other data."""
    classes: tuple[str, ...] = Field(strict=False)
    """What each label stands for, in label order."""
    image_size: tuple[Count, ...] = Field(strict=False, min_length=1)
    """Shape of one row of the inputs: height and width in pixels, where it is a grey picture."""
    train_rows: Count
    """Images that the network learned from."""
    valid_rows: Count
    """Images that the validation figures are taken on."""
    test_rows: Count
    """Images that the test figures are taken on."""
    notes: tuple[str, ...] = Field((), strict=False)
    """How the data were read, where a choice was made."""
    framing: dict[str, float | bool]
    """How the glyphs sit in the training images, for `predict` to frame a picture alike; empty
    where the rows are no grey pictures."""

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Height and width where the rows are grey pictures, of one channel or of no such axis."""
        shape = self.image_size
        if len(shape) == 3 and shape[0] == 1:
            shape = shape[1:]
        return (shape[0], shape[1]) if len(shape) == 2 else None


class EpochRecord(Record):
    """One pass over the training set."""

    epoch: int
    """Counted from 1."""
    train_loss: Measured
    """Mean cross-entropy (nats) over the epoch's batches, each before its own update."""
    train_accuracy: Measured
    """Percent of the epoch's batches' rows, each before its own update, in training mode."""
    valid_loss: Measured
    """Mean cross-entropy (nats) on the validation set, under running statistics."""
    valid_accuracy: Measured
    """Percent of the validation set, under running statistics."""
    learning_rate: Measured
    """Adam's step during this epoch."""
    seconds: Measured
    """Wall time of the epoch, validation included; divided by the runs that shared it on a GPU."""


class Score(Record):
    """How well a network does on a set of images."""

    accuracy: Measured
    """Percent right."""
    loss: Measured
    """Mean cross-entropy, in nats."""


class TestScores(Record):
    """The same network on the same test set, normalized by three kinds of statistics."""

    __test__ = False  # pytest: this is not a test

    running: Score
    """By the moving averages that the training tracked: what the model ships with."""
    population: Score
    """By the exact statistics of the training set, taken one layer after another."""
    batch: Score
    """By the test set's own statistics, as the article's script does: not a fair test."""


class Run(Record):
    """A training run. Its file is `run.json` in the run folder.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or of the wrong type.
    """

    format_version: Literal[1] = RUN_FORMAT
    """The version of this format; a reader refuses one that it does not know."""
    status: Status
    """``running`` also stands in the record of a run that was killed."""
    recipe: Recipe
    """The recipe that ran."""
    data: DataRecord
    """The data that it ran on."""
    environment: Environment
    """Where it ran last."""
    epochs: tuple[EpochRecord, ...] = Field((), strict=False)
    """One entry per finished epoch, in order."""
    test: TestScores | None = None
    """The final test; absent until the run is complete."""
    notes: tuple[str, ...] = Field((), strict=False)
    """What happened on the way: interruptions, resumptions, divergence."""

    @field_validator("epochs")
    @classmethod
    def _counted_from_one(cls, epochs: tuple[EpochRecord, ...]) -> tuple[EpochRecord, ...]:
        if [record.epoch for record in epochs] != list(range(1, len(epochs) + 1)):
            msg = "epochs must be numbered 1, 2, 3, …"
            raise ValueError(msg)
        return epochs

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a ``run.json``, or the one in a run folder.

        Raises:
            RunFolderError: if there is none, or it is not a run of this format.
        """
        path = Path(path)
        file = path / "run.json" if path.is_dir() else path
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            msg = f"{path}: there is no run here. Train one with `normscope train`."
            raise RunFolderError(msg) from None
        except OSError as error:
            msg = f"{file}: the run cannot be read ({error.strerror})."
            raise RunFolderError(msg) from None
        except RecipeError as error:
            msg = f"{file}: this version of Normscope cannot read the run ({error})"
            raise RunFolderError(msg) from None
        except ValidationError as error:
            msg = (
                f"{file}: this is not a run that this version of Normscope can read "
                f"({first_told(error)})."
            )
            raise RunFolderError(msg) from None

    def save(self, path: Path) -> None:
        """Write to `path` in one step, so that a reader never sees half a file."""
        write_atomically(path, self.model_dump_json(indent=2).encode() + b"\n")
