"""A whole training, and what it does once, at its end."""

from collections.abc import Callable

import torch

import normscope as ns
from benchmarks.contestants.data import noise
from benchmarks.steps._torch import set_up
from benchmarks.worker import Pace
from normscope.training import Rows, StepView, build_network, test_scores

FOREVER = 10**9


class Turns:
    """An observer that waits for its turn after every step.

    A turn of an epoch's number of steps has exactly one end of an epoch in it: validation, record
    and checkpoint.
    """

    def __init__(self, pace: Callable[[], None]) -> None:
        self._pace = pace

    def on_start(self, run: ns.Run, steps_per_epoch: int) -> None:
        """Nothing to do."""

    def on_step(self, _: StepView) -> None:
        """A step is done."""
        self._pace()

    def on_epoch(self, record: object) -> None:
        """Nothing to do."""

    def on_end(self, run: ns.Run) -> None:
        """Nothing to do."""


def run(pace: Pace, *, rows: dict[str, int], out: str, threads: int) -> None:
    """`normscope.train` without end, into a folder."""
    set_up()
    recipe = ns.Recipe(epochs=FOREVER, constant_epochs=FOREVER, device="cpu", threads=threads)
    ns.train(recipe, noise(**rows), out=out, observers=[Turns(pace)])


def final_test(pace: Pace, *, rows: dict[str, int]) -> None:
    """The test under three kinds of statistics; a step is a test."""
    set_up()
    dataset = noise(**rows)
    network = build_network(ns.Recipe(), inputs=784, classes=10)
    cpu = torch.device("cpu")
    train, test = Rows.of(dataset.train, cpu), Rows.of(dataset.test, cpu)
    while True:
        pace()
        test_scores(network, train=train, test=test)
