"""How well a network does, under three kinds of statistics (spec S2)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope._shapes import ClassIndices, Inputs
from normscope.anatomy import batch_norm_layers, modes_preserved, preserved
from normscope.data import Split
from normscope.nn import (
    MLP,
    has_running_statistics,
    set_population_statistics,
    set_population_statistics_by_passes,
)
from normscope.records import Score, TestScores

Statistics = Literal["running", "population", "batch"]

_CHUNK_ROWS = 512  # in the cache: on one core a fifth faster than 4096, and less memory
_FEWEST_CHUNK_ROWS, _CHUNK_NUMBERS = 16, 2**21


@dataclass(frozen=True)
class Rows:
    """A split of a data set as the network takes it: on its device.

    Attributes:
        images: float32, ``[rows, ...]``, in the shape that the data have.
        labels: int64, ``[rows]``.
    """

    images: Inputs
    labels: ClassIndices

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "Rows":
        """Put a split on `device`."""
        images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
        return cls(images.to(device), labels.to(device))

    def chunks(self) -> "list[Rows]":
        """All rows, a few hundred at a time; fewer where they are large, as photographs are."""
        fitting = _CHUNK_NUMBERS // max(1, math.prod(self.images.shape[1:]))
        rows = max(_FEWEST_CHUNK_ROWS, min(_CHUNK_ROWS, fitting))
        both = zip(self.images.split(rows), self.labels.split(rows), strict=True)
        return [Rows(images, labels) for images, labels in both]

    def gather(self, rows: Tensor, into: "Rows | None" = None) -> "Rows":
        """The given rows, in new tensors or in those of `into`.

        Args:
            rows: int64, their numbers.
            into: as many rows, which are overwritten.
        """
        images, labels = (into.images, into.labels) if into else (None, None)
        return Rows(
            torch.index_select(self.images, 0, rows, out=images),
            torch.index_select(self.labels, 0, rows, out=labels),
        )


@torch.no_grad()
def evaluate(network: nn.Module, rows: Rows) -> Score:
    """Accuracy and loss on `rows`, in eval mode: under the network's running statistics.

    Every module is left in the mode it was in, also when the network raises.

    Args:
        network: anything that maps such images to logits.
        rows: at least one.
    """
    with modes_preserved(network):
        network.eval()
        loss = torch.zeros((), dtype=torch.float64, device=rows.images.device)
        right = torch.zeros((), dtype=torch.int64, device=rows.images.device)
        for chunk in rows.chunks():
            logits = network(chunk.images)
            loss += F.cross_entropy(logits, chunk.labels, reduction="sum")
            right += (logits.argmax(dim=1) == chunk.labels).sum()
    count = len(rows.labels)
    return Score(accuracy=100 * int(right) / count, loss=float(loss) / count)


@torch.no_grad()
def test_scores(network: nn.Module, *, train: Rows, test: Rows) -> TestScores:
    """The final test, three ways side by side. The network is left as it was.

    *running*: by the moving averages, what the model ships with. *population*: by the exact
    statistics of `train`, taken layer after layer. *batch*: by the statistics of `test` itself, all
    of it as one batch, as the founding article's script does; no fair test, since every row's
    answer then depends on the other test rows.

    A network in which nothing tracks statistics scores the same three times.
    """
    running = evaluate(network, test)
    if not _tracks(network):
        return TestScores(running=running, population=running, batch=running)
    with preserved(network):
        _normalize_by(network, train)
        population = evaluate(network, test)
        # What one batch of all rows would be normalized by, without holding its every layer.
        _normalize_by(network, test)
        batch = evaluate(network, test)
    return TestScores(running=running, population=population, batch=batch)


def _tracks(network: nn.Module) -> bool:
    """Whether there are running statistics to replace."""
    if isinstance(network, MLP):
        return any(has_running_statistics(layer.norm) for layer in network.normalized_layers())
    return bool(batch_norm_layers(network))


def _normalize_by(network: nn.Module, rows: Rows) -> None:
    """Set the running statistics to the exact ones of `rows`."""
    if isinstance(network, MLP):
        set_population_statistics(network, rows.images.flatten(1))
    else:
        images = [chunk.images for chunk in rows.chunks()]
        set_population_statistics_by_passes(network, images)


test_scores.__test__ = False  # type: ignore[attr-defined]  # pytest: this is not a test
