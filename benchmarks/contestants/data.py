"""Data sets of noise, of any size: only time counts."""

import numpy as np

from normscope.data import Dataset, Split


def noise(*, train: int, valid: int, test: int) -> Dataset:
    """Ten classes, 28 x 28."""
    random = np.random.default_rng(0)

    def split(rows: int) -> Split:
        images = random.standard_normal((rows, 28, 28), dtype=np.float32)
        return Split(images=images, labels=random.integers(0, 10, rows))

    return Dataset(
        name="noise",
        source="noise",
        classes=tuple("0123456789"),
        train=split(train),
        valid=split(valid),
        test=split(test),
    )
