"""The validation curve: what it holds, that it costs the run no bit, and that no kill bends it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from normscope._errors import RunFolderError, TrainingInterruptedError
from normscope.data import Dataset, Split
from normscope.records import DataRecord, Recipe, Run
from normscope.studies._curve import CurveObserver, read_curve, steps_between_validations
from normscope.studies._messages import Task, Watch
from normscope.studies._right_rows import read_right_rows, write_right_rows
from normscope.studies._watched import look_back, onlookers
from normscope.training import Rows, StepView, data_record, evaluate, load, train, train_into
from tests.training.test_train import bits

RECIPE = Recipe(hidden=(12, 8), epochs=3, batch_size=10, constant_epochs=1, data="bars")
STEPS, EVERY = 13, 4


def watched(folder: Path, tiny: Dataset, stop_after: int | None = None) -> Path:
    """Train `RECIPE` under the eyes of a `CurveObserver`, or up to a step."""
    asked: Iterator[int] = iter(range(1, 10_000))
    train_into(
        folder,
        RECIPE,
        tiny,
        data_record(tiny),
        observers=[CurveObserver(tiny.valid, EVERY)],
        stop=lambda: next(asked) >= (stop_after or math.inf),
    )
    return folder


def within(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "curve.jsonl").read_text().splitlines()]


def test_it_validates_every_so_many_steps_and_at_the_ends_of_the_epochs(
    tiny: Dataset, tmp_path: Path
) -> None:
    folder = watched(tmp_path / "run", tiny)
    assert within(folder) == [4, 8, 12, 17, 21, 25, 30, 34, 38]
    curve = read_curve(folder, Run.load(folder))
    assert [point.step for point in curve] == sorted([*within(folder), 13, 26, 39])
    ends = [point.valid_accuracy for point in curve if point.step % STEPS == 0]
    assert ends == [record.valid_accuracy for record in Run.load(folder).epochs]


def test_its_figures_are_the_networks_own_at_that_step(tiny: Dataset, tmp_path: Path) -> None:
    rows = Rows.of(tiny.valid, torch.device("cpu"))
    seen = {}

    class Evaluates:
        def on_start(self, run: Run, steps_per_epoch: int) -> None: ...
        def on_epoch(self, record: object) -> None: ...
        def on_end(self, run: Run) -> None: ...
        def on_step(self, view: StepView) -> None:
            seen[(view.epoch - 1) * STEPS + view.step] = evaluate(view.network, rows)

    train(RECIPE, tiny, observers=[Evaluates()])
    folder = watched(tmp_path / "run", tiny)
    for point in read_curve(folder, Run.load(folder)):
        score = seen[point.step]
        assert (point.valid_loss, point.valid_accuracy) == (score.loss, score.accuracy)


def test_a_watched_run_ends_in_the_bits_of_one_that_nobody_watches(
    tiny: Dataset, tmp_path: Path
) -> None:
    task = Task("run", RECIPE, tmp_path / "run", 0, data_record(tiny), Watch(EVERY, inspect=True))
    train_into(task.folder, RECIPE, tiny, task.record, observers=onlookers(task, tiny))
    look_back(task, tiny)
    assert {"curve.jsonl", "history.jsonl", "inspection.json", "right.bin"} <= {
        path.name for path in task.folder.iterdir()
    }
    alone = train(RECIPE, tiny)
    assert bits(load(task.folder)) == bits(alone.network)
    ours, theirs = Run.load(task.folder), alone.run
    assert ours.test == theirs.test
    assert [r.train_loss for r in ours.epochs] == [r.train_loss for r in theirs.epochs]
    other = train(RECIPE.model_copy(update={"seed": 1}), tiny)
    assert bits(other.network) != bits(alone.network), "the comparison sees a difference"


@pytest.mark.parametrize("stop_after", [3, 4, 13, 20, 38])
def test_taken_up_again_it_ends_in_the_lines_that_it_would_have_had(
    tiny: Dataset, tmp_path: Path, stop_after: int
) -> None:
    """A kill may leave points beyond the newest checkpoint, and half a line."""
    undisturbed = (watched(tmp_path / "undisturbed", tiny) / "curve.jsonl").read_bytes()
    folder = tmp_path / "run"
    with pytest.raises(TrainingInterruptedError):
        watched(folder, tiny, stop_after)
    file = folder / "curve.jsonl"
    with file.open("ab") as lines:
        beyond = 4 * (stop_after // 4 + 1)
        lines.write(b'{"step":%d,"valid_loss":1.0,"valid_accuracy":1.0}\n{"step":9' % beyond)
    watched(folder, tiny)
    assert file.read_bytes() == undisturbed


@pytest.mark.parametrize("damage", [b"{}\n", b"\x00\n", b'{"step":4,"valid_loss":1.0,"val\n'])
def test_a_damaged_line_in_the_middle_is_one_sentence(
    tiny: Dataset, tmp_path: Path, damage: bytes
) -> None:
    """Only half a line at the end is what a kill leaves: the rest may not be dropped in silence."""
    folder = watched(tmp_path / "run", tiny)
    run, file = Run.load(folder), folder / "curve.jsonl"
    first, *others = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + b"".join(others) + b'{"step":9')
    assert len(read_curve(folder, run)) == 12  # the control
    file.write_bytes(first + damage + b"".join(others))
    with pytest.raises(RunFolderError, match=r"curve\.jsonl, line 2: .*Delete .*run and") as caught:
        read_curve(folder, run)
    assert "\n" not in str(caught.value)


def test_a_run_that_nobody_watched_has_the_ends_of_its_epochs(
    tiny: Dataset, tmp_path: Path
) -> None:
    run = train(RECIPE, tiny, out=tmp_path / "run").run
    assert [point.step for point in read_curve(tmp_path / "run", run)] == [13, 26, 39]


def sized(train_rows: int, valid_rows: int, tiny: Dataset) -> DataRecord:
    return data_record(tiny).model_copy(update={"train_rows": train_rows, "valid_rows": valid_rows})


@pytest.mark.parametrize(
    ("train_rows", "valid_rows", "batch", "every"),
    [
        (54_000, 6_000, 120, 113),  # MNIST: 4 in 450 steps
        (200_000, 10_000, 120, 238),  # notMNIST: 7 in 1666
        (600_000, 1_000, 100, 750),  # 8 where they cost nothing
        (30, 30, 10, 1),  # every step where there are no more
    ],
)
def test_validations_are_four_to_eight_an_epoch(
    tiny: Dataset, train_rows: int, valid_rows: int, batch: int, every: int
) -> None:
    record = sized(train_rows, valid_rows, tiny)
    assert steps_between_validations([Recipe(batch_size=batch)], record) == every


def test_the_shortest_epochs_decide(tiny: Dataset) -> None:
    recipes = [Recipe(batch_size=size) for size in (10, 100)]
    record = sized(10_000, 1_000, tiny)
    assert steps_between_validations(recipes, record) == 25


def test_the_right_rows_are_those_that_the_network_has_right(tiny: Dataset, tmp_path: Path) -> None:
    task = Task("run", RECIPE, tmp_path / "run", 0, data_record(tiny), Watch(EVERY, inspect=False))
    run = train_into(task.folder, RECIPE, tiny, task.record).run
    assert read_right_rows(task.folder) is None
    look_back(task, tiny)
    packed = read_right_rows(task.folder) or b""
    right = [bool(packed[row // 8] >> (7 - row % 8) & 1) for row in range(len(tiny.test))]
    answers = load(task.folder)(torch.from_numpy(tiny.test.images)).argmax(dim=1).numpy()
    assert right == (answers == tiny.test.labels).tolist()
    assert 0 < sum(right) < len(right)
    assert run.test
    assert 100 * sum(right) / len(right) == pytest.approx(run.test.running.accuracy)
    assert not (task.folder / "inspection.json").exists()


def test_the_right_rows_are_found_in_the_tests_own_chunks(tmp_path: Path) -> None:
    """Large rows pass a few at a time: all at once they might not fit into memory."""
    test = Split(np.zeros((40, 2**17), np.float32), np.zeros(40, dtype=np.int64))
    seen = []

    class Counting(torch.nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            seen.append(len(rows))
            return torch.ones(len(rows), 2)

    write_right_rows(tmp_path, Counting(1, 1), test)
    assert seen == [len(chunk.labels) for chunk in Rows.of(test, torch.device("cpu")).chunks()]
    assert max(seen) < 40


def test_what_was_measured_is_not_measured_again(tiny: Dataset, tmp_path: Path) -> None:
    task = Task("run", RECIPE, tmp_path / "run", 0, data_record(tiny), Watch(EVERY, inspect=True))
    train_into(task.folder, RECIPE, tiny, task.record)
    look_back(task, tiny)
    (task.folder / "right.bin").write_bytes(b"marked")
    before = (task.folder / "inspection.json").stat().st_mtime_ns
    look_back(task, tiny)
    assert (task.folder / "right.bin").read_bytes() == b"marked"
    assert (task.folder / "inspection.json").stat().st_mtime_ns == before
