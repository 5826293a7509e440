"""What every format becomes: three splits of images and labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64


@dataclass(frozen=True)
class Split:
    """Images and their labels, row by row.

    Attributes:
        images: float32, ``[rows, height, width]``; from a function of somebody's own, rows of any
            one shape, such as ``[rows, channels, height, width]``.
        labels: int64, ``[rows]``, each from 0 to ``len(classes) - 1``.
    """

    images: Float32[np.ndarray, "rows ..."]
    labels: Int64[np.ndarray, " rows"]

    @property
    def pictures(self) -> Float32[np.ndarray, "rows height width"] | None:
        """The rows as grey pictures, also where they have one channel; None where they are none."""
        images = self.images
        if images.ndim == 4 and images.shape[1] == 1:
            images = images[:, 0]
        return images if images.ndim == 3 else None

    def __len__(self) -> int:
        """How many rows."""
        return len(self.labels)

    def __repr__(self) -> str:
        """How much there is, and of what shape, not the numbers.

        Example:
            >>> Split(np.zeros((1200, 28, 28), np.float32), np.zeros(1200, np.int64))
            Split(1,200 rows of 28 x 28)
        """
        shape = " x ".join(map(str, self.images.shape[1:]))
        return f"Split({len(self):,} rows of {shape})"


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

    def __repr__(self) -> str:
        """What it is and how much there is, not the numbers.

        Example:
            >>> few = Split(np.zeros((2, 28, 28), np.float32), np.zeros(2, np.int64))
            >>> Dataset("mine", "mine.npz", ("A", "B"), few, few, few)
            Dataset('mine': 2 classes; 2 + 2 + 2 rows of 28 x 28)
        """
        rows = " + ".join(f"{len(split):,}" for split in (self.train, self.valid, self.test))
        shape = " x ".join(map(str, self.train.images.shape[1:]))
        return f"Dataset({self.name!r}: {len(self.classes)} classes; {rows} rows of {shape})"
