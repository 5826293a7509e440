"""What a reader of one format hands on: arrays as they stand in the file, unchecked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

ROLES = ("train", "valid", "test")

Array = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """The images and labels of one split, and where to point when they are wrong.

    Readers let only numbers through: bool, integer, or float of at most 64 bits.

    Attributes:
        images: any numbers, any shape.
        labels: any numbers, any shape.
        images_at: the start of a sentence on an image: ``"x.pickle: train_dataset"``.
        labels_at: the start of a sentence on a label.
    """

    images: Array
    labels: Array
    images_at: str
    labels_at: str


@dataclass
class Contents:
    """Everything that a file or folder says.

    Attributes:
        path: where it was read from.
        tables: ``"train"``, and ``"valid"`` and ``"test"`` where the source has them.
        classes: what the labels stand for, where the source says so.
        notes: sentences for `Dataset.notes`.
        pictures: whether every row is a grey picture; otherwise it keeps the shape that it has.
    """

    path: Path
    tables: dict[str, Table]
    classes: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)
    pictures: bool = True
