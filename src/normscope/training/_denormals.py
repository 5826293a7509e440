"""Numbers below 1.2e-38, on which a CPU may compute many times more slowly."""

import torch
from torch import Tensor

from normscope._shapes import ClassIndices, Inputs
from normscope.training._captured import Step


class FlushingStep:
    """Makes the steps of `step` with denormal numbers taken for zeros.

    When a unit falls silent its first moment in Adam shrinks by a tenth at every step, until it is
    denormal, and there it stays: 0.9 times the smallest number is rounded to itself. Such a moment
    moves no weight (its update is below 1e-30 of the learning rate), but it costs time in every
    step to come. As zero it costs none.

    The CPU's mode is that of the calling thread. It is put back after every step: whatever else
    runs in the thread, observers included, computes as ever. It does not reach threads that
    OpenMP has already, so this is for steps on one thread.

    Example:
        >>> step = FlushingStep(lambda images, labels: (images * 0.5, labels))
        >>> smallest = torch.tensor([[2.0**-126]])
        >>> step(smallest, torch.tensor([0]))[0], flushes_denormals()
        (tensor([[0.]]), False)
    """

    def __init__(self, step: Step) -> None:
        self._step = step

    def __call__(self, images: Inputs, labels: ClassIndices) -> tuple[Tensor, Tensor]:
        """Make one step."""
        before = flushes_denormals()
        torch.set_flush_denormal(True)
        try:
            return self._step(images, labels)
        finally:
            torch.set_flush_denormal(before)


def flushes_denormals() -> bool:
    """Whether this thread takes denormal numbers for zeros, by what comes of halving the smallest.

    Python's floats are of the same thread: torch has no word for asking.
    """
    return _SMALLEST_NORMAL * 0.5 == 0.0


_SMALLEST_NORMAL = 2.0**-1022
