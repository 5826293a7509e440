"""What every contestant of the training step computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

ROWS, INPUTS, CLASSES = 12_000, 784, 10
LEARNING_RATE = 0.001
"""No time depends on it; with this one no network diverges on labels that mean nothing."""


@dataclass(frozen=True)
class Task:
    """A network, its batches and its data.

    Attributes:
        hidden: widths of the hidden layers; 784 inputs and 10 logits are around them.
        norm: ``"batch"`` (every layer, the logits as well; beta does a bias's work) or ``"none"``.
        batch: rows in a mini-batch.
        unmeasured: untimed steps at the start of a turn, for those who must know beforehand.
        measured: timed steps of a turn.
    """

    hidden: tuple[int, ...] = (1000, 500, 250, 250, 250)
    norm: str = "batch"
    batch: int = 120
    unmeasured: int = 2
    measured: int = 10

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Inputs and outputs of every layer."""
        return list(pairwise([INPUTS, *self.hidden, CLASSES]))

    @property
    def normalized(self) -> bool:
        """Whether batch norm follows every layer."""
        return self.norm == "batch"

    @property
    def parameters(self) -> int:
        """How many numbers Adam updates."""
        each = 2 if self.normalized else 1  # gamma and beta, or a bias
        return sum(inputs * outputs + each * outputs for inputs, outputs in self.shapes)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Images ``[12000, 784]``, float32, and labels, int64: noise, since only time counts."""
        random = np.random.default_rng(0)
        images = random.standard_normal((ROWS, INPUTS), dtype=np.float32)
        return images, random.integers(0, CLASSES, ROWS)

    def weights(self) -> list[np.ndarray]:
        """Weights ``[inputs, outputs]`` from N(0, 1/inputs), float32, of every layer."""
        random = np.random.default_rng(1)
        return [
            random.standard_normal(shape, dtype=np.float32) / np.float32(shape[0] ** 0.5)
            for shape in self.shapes
        ]

    def batches(self) -> Iterator[np.ndarray]:
        """Row numbers of batches without end: a new order each epoch, its rest left out."""
        random = np.random.default_rng(2)
        while True:
            order = random.permutation(ROWS)
            for start in range(0, ROWS - self.batch + 1, self.batch):
                yield order[start : start + self.batch]
