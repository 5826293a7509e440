"""`study.json`: what was compared, every run's raw values, and what follows from them."""

import gzip
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from normscope._errors import RecipeError, StudyError
from normscope.records._base import Record
from normscope.records._files import write_atomically
from normscope.records._inspection import Inspection
from normscope.records._problems import first_told
from normscope.records._recipe import Recipe
from normscope.records._run import (
    DataRecord,
    Environment,
    EpochRecord,
    Measured,
    Status,
    TestScores,
)

STUDY_FORMAT: Literal[1] = 1

Percent = Annotated[float, Field(strict=False)]


class Arm(Record):
    """One of the things that are compared: the recipe with some fields set, at every rate."""

    name: str
    """What people call it, by what tells it from the others: ``norm=batch``."""
    settings: dict[str, Any]
    """The varied fields and their values, without the learning rate, which every arm is tried
    with; where nothing but the rate is varied, the rates are the arms, and it stands here."""


class Design(Record):
    """What is compared, decided before the first run."""

    recipe: Recipe
    """What all runs have in common; where a field is varied, its value here does not count."""
    arms: tuple[Arm, ...] = Field(strict=False)
    """In the order in which they were given."""
    reference: str
    """The name of the arm that the others are compared with: the plain one where there is one."""
    learning_rates: tuple[float, ...] = Field(strict=False)
    """Every arm is trained at each of them; where the rates are the arms, all of these."""
    seeds: tuple[int, ...] = Field(strict=False)
    """Every arm is trained with each of them, at every rate: the same first weights where shapes
    allow, the same order of the data."""
    steps_between_validations: int
    """Every so many steps of an epoch the network is validated, for the steps to the target, and
    always at the epoch's end."""
    target: float | None = None
    """Percent of the validation set that a run has to reach and keep; absent: where the
    reference's runs end at its best rate (median over seeds), less one standard error of the
    validation set."""
    confidence: float = 0.95
    """Of every interval, and 1 minus the error that Holm's procedure keeps to."""

    def rates_of(self, arm: Arm) -> tuple[float, ...]:
        """The learning rates that `arm` is trained at."""
        own = arm.settings.get("learning_rate")
        return self.learning_rates if own is None else (own,)

    def epochs_of(self, arm: Arm) -> int:
        """How long the runs of `arm` are; epochs may be what is varied."""
        return int(arm.settings.get("epochs", self.recipe.epochs))


class CurvePoint(Record):
    """The validation of a network in the course of its training."""

    step: int
    """Training steps that came before."""
    valid_loss: Measured
    """Mean cross-entropy (nats) on the validation set, under running statistics."""
    valid_accuracy: Percent
    """Percent of the validation set, under running statistics."""


class StudyRun(Record):
    """One training of a study: its raw values."""

    arm: str
    """The name of its arm."""
    learning_rate: float
    """Adam's step at the start."""
    seed: int
    """Of the first weights and the order of the data."""
    folder: str
    """Its run folder, beside the study file."""
    status: Status
    """``complete`` or ``diverged`` once it has ended."""
    steps_per_epoch: int
    """Batches that an epoch has."""
    epochs: tuple[EpochRecord, ...] = Field((), strict=False)
    """One entry per finished epoch."""
    curve: tuple[CurvePoint, ...] = Field((), strict=False)
    """The validations, in the order of their steps."""
    test: TestScores | None = None
    """The final test; absent where the run diverged."""
    right: str = ""
    """Which test rows were right, under running statistics: a bit each (``numpy.packbits``), in
    base64; empty where the run diverged."""


class Estimate(Record):
    """A figure, and the interval around it."""

    value: Measured
    """The estimate."""
    low: Measured
    """Where the interval begins."""
    high: Measured
    """Where it ends."""
    n: int
    """Paired seeds (or single runs' test rows) that it rests on."""


class Cell(Record):
    """One arm at one learning rate, over all seeds."""

    arm: str
    """The arm's name."""
    learning_rate: float
    """Adam's step at the start."""
    n: int
    """Runs that have ended."""
    diverged: int
    """Of these, diverged; they count with the accuracy of guessing."""
    test_accuracy: Estimate
    """Percent, mean over seeds, with a t interval: of this cell alone, not for comparing."""
    valid_accuracy: Percent
    """Percent after the last epoch, mean over seeds: what the best rate is chosen by."""
    steps: tuple[int | None, ...] = Field(strict=False)
    """For each seed, the steps to the target; null where it was never reached and kept."""


Question = Literal["own-best", "equal-rate", "other-rate"]
"""``own-best``: each arm at the rate that is best for it. ``equal-rate``: both at the same rate.
``other-rate``: the arm at its own best rate against itself at the reference's best."""

Conclusion = Literal["higher", "lower", "no-difference", "undecided"]
"""``higher`` and ``lower``: by p after Holm's procedure. ``no-difference``: none is found so; the
interval alone may still leave one. ``undecided``: one seed, or so many runs never reach the target
that neither can be said."""


