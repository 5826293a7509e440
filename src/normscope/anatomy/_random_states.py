"""Random states that a model or a loader draws from, kept."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch


@contextmanager
def random_states_kept(*holders: object) -> Iterator[None]:
    """What the block draws from a random state is drawn again after it.

    That is Python's, NumPy's, torch's on the CPU, on Apple's and on Intel's GPUs where there are
    any, and the generators of all three among the attributes of `holders`.

    Example:
        >>> with random_states_kept():
        ...     drawn = random.random()
        >>> random.random() == drawn
        True
    """
    attributes = [value for holder in holders for value in getattr(holder, "__dict__", {}).values()]
    restores: list[Callable[[], object]] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
        partial(torch.set_rng_state, torch.get_rng_state()),
        *_of_devices(),
        *(restore for value in attributes if (restore := _restore_of(value)) is not None),
    ]
    try:
        yield
    finally:
        for restore in restores:
            restore()


def _of_devices() -> Iterator[Callable[[], object]]:
    """What puts back the states of devices other than CUDA's, of which `preserved` takes care."""
    if torch.backends.mps.is_available():
        yield partial(torch.mps.set_rng_state, torch.mps.get_rng_state())
    if torch.xpu.is_available():
        yield partial(torch.xpu.set_rng_state_all, torch.xpu.get_rng_state_all())


def _restore_of(value: object) -> Callable[[], object] | None:
    """What puts a generator back; None if the value is none."""
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, np.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return partial(value.set_state, value.get_state())
    if type(value) is random.Random:  # noqa: S311 - it is somebody else's
        return partial(value.setstate, value.getstate())
    return None
