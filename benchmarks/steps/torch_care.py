"""PyTorch with care: no biases that batch norm cancels, fused Adam, slices of an order of rows."""

from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.steps._torch import network, set_up, tensors
from benchmarks.steps.task import LEARNING_RATE, Task
from benchmarks.worker import Pace


def run(pace: Pace, **job: Any) -> None:
    """Eager steps, by autograd."""
    set_up()
    task = Task(**job)
    images, labels = tensors(task)
    model = network(task, spare_biases=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    for batch in map(torch.from_numpy, task.batches()):
        optimizer.zero_grad()
        logits = model(images.index_select(0, batch))
        F.cross_entropy(logits, labels.index_select(0, batch)).backward()
        optimizer.step()
        pace()
