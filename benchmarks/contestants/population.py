"""Statistics of a training set for a network's batch norms. A step is all of them, once."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.steps._torch import set_up
from benchmarks.worker import Pace
from normscope.nn import MLP, set_population_statistics

BATCH = 120


def exact(pace: Pace, *, rows: int) -> None:
    """Ours: layer after layer, of all rows."""
    network, images = _given(rows)
    while True:
        pace()
        set_population_statistics(network, images)


def averaged(pace: Pace, *, rows: int) -> None:
    """PyTorch's: the average of each batch's statistics, from slices of the tensor."""
    network, images = _given(rows)
    while True:
        pace()
        update_bn(images.split(BATCH), network)


def averaged_from_loader(pace: Pace, *, rows: int) -> None:
    """PyTorch's, with the loader that people have."""
    network, images = _given(rows)
    loader = DataLoader(TensorDataset(images), batch_size=BATCH)
    while True:
        pace()
        update_bn(_first(loader), network)


def _given(rows: int) -> tuple[MLP, Tensor]:
    """The default recipe's network with torch's own batch norms, and rows of noise."""
    set_up()
    network = MLP([784, 1000, 500, 250, 250, 250, 10], norm=nn.BatchNorm1d)
    return network, torch.randn(rows, 784)


def _first(loader: DataLoader[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    """The images of each batch."""
    for (images,) in loader:
        yield images
