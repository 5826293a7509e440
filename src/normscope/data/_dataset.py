"""What every format becomes: three splits of images and labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64


@dataclass(frozen=True)
class Split:
    """Images and their labels, row by row.

    Attributes:
        images: float32, ``[rows, height, width]``.
        labels: int64, ``[rows]``, each from 0 to ``len(classes) - 1``.
    """

    images: Float32[np.ndarray, "rows height width"]
    labels: Int64[np.ndarray, " rows"]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A training, a validation and a test split of the same kind of images.

    Attributes:
        name: what to call it in a title: ``"letters"``, ``"notMNIST.pickle"``.
        source: the built-in name, or the absolute path, that loads it again.
        classes: what each label stands for, in label order: ``("A", …, "J")`` or ``("0", …)``.
        train: what the network learns from.
        valid: what choices are made on.
        test: what is reported at the end.
        notes: sentences a person should read once, e.g. how a missing split was cut.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    notes: tuple[str, ...] = ()
