"""Small models and data that the tests of the doctor share."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def rows(count: int = 64, width: int = 4, *, seed: int = 0) -> Tensor:
    """Rows of unit deviation."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def small(*, seed: int = 0) -> nn.Sequential:
    """Two linear layers with a batch norm between them, freshly built, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def labelled(count: int = 512, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows whose class, of three, is the largest of their first three numbers."""
    inputs = rows(count, seed=seed)
    return inputs, inputs[:, :3].argmax(dim=1)


def batches(inputs: Tensor, labels: Tensor, *, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    """Cut into pairs, as a loader gives them."""
    return list(zip(inputs.split(size), labels.split(size), strict=True))


def trained(model: nn.Module, data: list[tuple[Tensor, Tensor]], *, epochs: int = 30) -> nn.Module:
    """Train on batches of classes, by Adam at 0.01."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for inputs, labels in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return model


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """In definition order."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
