"""How others look on while a network trains, without touching it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from normscope._errors import InputError
from normscope._shapes import ClassIndices, Inputs
from normscope.records import EpochRecord, Run


@dataclass(frozen=True)
class StartView:
    """A network that is about to make its next step. Everything in it is to be read, not changed.

    Attributes:
        steps: those made before, of all epochs: 0 unless a training is taken up again.
        network: where the next step finds it.
        folder: the run's; None if nothing is written.
    """

    steps: int
    network: nn.Module
    folder: Path | None


@dataclass(frozen=True)
class StepView:
    """One training step, just finished. Everything in it is to be read, not changed.

    Attributes:
        epoch: counted from 1.
        step: counted from 1 within the epoch.
        network: after the update. How its steps are made was settled before: a hook that is
            registered on it now is not called by them.
        optimizer: after the update; the gradients of the step are still there.
        images: the step's rows, in the shape that the data have.
        labels: their classes.
        loss: mean cross-entropy before the update, a scalar on the network's device.
    """

    epoch: int
    step: int
    network: nn.Module
    optimizer: torch.optim.Optimizer
    images: Inputs
    labels: ClassIndices
    loss: Tensor


@runtime_checkable
class Observer(Protocol):
    """What `train` tells those who look on; the result has the same bits without them."""

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Training is about to begin, or to go on after ``len(run.epochs)`` epochs."""

    def on_step(self, view: StepView) -> None:
        """One step is finished."""

    def on_epoch(self, record: EpochRecord) -> None:
        """One epoch is finished, validated and saved."""

    def on_end(self, run: Run) -> None:
        """Training is over, complete or not."""


_METHODS = ("on_start", "on_step", "on_epoch", "on_end")


@runtime_checkable
class StartObserver(Observer, Protocol):
    """One who also wants to see the network before its first step."""

    def on_ready(self, view: StartView) -> None:
        """The first step is next. Told once, after `on_start`."""


def refuse_what_cannot_look_on(observers: object) -> None:
    """Refuse, before the first step, what does not have an observer's methods.

    Raises:
        InputError: naming what it is, and what it lacks.
    """
    if not isinstance(observers, Sequence):
        msg = f"observers is of type {type(observers).__name__}; give a list, observers=[…]."
        raise InputError(msg)
    for number, observer in enumerate(observers):
        if isinstance(observer, type):
            name = observer.__name__
            msg = f"observers[{number}] is the class {name}; give an object of it, {name}()."
            raise InputError(msg)
        lacking = [name for name in _METHODS if not callable(getattr(observer, name, None))]
        if lacking:
            msg = (
                f"observers[{number}] is of type {type(observer).__name__} and lacks "
                f"{', '.join(lacking)}; an observer has {', '.join(_METHODS)}."
            )
            raise InputError(msg)
