"""`evidence-pictures.json`: what the pictures beside the evidence are drawn from."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from normscope._errors import StudyError
from normscope.records._base import Record
from normscope.records._files import write_atomically
from normscope.records._problems import first_told

PICTURES_FORMAT: Literal[1] = 1

_FILE = "evidence-pictures.json"

_Figure = Annotated[float, Field(strict=False)]
_Figures = Annotated[tuple[_Figure, ...], Field(strict=False)]


class SeedLine(Record):
    """A quantity over training steps or layers, of every seed that has a reading there."""

    quantity: str
    """Its name among the readings that predictions are about, as in ``drift``."""
    over: Literal["steps", "layers"]
    """Steps: the median over the layers that the predictions are about. Layers: before the first
    step where that is when they ask, else the median over the training."""
    arm: str
    """By the key that formulas use."""
    learning_rate: float
    """Of its runs."""
    at: _Figures
    """Steps; or layers, counted from 1 in the order of the calls."""
    low: _Figures
    """The smallest of the seeds at each."""
    middle: _Figures
    """Their median."""
    high: _Figures
    """Their largest."""


class LossCurve(Record):
    """The loss along a line through the parameters, at one moment of one run."""

    line: Literal["gradient", "step", "far"]
    """Along the gradient, as far as the step; along the step; far out along the gradient."""
    arm: str
    """By the key that formulas use."""
    learning_rate: float
    """Of the run."""
    seed: int
    """Of the run."""
    step: int
    """After how many steps."""
    at: _Figures
    """How far: in lengths of the step; far out, in lengths of the parameters."""
    loss: _Figures
    """In nats; far out, relative to where the line begins."""


class ArmNumbers(Record):
    """What every seed of an arm comes to at one learning rate: percent."""

    arm: str
    """By the key that formulas use."""
    learning_rate: float
    """Of the runs."""
    best: bool
    """Whether it is the arm's own best."""
    rows: int
    """That one statistic of a norm is taken over in training: of a batch, or of a part."""
    learned: _Figures
    """L: of the training rows when they were trained on, mean over the epochs; seed by seed."""
    early: _Figures
    """E: the same of the first epoch; at the arm's own best rate alone."""
    ended: _Figures
    """A: of the test set at the end."""


class EvidencePictures(Record):
    """What the pictures beside the evidence show. Its file is in the study's folder.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or of the wrong type.
    """

    format_version: Literal[1] = PICTURES_FORMAT
    """The version of this format; a reader refuses one that it does not know."""
    lines: tuple[SeedLine, ...] = Field(strict=False)
    """What probes read, of every arm that they look at."""
    curves: tuple[LossCurve, ...] = Field(strict=False)
    """Of the first seed that has them, arm by arm and moment by moment."""
    numbers: tuple[ArmNumbers, ...] = Field(strict=False)
    """Every arm at every rate."""

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read those in a study's folder; None where there are none.

        Raises:
            StudyError: if the file cannot be read, or holds something else.
        """
        file = folder / _FILE
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"{file}: this cannot be read ({error.strerror})."
            raise StudyError(msg) from None
        except ValidationError as error:
            msg = (
                f"{file}: this is nothing that this version of Normscope can draw "
                f"({first_told(error)}). `normscope explain` writes it anew."
            )
            raise StudyError(msg) from None

    def save(self, folder: Path) -> None:
        """Write the file of a study's folder in one step.

        Raises:
            OSError: if the disk refuses.
        """
        write_atomically(folder / _FILE, self.model_dump_json().encode() + b"\n")
