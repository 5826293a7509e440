"""How well a network does, under three kinds of statistics (spec S2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from normscope._shapes import Batch, ClassIndices
from normscope.anatomy import modes_preserved, preserved
from normscope.data import Split
from normscope.nn import MLP, set_population_statistics
from normscope.records import Score, TestScores

Statistics = Literal["running", "population", "batch"]

_CHUNK_ROWS = 512  # in the cache: on one core a fifth faster than 4096, and less memory


@dataclass(frozen=True)
class Rows:
    """A split of a data set as the network takes it: flat images on its device.

    Attributes:
        images: float32, ``[rows, height * width]``.
        labels: int64, ``[rows]``.
    """

    images: Batch
    labels: ClassIndices

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "Rows":
        """Flatten a split's images and put it on `device`."""
        images = torch.from_numpy(split.images).flatten(1)
        return cls(images.to(device), torch.from_numpy(split.labels).to(device))

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
def evaluate(network: MLP, rows: Rows) -> Score:
    """Accuracy and loss on `rows`, in eval mode: under the network's running statistics.

    Every module is left in the mode it was in, also when the network raises.

    Args:
        network: anything that maps flat images to logits.
        rows: at least one.
    """
    with modes_preserved(network):
        network.eval()
        loss = torch.zeros((), dtype=torch.float64, device=rows.images.device)
        right = torch.zeros((), dtype=torch.int64, device=rows.images.device)
        chunks = zip(rows.images.split(_CHUNK_ROWS), rows.labels.split(_CHUNK_ROWS), strict=True)
        for images, labels in chunks:
            logits = network(images)
            loss += F.cross_entropy(logits, labels, reduction="sum")
            right += (logits.argmax(dim=1) == labels).sum()
    count = len(rows.labels)
    return Score(accuracy=100 * int(right) / count, loss=float(loss) / count)


@torch.no_grad()
def test_scores(network: MLP, *, train: Rows, test: Rows) -> TestScores:
    """The final test, three ways side by side. The network is left as it was.

    *running*: by the moving averages, what the model ships with. *population*: by the exact
    statistics of `train`, taken layer after layer. *batch*: by the statistics of `test` itself, all
    of it as one batch, as the founding article's script does; no fair test, since every row's
    answer then depends on the other test rows.

    A network without batch normalization scores the same three times.
    """
    running = evaluate(network, test)
    with preserved(network):
        set_population_statistics(network, train.images)
        population = evaluate(network, test)
        # What one batch of all rows would be normalized by, without holding its every layer.
        set_population_statistics(network, test.images)
        batch = evaluate(network, test)
    return TestScores(running=running, population=population, batch=batch)


test_scores.__test__ = False  # type: ignore[attr-defined]  # pytest: this is not a test
