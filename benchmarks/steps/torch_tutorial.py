"""PyTorch as people write it: a DataLoader, biases before batch norm, Adam with its defaults."""

from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.steps._torch import network, set_up, tensors
from benchmarks.steps.task import LEARNING_RATE, Task
from benchmarks.worker import Pace


def run(pace: Pace, **job: Any) -> None:
    """The loop of the tutorials."""
    set_up()
    task = Task(**job)
    model = network(task, spare_biases=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loader = DataLoader(TensorDataset(*tensors(task)), batch_size=task.batch, shuffle=True)
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            pace()
