"""How long a training step of each arm takes here: what a time budget is spent by."""

import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from normscope._errors import DivergenceError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.records import DataRecord, EpochRecord, Recipe, Run, storage_errors, write_atomically
from normscope.records._base import Record
from normscope.training import StepView, train_into

_FILE = "step-times.json"
_STEPS = 24
_SETTLED = 4


class StepTimes(Record):
    """Seconds of a step, by the arm's key; kept, so that the same command plans the same."""

    seconds: dict[str, float]
    """The median of a few."""


def step_times(
    recipes: Mapping[str, Recipe], dataset: Dataset, record: DataRecord, out: Path
) -> dict[str, float]:
    """What is known of these arms from an earlier call, and the rest measured now.

    Args:
        recipes: one for every arm, by its key.
        dataset: what they are trained on.
        record: its `data_record`.
        out: the study's folder.

    Raises:
        RecipeError: if the machine's memory is too small, or a model of somebody's own raises.
        StorageError: if the disk refuses.
    """
    known = _known(out / _FILE)
    missing = {key: recipe for key, recipe in recipes.items() if key not in known}
    for key, recipe in missing.items():
        known[key] = _measured(recipe, dataset, record)
    if missing:
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            kept = StepTimes(seconds=known).model_dump_json(indent=1)
            write_atomically(out / _FILE, kept.encode() + b"\n")
    return {key: known[key] for key in recipes}


def _known(file: Path) -> dict[str, float]:
    """What an earlier call measured; nothing where that cannot be read."""
    try:
        return dict(StepTimes.model_validate_json(file.read_bytes()).seconds)
    except (OSError, ValidationError):
        return {}


def _measured(recipe: Recipe, dataset: Dataset, record: DataRecord) -> float:
    """The median time of a few steps, of a training that is then thrown away."""
    clock = _Clock()
    recipe = recipe.model_copy(update={"data": dataset.source})
    ends = suppress(TrainingInterruptedError, DivergenceError)
    with tempfile.TemporaryDirectory() as folder, ends:
        train_into(
            Path(folder) / "run",
            recipe,
            dataset,
            record,
            observers=[clock],
            stop=lambda: len(clock.times) >= _STEPS,
        )
    taken = [after - before for before, after in pairwise(clock.times)]
    return statistics.median(taken[_SETTLED:] or taken or [0.0])


class _Clock:
    """An observer that notes when steps are finished."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Nothing yet."""

    def on_step(self, view: StepView) -> None:
        """One more."""
        float(view.loss)  # a GPU is waited for
        self.times.append(time.perf_counter())

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing: what lies between epochs is not a step."""

    def on_end(self, run: Run) -> None:
        """Nothing."""
