"""`train_many`: every run as if it were alone, whatever happens to the others."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import normscope as ns
from normscope._errors import (
    DataError,
    InputError,
    RecipeError,
    RunFolderError,
    TrainingInterruptedError,
)
from normscope.data import Dataset
from normscope.records import Recipe, Run
from normscope.studies import (
    Plan,
    RunProgress,
    RunsFailedError,
    StudyRun,
    WorkerError,
    _pool,
    _study_folder,
    train_many,
)
from normscope.studies._study_folder import claimed
from normscope.training import test_run as score_run
from normscope.training import train
from tests.conftest import write_npz
from tests.studies.test_shared_data import copied_kilobytes
from tests.training.test_train import SMALL, bits

SEEDS = [SMALL.model_copy(update={"seed": seed}) for seed in range(3)]
LONG = [recipe.model_copy(update={"epochs": 40}) for recipe in SEEDS]
LONGEST = SMALL.model_copy(update={"epochs": 9})
DIVERGING = SMALL.model_copy(update={"learning_rate": 1e30, "norm": "none", "weights": "plain"})
NAMED = {"b": SEEDS[1], "long": LONGEST, "diverging": DIVERGING, "a": SEEDS[0]}

Processes = list["subprocess.Popen[bytes]"]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Every worker process that the test starts."""
    return recorded(monkeypatch)


def recorded(monkeypatch: pytest.MonkeyPatch) -> Processes:
    started, real = [], _pool._started

    def starting(*arguments: object) -> "subprocess.Popen[bytes]":
        started.append(real(*arguments))
        return started[-1]

    monkeypatch.setattr(_pool, "_started", starting)
    return started


@dataclasses.dataclass
class Many:
    """One call of `train_many`, and all that was seen of it."""

    out: Path
    runs: list[StudyRun]
    plan: Plan
    heard: list[RunProgress]
    processes: Processes
    copied: list[int | None]


