"""Every contestant of the training step runs, small, so that the benchmark cannot rot."""

from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module

import pytest
import torch
from benchmarks.contest import Contestant, compete
from benchmarks.steps import CONTESTANTS
from benchmarks.steps.task import ROWS, Task

OFTEN_MISSING = {"jax", "tensorflow", "lightning", "keras"}


class EnoughError(Exception):
    """So many steps were wanted."""


@pytest.fixture
def _denormals_as_they_were() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("_denormals_as_they_were")
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("name", ["floor", "normscope", "torch_care", "torch_tutorial"])
def test_what_needs_only_torch_steps_and_steps(name: str, norm: str) -> None:
    task = Task(hidden=(8, 6), norm=norm, batch=3000)
    epochs, made = 2, 0

    def pace(steps: int = 1) -> None:
        nonlocal made
        made += steps
        if made == epochs * ROWS // task.batch + 1:
            raise EnoughError

    with pytest.raises(EnoughError):
        import_module(f"benchmarks.steps.{name}").run(pace, **asdict(task))


def test_our_loop_calls_once_for_each_step_also_where_an_epoch_ends() -> None:
    """It looks for Ctrl-C once more there, and that must not count as a step."""
    task = Task(hidden=(8,), batch=3000)
    losses = []

    def pace() -> None:
        losses.append(1)
        if len(losses) == 9:
            raise EnoughError

    with pytest.raises(EnoughError) as raised:
        import_module("benchmarks.steps.normscope").run(pace, **asdict(task))
    trace = raised.traceback
    state = next(entry.locals["state"] for entry in trace if "state" in entry.locals)
    assert len(state.epochs) * state.steps_per_epoch + state.step == 9
    torch.set_flush_denormal(False)


def smoke(names: list[str], norm: str) -> tuple[set[str], dict[str, str]]:
    task = Task(hidden=(8, 6), norm=norm, batch=16, unmeasured=1, measured=2)
    outcome = compete(
        {name: Contestant(f"benchmarks.steps.{name}:run", asdict(task)) for name in names},
        threads=1,
        rounds=1,
        unmeasured=task.unmeasured,
        measured=task.measured,
    )
    assert all(seconds > 0 for row in outcome.samples.values() for seconds in row)
    return set(outcome.samples), outcome.left_out


def test_we_step_in_a_process_of_our_own() -> None:
    assert smoke(["normscope"], "batch") == ({"normscope"}, {})


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_everybody_runs_or_is_not_installed(norm: str) -> None:
    _, left_out = smoke(list(CONTESTANTS), norm)
    assert left_out.keys() <= OFTEN_MISSING
    assert all(why.endswith("is not installed") for why in left_out.values())


def test_all_get_the_same_work() -> None:
    task = Task()
    assert task.parameters == 1_536_500 + 2 * 2_260  # the article's weights, gammas and betas
    assert Task(norm="none").parameters == 1_536_500 + 2_260
    batches = task.batches()
    epoch = [next(batches) for _ in range(ROWS // task.batch)]
    assert sorted(row for batch in epoch for row in batch) == list(range(ROWS))
    assert list(next(batches)) != list(epoch[0])
    assert [weight.shape for weight in task.weights()] == task.shapes
