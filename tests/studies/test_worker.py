"""One worker, in this process: what it says, and when it leaves."""

import signal
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from normscope.data import Dataset
from normscope.records import Recipe, Run
from normscope.studies import _worker
from normscope.studies._messages import RunProgress, Task
from normscope.studies._worker import Worker
from normscope.training import RunFolder, data_record, load, train
from tests.training.test_train import SMALL, bits

DIVERGING = SMALL.model_copy(update={"learning_rate": 1e30, "norm": "none", "weights": "plain"})
ENDLESS = SMALL.model_copy(update={"epochs": 1_000_000})


@pytest.fixture(autouse=True)
def _own_signals_again() -> Iterator[None]:
    before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


class Employer:
    """Gives one task after another to whoever is free, then says stop; keeps what it hears."""

    def __init__(self, *tasks: Task) -> None:
        self._left = list(tasks)
        self._said: SimpleQueue[Task | None] = SimpleQueue()
        self.heard: list[RunProgress | None] = []

    def recv(self) -> Task | None:
        return self._said.get()

    def send(self, message: RunProgress | None) -> None:
        self.heard.append(message)
        if message is None:
            self.say(self._left.pop(0) if self._left else None)

    def say(self, message: Task | None) -> None:
        self._said.put(message)


class SaysStop(Employer):
    """Changes its mind after the first epoch."""

    def send(self, message: RunProgress | None) -> None:
        super().send(message)
        if message and message.epoch == 1:
            self.say(None)


class Dies(Employer):
    """Is gone when the first epoch is over."""

    def send(self, message: RunProgress | None) -> None:
        if message and message.epoch >= 1:
            raise BrokenPipeError
        super().send(message)


class Terminates(Employer):
    """Sends SIGTERM instead of a word."""

    def send(self, message: RunProgress | None) -> None:
        super().send(message)
        if message and message.epoch == 1:
            signal.raise_signal(signal.SIGTERM)


def task(tiny: Dataset, recipe: Recipe, folder: Path) -> Task:
    return Task(folder.name, recipe, folder, 0, data_record(tiny))


def test_it_trains_what_it_is_given_and_tells_of_every_epoch(tiny: Dataset, tmp_path: Path) -> None:
    tasks = [task(tiny, SMALL, tmp_path / name) for name in ("first", "second")]
    employer = Employer(*tasks)
    Worker(employer, [tiny]).work()
    told = [message and (message.name, message.epoch, message.status) for message in employer.heard]
    assert told == [
        None,
        *(("first", epoch, "running") for epoch in range(5)),
        ("first", 4, "complete"),
        None,
        *(("second", epoch, "running") for epoch in range(5)),
        ("second", 4, "complete"),
        None,
    ]
    last = employer.heard[-2]
    assert last.finished
    assert not employer.heard[-3].finished
    run = Run.load(tmp_path / "second")
    assert (last.epochs, last.valid_accuracy) == (4, run.epochs[-1].valid_accuracy)
    assert bits(load(tmp_path / "second")) == bits(train(SMALL, tiny).network)


@pytest.mark.parametrize("employer", [SaysStop, Dies, Terminates])
def test_it_saves_and_leaves(tiny: Dataset, tmp_path: Path, employer: type[Employer]) -> None:
    tasks = [task(tiny, ENDLESS, tmp_path / name) for name in ("first", "second")]
    hearing = employer(*tasks)
    Worker(hearing, [tiny]).work()
    assert Run.load(tmp_path / "first").status == "interrupted"
    assert not (tmp_path / "second").exists()
    if employer is not Dies:
        assert hearing.heard[-1].status == "interrupted"


def test_it_takes_up_what_was_begun(tiny: Dataset, tmp_path: Path) -> None:
    six = SMALL.model_copy(update={"epochs": 6})
    Worker(Dies(task(tiny, six, tmp_path / "run")), [tiny]).work()
    assert len(Run.load(tmp_path / "run").epochs) == 1
    employer = Employer(task(tiny, six, tmp_path / "run"))
    Worker(employer, [tiny]).work()
    assert employer.heard[1].epoch == 1
    assert bits(load(tmp_path / "run")) == bits(train(six, tiny).network)


def test_a_runs_misfortune_is_not_the_workers(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    faulty = tmp_path / "faulty"
    real = _worker.train_into

    def train_into(folder: Path, *arguments: object, **options: object) -> object:
        if folder == faulty:
            raise ZeroDivisionError
        return real(folder, *arguments, **options)

    monkeypatch.setattr(_worker, "train_into", train_into)
    employer = Employer(
        task(tiny, DIVERGING, tmp_path / "diverging"),
        task(tiny, SMALL, tmp_path / "taken"),
        task(tiny, SMALL, faulty),
        task(tiny, SMALL, tmp_path / "good"),
    )
    Worker(employer, [tiny]).work()
    ends = {said.name: said for said in employer.heard if said and said.finished}
    assert {name: end.status for name, end in ends.items()} == {
        "diverging": "diverged",
        "taken": "failed",
        "faulty": "failed",
        "good": "complete",
    }
    assert "--learning-rate" in ends["diverging"].message
    assert "holds other files" in ends["taken"].message
    assert "ZeroDivisionError" in ends["faulty"].message
    assert ends["good"].message == ""


def test_the_folder_is_free_again_afterwards(tiny: Dataset, tmp_path: Path) -> None:
    Worker(SaysStop(task(tiny, ENDLESS, tmp_path / "run")), [tiny]).work()
    with RunFolder(tmp_path / "run").locked():
        assert (tmp_path / "run" / "run.json").exists()