@pytest.fixture(scope="module")
def many(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Many:
    """Four runs, one of which diverges, in two processes."""
    with pytest.MonkeyPatch.context() as patch:
        out, processes = tmp_path_factory.mktemp("many") / "study", recorded(patch)
        plans, heard, copied = [], [], []

        def hear(event: RunProgress) -> None:
            heard.append(event)
            if sys.platform == "linux" and event.name == "long" and not event.finished:
                copied.extend(copied_kilobytes(process.pid) for process in processes)

        runs = train_many(NAMED, tiny, out=out, workers=2, on_plan=plans.append, on_progress=hear)
    return Many(out, runs, *plans, heard, processes, copied)


@pytest.fixture(scope="module")
def alone(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same, each trained by `train`."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("b", "long", "a"):
        train(NAMED[name], tiny, out=folder / name)
    return {name: folder / name for name in ("b", "long", "a")}


def assert_gone(processes: Processes) -> None:
    assert processes
    for process in processes:
        assert process.returncode is not None


def test_runs_come_back_in_the_order_of_the_recipes(many: Many) -> None:
    assert [run.name for run in many.runs] == list(NAMED)
    assert [run.run.recipe.seed for run in many.runs] == [1, 5, 5, 0]
    assert [run.folder for run in many.runs] == [many.out / name for name in NAMED]


def test_every_run_has_the_bits_of_one_that_was_alone(many: Many, alone: dict[str, Path]) -> None:
    compared = {run.name: bits(run.network) for run in many.runs if run.name in alone}
    assert compared == {name: bits(ns.load(folder)) for name, folder in alone.items()}
    assert compared["a"] != compared["b"]


def without_times(run: Run) -> dict:
    content = run.model_dump()
    for epoch in content["epochs"]:
        del epoch["seconds"]
    return content


def test_every_run_has_the_record_of_one_that_was_alone(many: Many, alone: dict[str, Path]) -> None:
    for run in many.runs:
        if run.name in alone:
            assert without_times(run.run) == without_times(Run.load(alone[run.name]))


def test_every_run_is_an_ordinary_run_folder(
    many: Many, alone: dict[str, Path], tiny: Dataset
) -> None:
    def files(folder: Path) -> set[str]:
        paths = (path.relative_to(folder) for path in folder.rglob("*"))
        return {str(path) for path in paths if path.parts[0] != "tensorboard"}

    assert files(many.out / "a") == files(alone["a"])
    assert score_run(many.out / "a", tiny) == Run.load(alone["a"]).test


def test_a_run_that_diverges_is_a_result(many: Many) -> None:
    statuses = {run.name: run.run.status for run in many.runs}
    complete = dict.fromkeys(("b", "long", "a"), "complete")
    assert statuses == {**complete, "diverging": "diverged"}
    (end,) = [event for event in many.heard if event.name == "diverging" and event.finished]
    assert end.status == "diverged"
    assert "--learning-rate" in end.message


def test_every_epoch_is_heard_of(many: Many) -> None:
    heard = [(event.epoch, event.status) for event in many.heard if event.name == "long"]
    assert heard == [*((epoch, "running") for epoch in range(10)), (9, "complete")]


def test_what_is_heard_prints_as_a_line_for_a_person(many: Many) -> None:
    lines = [str(event) for event in many.heard]
    assert {line.split(": ")[0] for line in lines} == set(NAMED)
    for line in lines:
        assert re.fullmatch(
            r"\w+: (\d+ of (1 epoch|\d+ epochs)(, \d+\.\d\d % of the validation set right)?"
            r"|complete, \d+\.\d\d % of the validation set right|diverged in epoch \d of \d: .*)",
            line,
        ), line


def test_the_longest_run_begins_first(many: Many) -> None:
    first_heard = list(dict.fromkeys(event.name for event in many.heard))
    assert set(first_heard[:2]) == {"long", "b"}


def test_what_is_about_to_be_done_is_told(many: Many) -> None:
    plan = many.plan
    assert (plan.runs, plan.kept, plan.resumed, plan.workers) == (4, 0, 0, 2)
    assert plan.cores >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_worker_has_a_copy_of_the_data(many: Many) -> None:
    assert len(many.processes) == 2
    assert set(many.copied) - {None} == {0}


def test_no_process_is_left(many: Many) -> None:
    assert [process.returncode for process in many.processes] == [0, 0]


def test_called_again_it_keeps_what_is_finished_and_trains_the_rest(
    many: Many, tiny: Dataset, processes: Processes
) -> None:
    before = {run.name: (run.folder / "run.json").stat().st_mtime_ns for run in many.runs}
    plans, heard = [], []
    again = train_many(
        {**NAMED, "c": SEEDS[2]}, tiny, out=many.out, on_plan=plans.append, on_progress=heard.append
    )
    assert (plans[0].runs, plans[0].kept, plans[0].workers) == (5, 4, 1)
    after = {run.name: (run.folder / "run.json").stat().st_mtime_ns for run in again}
    assert before.items() <= after.items()
    assert {event.name for event in heard if not event.finished} == {"c"}
    assert [event.name for event in heard if event.finished] == [*NAMED, "c"]
    assert bits(again[-1].network) == bits(train(SEEDS[2], tiny).network)
    assert len(processes) == 1


def test_data_that_recipes_name_are_each_shared_once(
    tiny: Dataset, tmp_path: Path, processes: Processes
) -> None:
    dimmer = dataclasses.replace(tiny.train, images=tiny.train.images * np.float32(0.5))
    sets = {"bright": tiny, "dim": dataclasses.replace(tiny, train=dimmer)}
    files = {name: write_npz(tmp_path / f"{name}.npz", data) for name, data in sets.items()}
    recipes = [
        SMALL.model_copy(update={"data": str(files[name]), "seed": seed})
        for seed in (0, 1)
        for name in ("bright", "dim")
    ]
    runs = train_many(recipes, out=tmp_path / "out", workers=1)
    assert [run.name for run in runs[:2]] == ["data-bright.npz-seed-0", "data-dim.npz-seed-0"]
    for run, recipe in zip(runs, recipes, strict=True):
        single = train(recipe)
        assert run.run.data == single.run.data
        assert bits(run.network) == bits(single.network)
    assert_gone(processes)


def test_ctrl_c_stops_every_worker_and_the_same_call_goes_on(
    tiny: Dataset, tmp_path: Path, processes: Processes
) -> None:
    heard, done = [], []

    def at_the_first_epoch_of_both(event: RunProgress) -> None:
        heard.append(event)
        if not done and {said.name for said in heard if said.epoch} >= {"seed-0", "seed-1"}:
            done.append(event)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterruptedError, match=r"runs in .*same call goes on"):
        train_many(LONG, tiny, out=tmp_path, workers=2, on_progress=at_the_first_epoch_of_both)
    assert_gone(processes)
    assert Run.load(tmp_path / "seed-0").status == "interrupted"
    assert Run.load(tmp_path / "seed-1").status == "interrupted"
    assert not (tmp_path / "seed-2").exists()
    plans = []
    runs = train_many(LONG, tiny, out=tmp_path, workers=2, on_plan=plans.append)
    assert (plans[0].kept, plans[0].resumed) == (0, 2)
    assert [bits(run.network) for run in runs] == [bits(train(r, tiny).network) for r in LONG]


def test_a_killed_worker_costs_its_own_run_only(
    tiny: Dataset, tmp_path: Path, processes: Processes
) -> None:
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "thesis.tex").touch()

    def kill(event: RunProgress) -> None:
        if event.name == "seed-0" and event.epoch == 2 and not event.finished:
            os.kill(processes[0].pid, signal.SIGKILL)

    with pytest.raises(RunsFailedError, match=f"2 of the runs in {tmp_path} failed") as caught:
        train_many(LONG, tiny, out=tmp_path, workers=1, on_progress=kill)
    assert list(caught.value.failures) == ["seed-0", "seed-1"]
    assert "seed-0: its process was killed (SIGKILL" in str(caught.value)
    assert "seed-1: " in str(caught.value)
    assert "holds other files" in caught.value.failures["seed-1"]
    assert Run.load(tmp_path / "seed-0").status == "running"
    assert Run.load(tmp_path / "seed-2").status == "complete"
    assert len(processes) == 2
    assert_gone(processes)


