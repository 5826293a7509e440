"""Probes of the tests' own, which use everything that a moment offers."""

import random
from collections.abc import Sequence

import numpy as np
import torch

from normscope.probes._moment import Moment
from normscope.records import Reading


class Everything:
    """Calls the network in every way, and draws from every random state."""

    name, every, needs_loss = "everything", 2, True

    def read(self, moment: Moment) -> Sequence[Reading]:
        torch.randn(2), np.random.random(), random.random()
        loss, gradient = moment.gradient_at(moment.before)
        moment.sums_at(moment.after)
        moment.loss_at(moment.moved(-0.1, gradient, moment.after))
        return [
            Reading(step=moment.step, probe=self.name, quantity="loss", value=loss),
            Reading(step=moment.step, probe=self.name, quantity="curve", values=(loss, np.inf)),
        ]


class Movement:
    """How far each parameter moved, by the copies from before; needs no loss."""

    name, every, needs_loss = "movement", 3, False

    def __init__(self) -> None:
        self.seen: list[Moment] = []

    def read(self, moment: Moment) -> Sequence[Reading]:
        self.seen.append(moment)
        return [
            Reading(
                step=moment.step,
                probe=self.name,
                quantity="far",
                layer=name,
                value=float((after - moment.before[name]).norm()),
            )
            for name, after in moment.after.items()
        ]


class Vandal:
    """Leaves nothing as it was."""

    name, every, needs_loss = "vandal", 2, False

    def read(self, moment: Moment) -> Sequence[Reading]:
        for parameter in moment.network.parameters():
            parameter.data.mul_(2)
            parameter.grad = None
        moment.network.eval()
        for buffer in moment.network.buffers():
            buffer.zero_()
        return []


class Failing:
    """Raises in the middle of a pass, at every reading or until a step."""

    name, every, needs_loss = "failing", 2, True

    def __init__(self, until: int = 10**9) -> None:
        self.until = until

    def read(self, moment: Moment) -> Sequence[Reading]:
        def stop(*_: object) -> None:
            msg = "in the\nmiddle"
            raise ValueError(msg)

        if moment.step < self.until:
            moment.network.register_forward_hook(stop)
            moment.loss_at(moment.after)
        return [Reading(step=moment.step, probe=self.name, quantity="fine", value=1.0)]


def all_of_them() -> list[object]:
    return [Everything(), Movement(), Vandal()]
