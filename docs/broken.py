"""A small classifier that is right in `train()` and wrong in `eval()`; `docs/check.md` asks why.

Its batch norms were given the decay of another framework for PyTorch's momentum, which is the
weight of the new: after sixty steps they have hardly moved from 0 and 1.
"""

import torch
from torch import nn


def network() -> nn.Module:
    """Train it, in a tenth of a second."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 16, bias=False),
        nn.BatchNorm1d(16, momentum=0.001),
        nn.ReLU(),
        nn.Linear(16, 16, bias=False),
        nn.BatchNorm1d(16, momentum=0.001),
        nn.ReLU(),
        nn.Linear(16, 3),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(10):
        for inputs, labels in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return model


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three clouds far from zero: what a recommender's prices or a sensor's degrees look like."""
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (384,), generator=random)
    centres = torch.tensor([[20.0, 12.0], [24.0, 12.0], [22.0, 15.0]])
    inputs = centres[labels] + torch.randn(384, 2, generator=random) * 0.7
    return list(zip(inputs.split(64), labels.split(64), strict=True))