def test_an_error_of_the_listener_reaches_the_caller_and_leaves_no_process(
    tiny: Dataset, tmp_path: Path, processes: Processes
) -> None:
    def fail(event: RunProgress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_many(LONG, tiny, out=tmp_path, workers=1, on_progress=fail)
    assert_gone(processes)
    assert Run.load(tmp_path / "seed-0").status == "interrupted"


class TestRefused:
    """Before any process starts."""

    @pytest.fixture(autouse=True)
    def _no_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def starting(*_: object) -> None:
            pytest.fail("a process was started")

        monkeypatch.setattr(_pool, "_started", starting)
        monkeypatch.setattr(_study_folder, "_SECONDS_TO_LEAVE", 0.0)

    def test_the_control_a_process_would_be_seen(self, tiny: Dataset, tmp_path: Path) -> None:
        with pytest.raises(pytest.fail.Exception, match="was started"):
            train_many(SEEDS, tiny, out=tmp_path)

    @pytest.mark.parametrize(
        ("error", "seen", "call"),
        [
            (RecipeError, "no recipes", lambda out: train_many([], out=out)),
            (InputError, "workers is 0", lambda out: train_many(SEEDS, out=out, workers=0)),
            (DataError, "nowhere.npz", lambda out: train_many(SEEDS, "nowhere.npz", out=out)),
            (
                RecipeError,
                "only 9880 training rows",
                lambda out: train_many([*SEEDS, Recipe(batch_size=20_000)], out=out),
            ),
        ],
    )
    def test_what_cannot_be_trained(
        self, error: type[Exception], seen: str, call: Callable[[Path], object], tmp_path: Path
    ) -> None:
        with pytest.raises(error, match=seen):
            call(tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_holds_a_run_of_another_recipe(
        self, tiny: Dataset, tmp_path: Path
    ) -> None:
        train(SEEDS[0], tiny, out=tmp_path / "seed-0")
        with pytest.raises(RunFolderError, match="epochs is 4 there and 40 here"):
            train_many(LONG, tiny, out=tmp_path)

    def test_a_folder_that_holds_a_run_on_other_data(self, tiny: Dataset, tmp_path: Path) -> None:
        train(SEEDS[0], tiny, out=tmp_path / "seed-0")
        other = dataclasses.replace(tiny, test=tiny.valid)
        with pytest.raises(RunFolderError, match=r"its data are not these"):
            train_many(SEEDS, other, out=tmp_path)

    def test_a_folder_of_one_run(self, tiny: Dataset, tmp_path: Path) -> None:
        train(SEEDS[0], tiny, out=tmp_path)
        with pytest.raises(RunFolderError, match="folder of one run"):
            train_many(SEEDS, tiny, out=tmp_path)

    def test_a_folder_that_is_being_trained_into(self, tiny: Dataset, tmp_path: Path) -> None:
        with claimed(tmp_path), pytest.raises(RunFolderError, match="another process"):
            train_many(SEEDS, tiny, out=tmp_path)


def test_a_process_that_cannot_begin_is_a_sentence(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "_CODE", "raise SystemExit(3)  # {}")
    with pytest.raises(WorkerError, match="ended with status 3 .* before it was ready"):
        train_many(SEEDS, tiny, out=tmp_path)


def test_a_system_that_starts_no_process_is_a_sentence(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(WorkerError, match="No such file.*fewer workers"):
        train_many(SEEDS, tiny, out=tmp_path / "out")
