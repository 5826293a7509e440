"""What torch draws while a network trains, and nobody else's draws among it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch

from normscope.records import EpochRecord, Run
from normscope.training._observers import Observer, StartObserver, StartView, StepView


@contextmanager
def own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Inside the block torch draws numbers that follow from `seed`; outside nothing has changed.

    What a network draws while it trains (dropout) is from here; a checkpoint keeps how far it got.
    """
    with _apart(device):
        # Other numbers than those of the first weights, and of the epochs' orders, from 1 on.
        own_seed = int(np.random.default_rng([seed, 0]).integers(2**63))
        torch.default_generator.manual_seed(own_seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(own_seed)
        yield


class Shielded:
    """Tells an observer everything; what torch draws meanwhile is not drawn from the training's.

    Args:
        observer: who is told.
        device: what the network trains on.
    """

    def __init__(self, observer: Observer, device: torch.device) -> None:
        self._observer, self._device = observer, device

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Pass it on."""
        with _apart(self._device):
            self._observer.on_start(run, steps_per_epoch)

    def on_ready(self, view: StartView) -> None:
        """Pass it on, if it is of interest."""
        if isinstance(self._observer, StartObserver):
            with _apart(self._device):
                self._observer.on_ready(view)

    def on_step(self, view: StepView) -> None:
        """Pass it on."""
        with _apart(self._device):
            self._observer.on_step(view)

    def on_epoch(self, record: EpochRecord) -> None:
        """Pass it on."""
        with _apart(self._device):
            self._observer.on_epoch(record)

    def on_end(self, run: Run) -> None:
        """Pass it on."""
        self._observer.on_end(run)


def _apart(device: torch.device) -> AbstractContextManager[None]:
    """A block that leaves the random states as it found them."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
