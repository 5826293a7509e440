"""A trained network of three batch norms, and what happens to such networks."""

import copy
import itertools
from functools import cache

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import batches, labelled, trained

Batches = list[tuple[Tensor, Tensor]]


def deep(*, momentum: float = 0.1, dropout: float = 0.0) -> nn.Sequential:
    """Freshly built."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        widths = [4, 16, 16, 16]
        layers: list[nn.Module] = []
        for number, (a, b) in enumerate(itertools.pairwise(widths)):
            if dropout and number:
                layers.append(nn.Dropout(dropout))
            layers += [nn.Linear(a, b), nn.BatchNorm1d(b, momentum=momentum), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(16, 3))


def data(*, size: int = 64, seed: int = 0) -> Batches:
    """Shuffled, with inputs that are not centred."""
    inputs, labels = labelled(512, seed=seed)
    return batches(1 + inputs, labels, size=size)


def class_pure(*, size: int = 64) -> Batches:
    """The same rows, a batch of one class at a time."""
    inputs, labels = labelled(512)
    pure = [(1 + inputs[labels == c], labels[labels == c]) for c in range(3)]
    cut = [batches(x, y, size=size) for x, y in pure]
    return [batch for together in zip(*cut, strict=False) for batch in together]


@cache
def _fitted() -> nn.Module:
    return fitted_of(deep(), data())


def fitted() -> nn.Sequential:
    """Trained, in training mode; a copy for everybody."""
    model = copy.deepcopy(_fitted())
    assert isinstance(model, nn.Sequential)
    return model


def fitted_of(model: nn.Module, batches: Batches) -> nn.Module:
    """That model, trained from a fixed random state."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(3)
        return trained(model, batches)


def fitted_diagnosis(model: nn.Module, batches: Batches | None = None) -> Diagnosis:
    """With the data of the training."""
    return check(model, data() if batches is None else batches)
