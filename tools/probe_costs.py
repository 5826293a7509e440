"""What every probe costs: its readings as a share of the training, at its default interval.

Run by `./dev probes` (about a minute). The default network trains on the built-in letters on one
thread. At the same steps every probe reads in a session of its own, and so pays for its copy of the
parameters, for keeping the network as it was, and for writing. Those that cost no pass, and those
that share one, read together as well. Counted is the processor's time, which a busy machine does
not change as it does the clock's; a step's is counted between the observers of two steps.
"""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.conditions import conditions

from normscope.probes import ProbeObserver
from normscope.probes._all import ALL, FREE, SHARED
from normscope.records import EpochRecord, Recipe, Run
from normscope.training import StartView, StepView, dataset_of, train

READ_EVERY, EPOCHS = 20, 3
MOST_FREE, MOST = 2.0, 10.0
"""Percent of the training's time: for the free ones together, and for all."""


class Timed:
    """A `ProbeObserver` that writes into a folder of its own, and is timed where it is due."""

    def __init__(self, observer: ProbeObserver, folder: Path) -> None:
        self._observer, self._folder = observer, folder
        self.seconds: list[float] = []

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Pass it on."""
        self._per_epoch = steps_per_epoch
        self._observer.on_start(run, steps_per_epoch)

    def on_ready(self, view: StartView) -> None:
        """Pass it on, with a folder of its own."""
        self._observer.on_ready(dataclasses.replace(view, folder=self._folder))

    def on_step(self, view: StepView) -> None:
        """Pass it on, and time it."""
        started = time.process_time()
        self._observer.on_step(view)
        step = (view.epoch - 1) * self._per_epoch + view.step
        if step % READ_EVERY == 0:
            self.seconds.append(time.process_time() - started)

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing."""

    def on_end(self, run: Run) -> None:
        """Pass it on; what failed was not measured."""
        self._observer.on_end(run)
        if self._observer.failures:
            raise SystemExit(str(self._observer.failures))


class Between:
    """Times what lies between the observers of one step and those of the next."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.ended = 0.0

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Nothing."""

    def on_step(self, view: StepView) -> None:
        """The first observer of a step is told: the step was what lies behind it."""
        if view.step > 1:
            self.seconds.append(time.process_time() - self.ended)

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing."""

    def on_end(self, run: Run) -> None:
        """Nothing."""


class Last(Between):
    """Says when the observers of a step are done."""

    def __init__(self, first: Between) -> None:
        self._first = first

    def on_step(self, view: StepView) -> None:  # noqa: ARG002 - the protocol's
        """The last observer of a step is told."""
        self._first.ended = time.process_time()


def measure(groups: dict[str, Sequence[str]]) -> tuple[float, dict[str, float], int]:
    """Seconds of a step, seconds of a reading for every group, and how many readings: medians."""
    recipe = Recipe(epochs=EPOCHS, constant_epochs=EPOCHS, device="cpu", threads=1)
    data = dataset_of(recipe)
    between = Between()
    with tempfile.TemporaryDirectory() as folder:
        timed = {
            name: Timed(ProbeObserver(data.valid, probes, READ_EVERY), Path(folder) / name)
            for name, probes in groups.items()
        }
        train(recipe, data, observers=[between, *timed.values(), Last(between)])
    readings = len(next(iter(timed.values())).seconds)
    return (
        median(between.seconds),
        {name: median(each.seconds[1:]) for name, each in timed.items()},  # the first imports
        readings - 1,
    )


def share(seconds: float, step: float, every: int) -> float:
    """Percent of the time of the steps between two readings."""
    return 100 * seconds / (every * step)


def table(step: float, seconds: dict[str, float], readings: int) -> str:
    """For a person, with the verdict."""
    every = {name: ALL[name]().every for name in ALL}
    lines = ["| probe | a reading, ms | in steps | every | % of training |", "| --- " * 5 + "|"]
    for name in ALL:
        figures = f"{1e3 * seconds[name]:.1f} | {seconds[name] / step:.1f} | {every[name]}"
        lines.append(f"| {name} | {figures} | {share(seconds[name], step, every[name]):.2f} |")
    free, shared = (
        share(seconds[group], step, min(every[name] for name in names))
        for group, names in (("free", FREE), ("shared", SHARED))
    )
    others = [name for name in ALL if name not in {*FREE, *SHARED}]
    total = free + shared + sum(share(seconds[name], step, every[name]) for name in others)
    where = ", ".join(f"{what} {value}" for what, value in conditions().items())
    return "\n".join(
        [
            *lines,
            f"\nA step takes {1e3 * step:.2f} ms of the processor's time. In one session:\n",
            f"- without a pass, {', '.join(FREE)}: {free:.2f} % (at most {MOST_FREE:g}: "
            + _met(free, MOST_FREE),
            f"- of one pass, {', '.join(SHARED)}: {shared:.2f} %",
            f"- all: {total:.2f} % (at most {MOST:g}: " + _met(total, MOST),
            f"\nMedians of {readings} readings; {where}.",
        ]
    )


def _met(value: float, bound: float) -> str:
    return "met)" if value <= bound else "missed)"


def main() -> None:
    """Measure and print."""
    groups: dict[str, Sequence[str]] = {name: [name] for name in ALL}
    print(table(*measure(groups | {"free": FREE, "shared": SHARED})))


if __name__ == "__main__":
    main()
