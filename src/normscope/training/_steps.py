"""One training step, and who makes it: autograd, the step that is written out, or a CUDA graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope._shapes import ClassIndices, Inputs
from normscope.nn import MLP
from normscope.training._captured import CapturedStep, Step
from normscope.training._denormals import FlushingStep
from normscope.training._written_out import WrittenOutStep


class AutogradStep:
    """A step on any network, by autograd and the optimizer's own ``step``."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._network = network
        self._optimizer = optimizer

    def __call__(self, images: Inputs, labels: ClassIndices) -> tuple[Tensor, Tensor]:
        """Make one step; the loss before it, and how many rows were right, as scalars."""
        self._optimizer.zero_grad()
        logits = self._network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        self._optimizer.step()
        return loss.detach(), (logits.argmax(dim=1) == labels).sum()


def make_step(network: nn.Module, optimizer: torch.optim.Adam, rows: int) -> Step:
    """The fastest step that there is for `network`, for batches of `rows`, where it is."""
    step, on_gpu = choose_step(network, optimizer, rows), next(network.parameters()).is_cuda
    # A graph would repeat for ever what a network of somebody's own decides anew in every step.
    return step if on_gpu and not isinstance(network, MLP) else hastened(step, on_gpu=on_gpu)


def hastened(step: Step, *, on_gpu: bool) -> Step:
    """`step` as a CUDA graph, or on one thread of a CPU without denormals."""
    if on_gpu:
        return CapturedStep(step)
    return FlushingStep(step) if torch.get_num_threads() == 1 else step


def choose_step(network: nn.Module, optimizer: torch.optim.Adam, rows: int) -> Step:
    """The step that is written out where it applies, and autograd's everywhere else."""
    if isinstance(network, MLP) and WrittenOutStep.applies(network, optimizer):
        return WrittenOutStep([network], [optimizer], rows)
    return AutogradStep(network, optimizer)
