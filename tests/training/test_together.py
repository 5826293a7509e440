"""Seeds that train as one program: each as if it were alone, to rounding, whatever the others do.

On a CPU here; on a GPU the same program is captured as a graph.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import normscope as ns
from normscope._errors import (
    DivergenceError,
    NormscopeError,
    RecipeError,
    RunFolderError,
    StorageError,
    TrainingInterruptedError,
)
from normscope.data import Dataset
from normscope.records import Recipe, Run
from normscope.training import (
    _captured,
    _run_folder,
    _together,
    build_network,
    data_record,
    load,
    resume,
    train,
    train_together,
)
from normscope.training import test_run as score_run
from normscope.training._state import TrainingState
from tests.training.test_captured import Recorder, needs_a_gpu
from tests.training.test_train import bits

RECIPE = Recipe(
    hidden=(12, 8),
    epochs=4,
    batch_size=20,
    constant_epochs=2,
    learning_rate=0.001,
    data="bars",
    device="cpu",
)
SEEDS = (5, 6, 7)
STEPS = 6

News = dict[str, list[Run | NormscopeError]]


def recipes(folder: Path, **fields: object) -> dict[Path, Recipe]:
    return {
        folder / f"{seed}": RECIPE.model_copy(update={**fields, "seed": seed}) for seed in SEEDS
    }


def together(
    folder: Path, dataset: Dataset, stop: Callable[[], bool] = lambda: False, **fields: object
) -> News:
    """Train the three seeds; what was heard of each."""
    news: News = {}
    by_folder = recipes(folder, **fields)
    for path, said in train_together(by_folder, dataset, data_record(dataset), stop=stop):
        news.setdefault(path.name, []).append(said)
    return news


def after(times: int) -> Callable[[], bool]:
    """A stop the so-manieth time that one may be asked for: after every step, and every epoch."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= times


