"""What a run of each arm takes here: what a time budget is spent by."""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from normscope._errors import TrainingInterruptedError
from normscope.data import Dataset, Split
from normscope.records import Recipe, storage_errors, write_atomically
from normscope.records._base import Record
from normscope.studies._messages import RunProgress, Watch
from normscope.studies._run_clock import Stamps, read_stamps
from normscope.studies._run_set import RunsFailedError, opened

_FILE = "run-times.json"
_STEPS = 40
_LOOKS = 3
_INSPECTED = "inspected"
_TEST_OF_A_STEP = 1 / 3
"""What the test costs of a training batch's rows, whose population statistics it takes."""


class RunTime(Record):
    """What a run is made of, in seconds."""

    step: float
    """A training step: the mean of a few, for others may want the processor too."""
    validation: float
    """To go through the validation rows once."""
    epoch: float
    """What else there is at the end of an epoch."""
    look: float
    """A moment at which probes read; 0 where none do."""
    around: float
    """Before the first step, and after the last epoch."""

    def seconds(self, *, epochs: int, steps: int, validations: int, looks: int) -> float:
        """A whole run.

        Args:
            epochs: of the run.
            steps: of an epoch.
            validations: of an epoch.
            looks: of the run.

        Example:
            >>> time = RunTime(step=0.01, validation=0.1, epoch=0.2, look=0.3, around=1.0)
            >>> round(time.seconds(epochs=10, steps=80, validations=2, looks=4), 3)
            14.2
        """
        of_an_epoch = steps * self.step + validations * self.validation + self.epoch
        return self.around + epochs * of_an_epoch + looks * self.look


class RunTimes(Record):
    """Kept, so that the same command plans the same."""

    runs: dict[str, RunTime]
    """By the arm's key."""
    begin: float
    """Until the processes that train have begun."""
    inspection: float
    """To look inside one network."""
    timing: float
    """What all this measuring took."""


def run_times(
    recipes: Mapping[str, Recipe],
    dataset: Dataset,
    out: Path,
    *,
    probed: Sequence[str],
    workers: int | None,
) -> RunTimes:
    """What is known of these arms from an earlier call, and the rest measured now.

    Each is trained for a few steps, as the study will train it: in as many processes at once, with
    probes looking on where they will, validated, saved, tested.

    Args:
        recipes: one for every arm, by its key.
        dataset: what they are trained on.
        out: the study's folder.
        probed: the arms that probes look at.
        workers: as for `compare`.

    Raises:
        RecipeError: if a recipe does not fit the data.
        StorageError: if the disk refuses.
        WorkerError: if a process cannot be started.
        TrainingInterruptedError: after Ctrl-C.
    """
    known = _known(out / _FILE)
    missing = {k: recipe for k, recipe in recipes.items() if known is None or k not in known.runs}
    if known and not missing:
        return known
    measured = _measured(missing, dataset, probed, workers)
    if known:
        more = {"runs": known.runs | measured.runs, "timing": known.timing + measured.timing}
        measured = known.model_copy(update=more)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / _FILE, measured.model_dump_json(indent=1).encode() + b"\n")
    return measured


