"""`inspection.json`: what was seen inside a network while it trained, and at the end."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from normscope._errors import RunFolderError
from normscope.records._base import Record
from normscope.records._files import write_atomically
from normscope.records._problems import first_told
from normscope.records._run import Measured

INSPECTION_FORMAT: Literal[1] = 1

Stage = Literal["s1", "s2", "s3", "h"]
"""The sums, the standardised sums, after gamma and beta, after the rectifier (spec S1)."""


class Band(Record):
    """Percentiles of one quantity at one moment (Ioffe & Szegedy 2015, figure 1)."""

    low: Measured
    """The 15th percentile."""
    middle: Measured
    """The median."""
    high: Measured
    """The 85th percentile."""


class LayerHistory(Record):
    """One layer's pre-activations in the course of training, on the same rows each time."""

    unit: int
    """The unit that is followed by itself, counted from 0."""
    s1: tuple[Band, ...] = Field(strict=False)
    """The sums of all units, moment by moment."""
    s3: tuple[Band, ...] = Field(strict=False)
    """What goes into the rectifier (or the softmax), of all units."""
    unit_s1: tuple[Band, ...] = Field(strict=False)
    """The sums of the one unit."""
    unit_s3: tuple[Band, ...] = Field(strict=False)
    """What goes into the rectifier, of the one unit."""


class History(Record):
    """Distributions through training.

    Of an `MLP` every layer's; of any other network what its batch norms are given (s1) and what
    they give (s3). A layer's percentiles are those of at most 16,384 of its values, the same places
    every time, every unit as often as every other.
    """

    rows: int
    """Validation images that they are taken on, as one batch in training mode."""
    steps: tuple[int, ...] = Field(strict=False)
    """The moments: training steps that came before; 0 is before the first."""
    layers: tuple[LayerHistory, ...] = Field(strict=False)
    """From the first layer to the logits; another network's batch norms in the order of a pass."""


class LayerStatistics(Record):
    """What one layer of the finished network normalizes by; a list has an entry per unit."""

    norm: Literal["batch", "layer", "none"]
    """What normalizes the layer. A layer norm's and no norm's lists of statistics are empty."""
    eps: float
    """Added to the variance; 0 where there is no norm."""
    gamma: tuple[Measured, ...] = Field(strict=False)
    """The learned scale; empty where there is none."""
    beta: tuple[Measured, ...] = Field(strict=False)
    """The learned shift, or the bias where there is no norm; empty where there is neither."""
    running_mean: tuple[Measured, ...] = Field((), strict=False)
    """Tracked while it trained."""
    running_variance: tuple[Measured, ...] = Field((), strict=False)
    """Tracked while it trained, in the recipe's convention."""
    population_mean: tuple[Measured, ...] = Field((), strict=False)
    """Exact, over the training set, layer after layer."""
    population_variance: tuple[Measured, ...] = Field((), strict=False)
    """Exact, divided by the number of rows."""


class Specimen(Record):
    """One image on its way through the finished network, in eval mode."""

    row: int
    """Its number in the test set, counted from 0."""
    image: str
    """The image as a PNG (greys or colours, from the lowest value to the highest), in base64; empty
    where rows are no pictures."""
    label: int
    """What it is, as a class index."""
    probabilities: tuple[Measured, ...] = Field(strict=False)
    """The softmax of the logits, per class."""
    s1: tuple[tuple[Measured, ...], ...] = Field(strict=False)
    """The sums of every layer, per unit, four significant digits; s2, s3 and h follow from them
    and from the layer's `LayerStatistics`."""
    s2: tuple[tuple[Measured, ...], ...] = Field((), strict=False)
    """Only where the norm is a layer norm, whose statistics are the image's own."""


class Mistake(Record):
    """One test image that the network got wrong."""

    row: int
    """Its number in the test set, counted from 0."""
    image: str
    """The image as a PNG, in base64; empty where rows are no pictures."""
    label: int
    """What it is, as a class index."""
    answer: int
    """What the network says it is."""
    probability: Measured
    """How sure the network is of its answer."""


class Inspection(Record):
    """The inside of a network. Its file is `inspection.json` in the run folder.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or of the wrong type.
    """

    format_version: Literal[1] = INSPECTION_FORMAT
    """The version of this format; a reader refuses one that it does not know."""
    history: History | None = None
    """Distributions through training; absent where nobody looked on while it trained."""
    layers: tuple[LayerStatistics, ...] = Field(strict=False)
    """From the first layer to the logits; another network's batch norms in the order of a pass."""
    confusion: tuple[tuple[int, ...], ...] = Field(strict=False)
    """Test rows by true class (outer) and by answer (inner), under running statistics."""
    specimens: tuple[Specimen, ...] = Field(strict=False)
    """Images to follow through an `MLP`: one of every class, and the surest mistakes."""
    mistakes: tuple[Mistake, ...] = Field(strict=False)
    """The surest first; not all of them where there are many."""

    @property
    def knows_every_layer(self) -> bool:
        """Whether `layers` are all that there are: not of a model of somebody's own."""
        return bool(self.layers and self.specimens)

    @classmethod
    def load(cls, path: str | Path) -> Self | None:
        """Read the ``inspection.json`` in a run folder; None if there is none.

        Raises:
            RunFolderError: if it cannot be read, or is of another format.
        """
        file = Path(path) / "inspection.json"
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"{file}: the inspection cannot be read ({error.strerror})."
            raise RunFolderError(msg) from None
        except ValidationError as error:
            msg = (
                f"{file}: this is not an inspection that this version of Normscope can read "
                f"({first_told(error)}). Delete it; it can be made again."
            )
            raise RunFolderError(msg) from None

    def save(self, path: Path) -> None:
        """Write to `path` in one step, so that a reader never sees half a file."""
        write_atomically(path, self.model_dump_json().encode() + b"\n")