def assert_close(folder: Path, other: Path) -> None:
    """Two run folders that agree to rounding, in every figure and every tensor."""
    one, two = Run.load(folder), Run.load(other)
    assert one.status == two.status
    assert len(one.epochs) == len(two.epochs)
    for epoch, expected in zip(one.epochs, two.epochs, strict=True):
        found, wanted = epoch.model_dump(), expected.model_dump()
        assert found.pop("seconds") > 0
        del wanted["seconds"]
        assert found == pytest.approx(wanted, rel=1e-4)
    networks = load(folder).state_dict(), load(other).state_dict()
    for name, value in networks[0].items():
        torch.testing.assert_close(value, networks[1][name], rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def alone(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three seeds, each trained by itself."""
    folder = tmp_path_factory.mktemp("alone")
    for path, recipe in recipes(folder).items():
        train(recipe, tiny, out=path)
    return folder


@pytest.fixture
def one_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 6 begins with a weight that is not a number."""

    def build(recipe: Recipe, **sizes: int) -> torch.nn.Module:
        network = build_network(recipe, **sizes)
        if recipe.seed == 6:
            network.layers[0].linear.weight.data[0, 0] = torch.nan
        return network

    monkeypatch.setattr("normscope.training._network.build_network", build)


@pytest.mark.parametrize(
    "fields", [{}, {"norm": "none"}, {"weights": "plain", "hidden": ()}, {"average": "cumulative"}]
)
def test_every_seed_ends_as_it_would_alone(tiny: Dataset, tmp_path: Path, fields: dict) -> None:
    together(tmp_path / "together", tiny, **fields)
    for path, recipe in recipes(tmp_path / "alone", **fields).items():
        train(recipe, tiny, out=path)
        assert_close(tmp_path / "together" / path.name, path)


def test_the_control_seeds_are_told_apart(alone: Path) -> None:
    with pytest.raises(AssertionError):
        assert_close(alone / "5", alone / "6")


def test_every_run_is_an_ordinary_run_folder(tiny: Dataset, tmp_path: Path, alone: Path) -> None:
    together(tmp_path, tiny)
    for seed in map(str, SEEDS):
        run = Run.load(tmp_path / seed)
        assert score_run(tmp_path / seed, tiny) == run.test
        assert run.test.running.loss == pytest.approx(
            Run.load(alone / seed).test.running.loss, rel=1e-4
        )
        assert bits(ns.load(tmp_path / seed)).keys() == bits(ns.load(alone / seed)).keys()
        assert run.recipe == Run.load(alone / seed).recipe


def test_the_start_every_epoch_and_the_end_are_heard_of(tiny: Dataset, tmp_path: Path) -> None:
    for heard in together(tmp_path, tiny).values():
        assert [len(run.epochs) for run in heard] == [0, 1, 2, 3, 4, 4]
        assert [run.status for run in heard] == ["running"] * 5 + ["complete"]
        assert heard[-1].test


def test_a_seed_that_diverges_is_a_result_and_the_others_never_notice(
    tiny: Dataset, tmp_path: Path, alone: Path, one_diverges: None
) -> None:
    news = together(tmp_path, tiny)
    assert_close(tmp_path / "5", alone / "5")
    assert_close(tmp_path / "7", alone / "7")
    _, error = news["6"]
    assert isinstance(error, DivergenceError)
    assert f"The loss became nan at step 1 of {STEPS} in epoch 1" in str(error)
    assert "--learning-rate" in str(error)
    assert Run.load(tmp_path / "6").status == "diverged"
    assert not (tmp_path / "6" / "checkpoints").exists()


def test_all_diverge(tiny: Dataset, tmp_path: Path) -> None:
    news = together(tmp_path, tiny, norm="none", weights="plain", learning_rate=1e30)
    assert {type(heard[-1]) for heard in news.values()} == {DivergenceError}


@pytest.mark.parametrize("at", [3, STEPS, STEPS + 2])
def test_stopped_all_are_saved_and_each_can_be_resumed_by_itself(
    tiny: Dataset, tmp_path: Path, alone: Path, at: int
) -> None:
    news = together(tmp_path, tiny, after(at))
    for seed in map(str, SEEDS):
        assert isinstance(news[seed][-1], TrainingInterruptedError)
        run = Run.load(tmp_path / seed)
        assert (run.status, len(run.epochs)) == ("interrupted", at // STEPS)
        resume(tmp_path / seed, tiny)
        assert_close(tmp_path / seed, alone / seed)


def test_stopped_and_called_again_they_go_on_as_one_program(
    tiny: Dataset, tmp_path: Path, alone: Path, programs: list[int]
) -> None:
    together(tmp_path, tiny, after(STEPS + 2))
    torch.rand(1)
    before = torch.get_rng_state()
    together(tmp_path, tiny)
    assert torch.equal(torch.get_rng_state(), before), "the caller's, not the checkpoint's"
    assert programs == [3, 3]
    for seed in map(str, SEEDS):
        assert f"Resumed in epoch 2 after step 1 of {STEPS}." in Run.load(tmp_path / seed).notes
        assert_close(tmp_path / seed, alone / seed)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many networks there were in each program."""
    sizes, real = [], _together.fit_together

    def fit(trainings: list, **arguments: object) -> Iterator[object]:
        sizes.append(len(trainings))
        return real(trainings, **arguments)

    monkeypatch.setattr(_together, "fit_together", fit)
    return sizes


def test_those_that_a_kill_left_behind_go_on_by_themselves(
    tiny: Dataset, tmp_path: Path, alone: Path, programs: list[int]
) -> None:
    """Killed between the first save of an epoch and the second."""
    by_folder = recipes(tmp_path)
    news = train_together(by_folder, tiny, data_record(tiny), stop=lambda: False)
    real, saves = _run_folder.save_checkpoint, []

    def save(checkpoints: Path, state: TrainingState) -> None:
        saves.append(1)
        if len(saves) == 5:
            raise KeyboardInterrupt
        real(checkpoints, state)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_run_folder, "save_checkpoint", save)
        list(news)
    assert [len(Run.load(path).epochs) for path in by_folder] == [2, 1, 1]
    together(tmp_path, tiny)
    assert programs == [3, 1, 2]
    for path in by_folder:
        assert_close(path, alone / path.name)


def test_a_folder_that_is_refused_costs_its_own_run_only(
    tiny: Dataset, tmp_path: Path, alone: Path
) -> None:
    (tmp_path / "6").mkdir()
    (tmp_path / "6" / "thesis.tex").touch()
    (error,) = together(tmp_path, tiny)["6"]
    assert isinstance(error, RunFolderError)
    assert_close(tmp_path / "7", alone / "7")


@pytest.mark.parametrize("diverges", [False, True])
def test_a_disk_that_refuses_one_run_costs_that_run_only(
    tiny: Dataset,
    tmp_path: Path,
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    diverges: bool,
) -> None:
    """In the middle: its second checkpoint, or the record of its divergence."""
    if diverges:
        request.getfixturevalue("one_diverges")
    real = _run_folder.RunFolder.write_run

    def write(self: _run_folder.RunFolder, run: Run) -> None:
        if self.path.name == "6" and (len(run.epochs) == 2 or run.status == "diverged"):
            msg = "the disk is full"
            raise StorageError(msg)
        real(self, run)

    monkeypatch.setattr(_run_folder.RunFolder, "write_run", write)
    error = together(tmp_path, tiny)["6"][-1]
    assert isinstance(error, StorageError)
    assert Run.load(tmp_path / "6").status == "running"
    assert_close(tmp_path / "5", alone / "5")
    assert_close(tmp_path / "7", alone / "7")


def test_no_memory_for_all_of_them_is_a_sentence(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> None:
        msg = "CUDA out of memory"
        raise torch.OutOfMemoryError(msg)

    monkeypatch.setattr(_together, "WrittenOutStep", step)
    with pytest.raises(RecipeError, match="not enough memory"):
        together(tmp_path, tiny)


def test_folders_are_free_again_however_it_ends(tiny: Dataset, tmp_path: Path) -> None:
    by_folder = recipes(tmp_path)
    with contextlib.closing(
        train_together(by_folder, tiny, data_record(tiny), stop=lambda: False)
    ) as news:
        next(news)
        with pytest.raises(RunFolderError, match="another process"):
            resume(tmp_path / "5", tiny)
    assert resume(tmp_path / "5", tiny).run.status == "complete"


def test_a_graph_reads_every_batch_from_one_place(
    tiny: Dataset, tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, with a stand-in for CUDA: nothing is copied to where a graph was recorded."""
    recorder, places, real = Recorder(), set(), _together.hastened
    monkeypatch.setattr(_captured, "on_a_side_stream", recorder.on_a_side_stream)
    monkeypatch.setattr(_captured, "record", recorder.record)

    def hastened(step: _captured.Step, *, on_gpu: bool) -> _captured.Step:
        captured = real(step, on_gpu=not on_gpu)

        def noting(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            places.add((images.data_ptr(), labels.data_ptr()))
            return captured(images, labels)

        return noting

    monkeypatch.setattr(_together, "hastened", hastened)
    together(tmp_path, tiny)
    assert len(places) == 1
    assert len(recorder.eager) == 3
    assert len(recorder.replayed) == 4 * STEPS - 3


@needs_a_gpu
def test_on_a_gpu_every_seed_ends_as_it_would_alone(tiny: Dataset, tmp_path: Path) -> None:
    together(tmp_path / "together", tiny, device="cuda")
    for path, recipe in recipes(tmp_path / "alone", device="cuda").items():
        train(recipe, tiny, out=path)
        one, other = Run.load(tmp_path / "together" / path.name), Run.load(path)
        for epoch, expected in zip(one.epochs, other.epochs, strict=True):
            assert epoch.train_loss == pytest.approx(expected.train_loss, rel=1e-2)
