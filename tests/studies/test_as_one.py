"""`train_many` where seeds train as one program: as on a GPU, but forced onto the CPU."""

import signal
from pathlib import Path

import pytest
import torch

import normscope as ns
from normscope._errors import RecipeError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.records import Run
from normscope.studies import RunProgress, RunsFailedError, _as_one, _crew, train_many
from normscope.training import resume, train
from normscope.training import test_run as score_run
from tests.studies.test_train_many import Processes, assert_gone, recorded
from tests.training.test_together import RECIPE, SEEDS, alone, assert_close, one_diverges

__all__ = ["alone", "one_diverges"]  # fixtures

RECIPES = {str(seed): RECIPE.model_copy(update={"seed": seed}) for seed in SEEDS}
LAYER = {f"layer-{name}": r.model_copy(update={"norm": "layer"}) for name, r in RECIPES.items()}


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_crew, "trains_together", lambda recipe: recipe.norm != "layer")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    return recorded(monkeypatch)


def test_seeds_end_as_each_would_alone_without_a_process(
    tiny: Dataset, tmp_path: Path, alone: Path, processes: Processes
) -> None:
    heard = []
    runs = train_many(RECIPES, tiny, out=tmp_path, on_progress=heard.append)
    assert [run.name for run in runs] == list(RECIPES)
    for run in runs:
        assert_close(run.folder, alone / run.name)
        assert score_run(run.folder, tiny) == run.run.test
        assert run.network.layers[0].linear.weight.shape == (12, 36)
        events = [(event.epoch, event.status) for event in heard if event.name == run.name]
        assert events == [*((epoch, "running") for epoch in range(5)), (4, "complete")]
    assert not processes


def test_called_again_it_keeps_them_and_trains_new_seeds_together(
    tiny: Dataset, tmp_path: Path, alone: Path, processes: Processes
) -> None:
    first = {"5": RECIPES["5"]}
    train_many(first, tiny, out=tmp_path)
    assert len(processes) == 1, "the control: one seed alone has nobody to train with"
    before = (tmp_path / "5" / "run.json").stat().st_mtime_ns
    train_many(RECIPES, tiny, out=tmp_path)
    assert (tmp_path / "5" / "run.json").stat().st_mtime_ns == before
    assert len(processes) == 1
    for name in RECIPES:
        assert_close(tmp_path / name, alone / name)


def test_who_asks_for_workers_gets_them_and_their_bits(
    tiny: Dataset, tmp_path: Path, processes: Processes
) -> None:
    runs = train_many(RECIPES, tiny, out=tmp_path, workers=1)
    assert len(processes) == 1
    single = train(RECIPES["5"], tiny).network.state_dict()
    for name, value in runs[0].network.state_dict().items():
        assert torch.equal(value, single[name])


def test_a_seed_that_diverges_is_a_result(
    tiny: Dataset, tmp_path: Path, alone: Path, one_diverges: None
) -> None:
    heard = []
    runs = train_many(RECIPES, tiny, out=tmp_path, on_progress=heard.append)
    assert [run.run.status for run in runs] == ["complete", "diverged", "complete"]
    assert_close(tmp_path / "7", alone / "7")
    first_end = next(event for event in heard if event.finished)
    assert (first_end.name, first_end.status) == ("6", "diverged")
    assert "--learning-rate" in first_end.message


def test_ctrl_c_saves_all_and_an_ordinary_resume_goes_on(
    tiny: Dataset, tmp_path: Path, alone: Path, processes: Processes
) -> None:
    def at_an_epoch(event: RunProgress) -> None:
        if (event.name, event.epoch) == ("6", 2) and not event.finished:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterruptedError, match="0 of 6 runs .*same call goes on"):
        train_many({**RECIPES, **LAYER}, tiny, out=tmp_path, on_progress=at_an_epoch)
    assert not processes, "nobody begins after a stop"
    for name in RECIPES:
        run = Run.load(tmp_path / name)
        assert (run.status, len(run.epochs)) == ("interrupted", 2)
    resume(tmp_path / "5", tiny)
    train_many(RECIPES, tiny, out=tmp_path)
    for name in RECIPES:
        assert_close(tmp_path / name, alone / name)


def test_whoever_cannot_train_so_trains_in_a_process(
    tiny: Dataset, tmp_path: Path, alone: Path, processes: Processes
) -> None:
    runs = train_many({**LAYER, **RECIPES}, tiny, out=tmp_path)
    assert [run.run.status for run in runs] == ["complete"] * 6
    assert_gone(processes)
    assert_close(tmp_path / "6", alone / "6")


def test_an_error_of_the_listener_reaches_the_caller(
    tiny: Dataset, tmp_path: Path, alone: Path
) -> None:
    def fail(event: RunProgress) -> None:
        if event.epoch == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_many(RECIPES, tiny, out=tmp_path, on_progress=fail)
    assert {len(Run.load(tmp_path / name).epochs) for name in RECIPES} == {2}
    assert ns.resume(tmp_path / "7", tiny).run.status == "complete"


def test_no_memory_for_all_of_them_says_what_to_do(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_together(*_: object, **__: object):
        yield tmp_path / "5", RecipeError("refused")
        raise RecipeError("There is not enough memory.")

    monkeypatch.setattr(_as_one, "train_together", train_together)
    with pytest.raises(RunsFailedError) as caught:
        train_many(RECIPES, tiny, out=tmp_path)
    advice = "There is not enough memory. Or give workers = 1, to train one after another."
    assert caught.value.failures == {"5": "refused", "6": advice, "7": advice}
