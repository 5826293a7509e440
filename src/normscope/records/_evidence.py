"""`evidence.json`: each explanation of why batch norm works, against what was measured."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from normscope._errors import RecipeError, StudyError
from normscope.records._base import Record
from normscope.records._files import write_atomically
from normscope.records._problems import first_told
from normscope.records._recipe import Recipe
from normscope.records._run import DataRecord, Environment
from normscope.records._study import Estimate

EVIDENCE_FORMAT: Literal[1] = 1

_FILE = "evidence.json"

Figure = Annotated[float, Field(strict=False)]
"""A number that may be infinite or NaN, which JSON has to spell as strings."""

Judgement = Literal["survives", "contradicted", "not decided"]
"""By the rule of `docs/explain.md`."""


class SeedValue(Record):
    """The number of one seed."""

    seed: int
    """Which."""
    value: Figure
    """The number."""


class PremiseChecked(Record):
    """What a row rests on."""

    key: str
    """Its name."""
    formula: str
    """Of the number whose interval has to lie above 0."""
    effect: Estimate
    """That number."""
    holds: bool
    """Whether the interval does."""


class EvidenceRow(Record):
    """One prediction, and what became of it."""

    key: str
    """Its name."""
    explanation: str
    """What it follows from."""
    source: str
    """Who says so."""
    prediction: str
    """The statement."""
    formula: str
    """Of the number that every seed has."""
    scale: Literal["points", "ratio", "slope"]
    """Percentage points; a ratio, averaged by its logarithm; a bare number."""
    predicted: tuple[Figure, Figure] = Field(strict=False)
    """It is borne out where the interval lies between these."""
    against: tuple[Figure, Figure] = Field(strict=False)
    """It is contradicted where the interval lies between these."""
    values: tuple[SeedValue, ...] = Field((), strict=False)
    """The numbers, of every seed that has one."""
    effect: Estimate
    """Their mean and its interval; NaN where there are no numbers."""
    p: Figure
    """Two-sided, of the nearest threshold of the region that the mean lies in; 1 in neither."""
    p_holm: Figure
    """After Holm's procedure over the rows that could be judged."""
    judgement: Judgement
    """What may be said."""
    why: str = ""
    """Why it is not decided, as a clause; empty where it is."""
    premises: tuple[PremiseChecked, ...] = Field((), strict=False)
    """What it rests on."""


class ExplainedArm(Record):
    """One of the networks that were trained."""

    key: str
    """What formulas call it."""
    words: str
    """What people call it."""
    name: str
    """What the study calls it."""
    best_learning_rate: float
    """By validation accuracy."""
    at_the_edge: bool
    """Whether that is the smallest or the largest of the grid, so that a better one may lie
    beyond it."""


class LeftOut(Record):
    """One of the networks that were not trained."""

    key: str
    """What formulas call it."""
    words: str
    """What people call it."""
    why: str
    """As a clause."""


class EvidenceTable(Record):
    """Every explanation against the evidence. Its file is `evidence.json` in the study's folder.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or of the wrong type.
    """

    format_version: Literal[1] = EVIDENCE_FORMAT
    """The version of this format; a reader refuses one that it does not know."""
    recipe: Recipe
    """What all arms have in common."""
    data: DataRecord
    """What all of them saw."""
    environment: Environment
    """Where they were trained."""
    arms: tuple[ExplainedArm, ...] = Field(strict=False)
    """Those that were trained."""
    left_out: tuple[LeftOut, ...] = Field((), strict=False)
    """Those that were not."""
    learning_rates: tuple[float, ...] = Field(strict=False)
    """Every arm's."""
    seeds: tuple[int, ...] = Field(strict=False)
    """Every arm's, at every rate."""
    confidence: float
    """Of every interval, and 1 minus the error that Holm's procedure keeps to."""
    budget_seconds: float
    """The time that was given."""
    expected_seconds: float
    """What the design was expected to take, by short runs of its arms."""
    rows: tuple[EvidenceRow, ...] = Field(strict=False)
    """Every prediction."""
    notes: tuple[str, ...] = Field((), strict=False)
    """What a reader of the figures has to know."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ``evidence.json``, or the one in a folder.

        Raises:
            StudyError: if there is none, or it is not one of this format.
        """
        path = Path(path)
        file = path / _FILE if path.is_dir() else path
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            msg = f"{path}: there is no evidence here. Make some with `normscope explain`."
            raise StudyError(msg) from None
        except OSError as error:
            msg = f"{file}: the evidence cannot be read ({error.strerror})."
            raise StudyError(msg) from None
        except RecipeError as error:
            msg = f"{file}: this version of Normscope cannot read the evidence ({error})"
            raise StudyError(msg) from None
        except ValidationError as error:
            msg = (
                f"{file}: this is no evidence that this version of Normscope can read "
                f"({first_told(error)})."
            )
            raise StudyError(msg) from None

    def save(self, path: Path) -> None:
        """Write to `path` in one step, so that a reader never sees half a file."""
        write_atomically(path, self.model_dump_json(indent=1).encode() + b"\n")
