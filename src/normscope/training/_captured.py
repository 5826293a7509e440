"""A step on a GPU as a CUDA graph: recorded once, then replayed by a single launch.

A step of this network is some eighty kernels of a few microseconds each; launched one by one from
Python they leave the GPU waiting most of the time. PyTorch's notes on CUDA graphs ask for a few
steps on a side stream before recording, because libraries set themselves up in their first calls;
these are ordinary steps of the training. Recording executes nothing.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

_STEPS_BEFORE_RECORDING = 3

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Forward, backward and update on a batch of images and labels: the loss before the update, and how
many rows were right, as scalars on the network's device; of several networks, one value each."""


class CapturedStep:
    """Makes the steps of `step`, as soon as possible by replaying a CUDA graph.

    Where recording fails, it says so in a warning, and goes on without a graph; it tries once.

    Args:
        step: on a CUDA device, with buffers and an optimizer that can be captured: nothing in it
            waits for the device or depends on a number that only Python knows.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._eager_steps = 0
        self._tried = False
        self._batch: tuple[Tensor, Tensor]
        self._results: tuple[Tensor, Tensor]
        self._replay: Callable[[], None] | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Make one step. What it returns is overwritten by the next."""
        if self._eager_steps < _STEPS_BEFORE_RECORDING:
            self._eager_steps += 1
            return on_a_side_stream(self._step, images, labels)
        if not self._tried:
            self._tried = True
            self._begin_replaying(images, labels)
        if self._replay is None:
            return self._step(images, labels)
        for recorded, given in zip(self._batch, (images, labels), strict=True):
            if given is not recorded:
                recorded.copy_(given)
        self._replay()
        return self._results

    def _begin_replaying(self, images: Tensor, labels: Tensor) -> None:
        """Record a step on this batch's memory, which the following batches share or fill."""
        try:
            self._replay, self._results = record(self._step, images, labels)
            self._batch = images, labels
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            message = f"The training goes on without a CUDA graph, more slowly: {reason}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)


def on_a_side_stream(step: Step, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Make a step on a stream of its own, in its turn."""
    side, present = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(present)
    with torch.cuda.stream(side):
        results = step(images, labels)
    present.wait_stream(side)
    return results


def record(
    step: Step, images: Tensor, labels: Tensor
) -> tuple[Callable[[], None], tuple[Tensor, Tensor]]:
    """What replays the step, and where its results will be."""
    graph = torch.cuda.CUDAGraph()
    # A recording that fails leaves its own stream the current one; the outer block puts ours back.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        results = step(images, labels)
    return graph.replay, results
