"""`torch.compile` of the whole step: forward, backward and update in one compiled function."""

from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.steps._torch import network, set_up, tensors
from benchmarks.steps.task import LEARNING_RATE, Task
from benchmarks.worker import Pace


def run(pace: Pace, **job: Any) -> None:
    """Compile at the first step, which nobody times."""
    set_up()
    task = Task(**job)
    images, labels = tensors(task)
    model = network(task, spare_biases=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    @torch.compile
    def step(batch: torch.Tensor) -> None:
        optimizer.zero_grad()
        logits = model(images.index_select(0, batch))
        F.cross_entropy(logits, labels.index_select(0, batch)).backward()
        optimizer.step()

    for batch in map(torch.from_numpy, task.batches()):
        step(batch)
        pace()
