"""What the contestants in plain PyTorch share: the network, and how torch is set up."""

import torch
from torch import Tensor, nn

from benchmarks.steps.task import Task


def set_up(threads: int | None = None) -> None:
    """Denormal numbers are zero, as XLA and TensorFlow have them by themselves.

    Threads that torch starts later inherit it.
    """
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    if threads is not None:
        torch.set_num_threads(threads)


def tensors(task: Task) -> tuple[Tensor, Tensor]:
    """The task's images and labels."""
    images, labels = task.data()
    return torch.from_numpy(images), torch.from_numpy(labels)


def network(task: Task, *, spare_biases: bool) -> nn.Sequential:
    """The network of torch's own layers, in training mode.

    Args:
        task: its widths and its norm.
        spare_biases: leave out the biases that batch norm cancels; most people leave them in.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in task.shapes:
        layers.append(nn.Linear(inputs, outputs, bias=not (task.normalized and spare_biases)))
        if task.normalized:
            layers.append(nn.BatchNorm1d(outputs))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers[:-1]).train()