class Comparison(Record):
    """One arm held against another, seed by seed."""

    question: Question
    """Which comparison this is."""
    measure: Literal["test-accuracy", "steps-to-target"]
    """What is compared."""
    arm: str
    """The arm in question."""
    learning_rate: float
    """Its rate."""
    other: str
    """What it is compared with."""
    other_learning_rate: float
    """The other's rate."""
    effect: Estimate
    """test-accuracy: the arm minus the other, in percentage points, mean over seeds.
    steps-to-target: the arm's steps divided by the other's, geometric mean over seeds."""
    p: Percent
    """Two-sided, of no effect; 1 where nothing differs at all."""
    p_holm: Percent
    """The same after Holm's procedure, over the comparisons of its question and measure."""
    conclusion: Conclusion
    """By `p_holm` and the study's confidence."""
    censored: tuple[int, int] = (0, 0)
    """steps-to-target: runs of the arm, and of the other, that never reach it; they count with
    all the steps they had, so the ratio is a bound where only one of the two has any."""


class McNemar(Record):
    """Two single runs on the same test rows (McNemar 1947, exact)."""

    arm: str
    """The arm in question."""
    other: str
    """What it is compared with."""
    learning_rates: tuple[float, float] = Field(strict=False)
    """Of the two runs."""
    seed: int
    """Of both."""
    only_arm: int
    """Test rows that only the arm's run has right."""
    only_other: int
    """Test rows that only the other's run has right."""
    difference: Estimate
    """The arm minus the other, in percentage points; n is the number of test rows."""
    p: Percent
    """Two-sided: of as many rows the one way as the other."""


class Analysis(Record):
    """What follows from the raw values; the same call makes it again from the same file."""

    target: Percent
    """Percent of the validation set that counts as reached."""
    target_is: Literal["given", "reference"]
    """Where the target comes from: from whoever asked, or from where the reference ends."""
    best_learning_rates: dict[str, float]
    """For each arm the rate of its best mean validation accuracy."""
    cells: tuple[Cell, ...] = Field(strict=False)
    """Every arm at every rate, in the design's order."""
    comparisons: tuple[Comparison, ...] = Field((), strict=False)
    """Every arm against the reference, question by question."""
    mcnemar: tuple[McNemar, ...] = Field((), strict=False)
    """Where there is one seed, single runs at their own best rates."""


class Inspected(Record):
    """The inside of one of the runs."""

    folder: str
    """The run's, as in `StudyRun`."""
    inspection: Inspection
    """What was seen."""


class Study(Record):
    """A comparison. Its file is `study.json` in the study's folder.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or of the wrong type.
    """

    format_version: Literal[1] = STUDY_FORMAT
    """The version of this format; a reader refuses one that it does not know."""
    status: Literal["running", "complete"]
    """``complete`` once every run of the design has ended."""
    design: Design
    """What was decided before the first run."""
    data: DataRecord
    """What all runs saw."""
    environment: Environment
    """Where the study ran last."""
    runs: tuple[StudyRun, ...] = Field((), strict=False)
    """Every run that has ended, in the design's order: by arm, learning rate, seed."""
    analysis: Analysis | None = None
    """What follows from the runs; absent until the study is complete."""
    inspections: tuple[Inspected, ...] = Field((), strict=False)
    """For each arm one run, that of the first seed at the arm's own best rate."""
    notes: tuple[str, ...] = Field((), strict=False)
    """What a reader of the figures has to know."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a ``study.json``, one compressed as ``study.json.gz``, or the one in a folder.

        Raises:
            StudyError: if there is none, or it is not a study of this format.
        """
        path = Path(path)
        file = path / "study.json" if path.is_dir() else path
        try:
            return cls.model_validate_json(_content(file))
        except FileNotFoundError:
            msg = f"{path}: there is no study here. Make one with `normscope compare`."
            raise StudyError(msg) from None
        except (OSError, EOFError, zlib.error) as error:
            why = getattr(error, "strerror", None) or error
            msg = f"{file}: the study cannot be read ({why})."
            raise StudyError(msg) from None
        except RecipeError as error:
            msg = f"{file}: this version of Normscope cannot read the study ({error})"
            raise StudyError(msg) from None
        except ValidationError as error:
            msg = (
                f"{file}: this is not a study that this version of Normscope can read "
                f"({first_told(error)})."
            )
            raise StudyError(msg) from None

    def save(self, path: Path) -> None:
        """Write to `path` in one step, so that a reader never sees half a file."""
        write_atomically(path, self.model_dump_json(indent=1).encode() + b"\n")


def _content(file: Path) -> bytes:
    """What a file says, compressed or not."""
    content = file.read_bytes()
    return gzip.decompress(content) if content.startswith(_GZIP) else content


_GZIP = b"\x1f\x8b"