def _known(file: Path) -> RunTimes | None:
    """What an earlier call measured; None where that cannot be read."""
    try:
        return RunTimes.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _measured(
    recipes: Mapping[str, Recipe], dataset: Dataset, probed: Sequence[str], workers: int | None
) -> RunTimes:
    """Train all for a few steps, and one of them once more with a look inside.

    Raises:
        TrainingInterruptedError: after Ctrl-C.
    """
    first, recipe = next(iter(recipes.items()))
    all_steps = len(dataset.train) // recipe.batch_size
    steps = min(all_steps, _STEPS)
    train = _first_rows(dataset.train, steps * recipe.batch_size)
    every = max(1, steps // _LOOKS)
    tried = dict(recipes) | {_INSPECTED: recipe}
    watches = {
        key: Watch(
            every=steps + 1,
            inspect=key == _INSPECTED,
            probes=every if (first if key == _INSPECTED else key) in probed else 0,
            timed=True,
        )
        for key in tried
    }
    began, ended = time.monotonic(), dict[str, float]()

    def hear(progress: RunProgress) -> None:
        if progress.finished:
            ended[progress.name] = time.monotonic()

    with tempfile.TemporaryDirectory() as folder:
        short = {key: each.model_copy(update={"epochs": 1}) for key, each in tried.items()}
        with opened(short, replace(dataset, train=train), Path(folder) / "runs") as run_set:
            run_set.watch(watches)
            try:
                with suppress(RunsFailedError):  # the study itself will tell of it
                    run_set.train(workers, on_progress=hear)
            except TrainingInterruptedError:
                msg = "Stopped while arms were timed, for a few steps each: nothing is lost."
                raise TrainingInterruptedError(msg) from None
            found = {task.name: read_stamps(task.folder) for task in run_set.tasks}
    stamps = {key: each for key, each in found.items() if each and key in ended}
    return times_of(stamps, ended, began, every=every, steps_beyond=all_steps - steps)


def times_of(
    stamps: Mapping[str, Stamps],
    ended: Mapping[str, float],
    began: float,
    *,
    every: int,
    steps_beyond: int,
) -> RunTimes:
    """What the clocks of short runs come to.

    Args:
        stamps: by the arm's key; those of a run that was looked into apart.
        ended: when each was heard to be over.
        began: when the processes were asked for.
        every: the steps between two moments of the probes.
        steps_beyond: how many steps the epochs of the study are longer.
    """
    gap, runs = _between(stamps, ended), dict[str, RunTime]()
    for key, clock in stamps.items():
        taken = [after - before for before, after in pairwise((clock.ready, *clock.steps))]
        # A copy of the weights is made a step before the probes read.
        at = [n for n in range(2, len(taken) + 1) if n % every in {0, every - 1}]
        plain = [each for n, each in enumerate(taken, 1) if n > 1 and n not in at]
        step = statistics.fmean(plain or taken)
        looks = max(1, len(taken) // every)
        excess = sum(max(0.0, taken[n - 1] - step) for n in at) / looks
        end = clock.epoch - clock.steps[-1]
        before = gap + clock.ready - clock.start + max(0.0, taken[0] - step)
        after = ended[key] - clock.epoch - clock.validation
        test = _TEST_OF_A_STEP * steps_beyond * step
        runs[key] = RunTime(
            step=step,
            validation=clock.validation,
            epoch=max(0.0, end - clock.validation),
            look=excess if clock.probed else 0.0,
            around=before + after + test,
        )
    runs, warming = _warmed_up(runs, stamps)
    inside, begun = runs.pop(_INSPECTED, None), [clock.start for clock in stamps.values()]
    alike = next(iter(runs.values()), None)
    return RunTimes(
        runs=runs,
        begin=min(begun, default=began) - began + warming,
        inspection=max(0.0, inside.around - alike.around) if inside and alike else 0.0,
        timing=max(ended.values(), default=began) - began,
    )


def _warmed_up(
    runs: Mapping[str, RunTime], stamps: Mapping[str, Stamps]
) -> tuple[dict[str, RunTime], float]:
    """The runs without what the first of every process takes longer, and that time.

    What the first takes longer is what lies around it, compared with the others in the middle:
    modules are imported when they are first needed.
    """
    firsts = {min(_of(stamps, process), key=lambda key: stamps[key].start)
              for process in {clock.process for clock in stamps.values()}}  # fmt: skip
    others = [time.around for key, time in runs.items() if key not in firsts]
    if not others:
        return dict(runs), 0.0
    usual = statistics.median(others)
    longer = [max(0.0, runs[key].around - usual) for key in firsts]
    shortened = {
        key: time.model_copy(update={"around": min(time.around, usual)}) if key in firsts else time
        for key, time in runs.items()
    }
    return shortened, max(longer, default=0.0)


def _of(stamps: Mapping[str, Stamps], process: int) -> list[str]:
    return [key for key, clock in stamps.items() if clock.process == process]


def _between(stamps: Mapping[str, Stamps], ended: Mapping[str, float]) -> float:
    """The time from the end of a run until its process begins the next: the median."""
    gaps = list[float]()
    for clock in stamps.values():
        before = [
            ended[key]
            for key, other in stamps.items()
            if other.process == clock.process and ended[key] <= clock.start
        ]
        gaps += [clock.start - max(before)] if before else []
    return statistics.median(gaps) if gaps else 0.0


def _first_rows(split: Split, rows: int) -> Split:
    return Split(split.images[:rows], split.labels[:rows])
