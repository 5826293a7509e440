"""Loaders that were not shuffled."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import labelled, rows, small, trained


def sorted_by_class(*, shift: float = 0.0) -> TensorDataset:
    inputs, labels = labelled(384)
    order = labels.argsort(stable=True)
    inputs, labels = inputs[order], labels[order]
    return TensorDataset(inputs + shift * labels[:, None], labels)


def shuffled(data: TensorDataset) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(data, 32, shuffle=True, generator=torch.Generator().manual_seed(0))


def videos(*, mixed: bool) -> list[Tensor]:
    """Frames of eight videos, each with a light of its own."""
    frames = torch.randn(8, 16, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    frames += rows(8, 3)[:, None, :, None, None]
    return list(frames.transpose(0, 1) if mixed else frames)


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def bad_sorted_by_class() -> Diagnosis:
    return check(small(), DataLoader(sorted_by_class(shift=1), 32))


def good_sorted_by_class() -> Diagnosis:
    return check(small(), shuffled(sorted_by_class(shift=1)))


def bad_videos() -> Diagnosis:
    return check(convolutional(), videos(mixed=False))


def good_videos() -> Diagnosis:
    return check(convolutional(), videos(mixed=True))


def silent_sorted_validation() -> Diagnosis:
    """A trained model that is to be evaluated: batches may be in any order."""
    data = sorted_by_class(shift=1)
    model = trained(small(), [(x, y) for x, y in shuffled(data)], epochs=3).eval()
    return check(model, DataLoader(data, 32))


def silent_batches_of_two() -> Diagnosis:
    """Their means are far apart, as those of any two rows."""
    return check(small(), rows(64).split(2))


def silent_graphs() -> Diagnosis:
    """Nodes of one graph are alike: a label for each of a few graphs."""
    centres = rows(64, 4).view(16, 4, 4)
    nodes = [(c.repeat_interleave(5, dim=0) + 0.3 * rows(20), torch.zeros(4)) for c in centres]
    return check(nn.Sequential(nn.BatchNorm1d(4)), nodes)
