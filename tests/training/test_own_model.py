"""A model of somebody's own: its bits, its scores, its checkpoints, and errors that teach."""

import contextlib
import dataclasses
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import normscope
from normscope._errors import RecipeError, RunFolderError, TrainingInterruptedError
from normscope.data import Dataset, Split
from normscope.nn import MLP
from normscope.records import Recipe, Run
from normscope.studies import RunsFailedError, train_many
from normscope.training import Reader, _random_state, _run_folder, load, resume, train
from normscope.training import test_run as score_run
from tests.training.test_survival import assert_nothing_was_lost, kill
from tests.training.test_train import StopAfter, Watcher, bits

_NUMBERS = itertools.count()

Model = Callable[..., Recipe]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """Makes recipes for the functions of a module in the current folder."""
    name = f"somebodys_models_{next(_NUMBERS)}"
    shutil.copy(Path(__file__).with_name("own_models.py"), tmp_path / f"{name}.py")
    monkeypatch.setattr(sys, "path", [*sys.path])

    def recipe(function: str, **fields: object) -> Recipe:
        small = {"epochs": 3, "batch_size": 20, "learning_rate": 0.02, "constant_epochs": 1}
        return Recipe(model=f"{name}:{function}", **small | fields)

    yield recipe
    sys.modules.pop(name, None)


def with_channels(data: Dataset, channels: int) -> Dataset:
    """The same pictures as `[rows, channels, height, width]`."""

    def with_them(split: Split) -> Split:
        return Split(np.repeat(split.images[:, None], channels, axis=1), split.labels)

    splits = {name: with_them(getattr(data, name)) for name in ("train", "valid", "test")}
    return dataclasses.replace(data, **splits)


def test_it_learns_and_is_loaded_as_it_was(mine: Model, tiny: Dataset, tmp_path: Path) -> None:
    recipe = mine("convnet", epochs=6, model_options={"width": 8})
    result = train(recipe, tiny, out=tmp_path / "run")
    assert result.run.test.running.accuracy > 80
    again = load(tmp_path / "run")
    assert bits(again) == bits(result.network)
    assert again[1].out_channels == 8
    assert Run.load(tmp_path / "run").recipe == recipe.model_copy(update={"data": "bars"})
    assert score_run(tmp_path / "run", tiny) == result.run.test


def test_the_same_seed_gives_the_same_bits_and_the_process_never_knows(
    mine: Model, tiny: Dataset
) -> None:
    before = torch.get_rng_state()
    first = bits(train(mine("convnet"), tiny).network)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert bits(train(mine("convnet"), tiny).network) == first
    assert bits(train(mine("convnet", seed=1), tiny).network) != first


def test_arms_start_with_the_same_weights_where_shapes_allow(mine: Model, tiny: Dataset) -> None:
    first = {}
    for norm in ("batch", "none"):
        seen = Watcher()
        seen.on_ready = lambda view, norm=norm: first.update({norm: bits(view.network)})
        train(mine("convnet", norm=norm, epochs=1), tiny, observers=[seen])
    shared = first["batch"].keys() & first["none"].keys()
    assert {"1.weight", "1.bias", "7.weight"} <= shared
    assert all(first["batch"][name] == first["none"][name] for name in shared)
    assert "2.running_mean" in first["batch"].keys() - shared, "the control: the norm was left out"


@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (2, 3), (3, 5)])
def test_stopped_anywhere_it_resumes_in_the_same_bits(
    mine: Model, tiny: Dataset, tmp_path: Path, epoch: int, step: int
) -> None:
    """Dropout and the running statistics included."""
    with pytest.raises(TrainingInterruptedError):
        train(mine("convnet"), tiny, out=tmp_path / "run", observers=[StopAfter(epoch, step)])
    before = torch.get_rng_state()
    resumed = resume(tmp_path / "run", tiny)
    assert torch.equal(torch.get_rng_state(), before)
    whole = train(mine("convnet"), tiny)
    assert bits(resumed.network) == bits(whole.network)
    assert resumed.run.test == whole.run.test


def test_without_the_random_state_it_would_not(
    mine: Model, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: dropout does draw."""
    with pytest.raises(TrainingInterruptedError):
        train(mine("convnet"), tiny, out=tmp_path / "run", observers=[StopAfter(2, 3)])
    real = _run_folder.load_state

    def forgetting(checkpoint: Path, state: object) -> None:
        real(checkpoint, state)
        torch.manual_seed(123)

    monkeypatch.setattr(_run_folder, "load_state", forgetting)
    assert bits(resume(tmp_path / "run", tiny).network) != bits(
        train(mine("convnet"), tiny).network
    )


class Drawing(Watcher):
    """An observer that draws random numbers whenever it is told something."""

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        torch.rand(3)

    def on_ready(self, view: object) -> None:
        torch.rand(3)

    def on_step(self, view: object) -> None:
        torch.rand(3)

    def on_epoch(self, record: object) -> None:
        torch.rand(3)

    def on_end(self, run: Run) -> None:
        torch.rand(3)


def test_an_observer_that_draws_changes_nothing(
    mine: Model, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = bits(train(mine("convnet"), tiny).network)
    assert bits(train(mine("convnet"), tiny, observers=[Drawing()]).network) == alone
    monkeypatch.setattr(_random_state, "_apart", lambda _: contextlib.nullcontext())
    torch.manual_seed(0)
    assert bits(train(mine("convnet"), tiny, observers=[Drawing()]).network) != alone, "the control"


def test_killed_at_random_moments_it_ends_in_the_same_bits(
    mine: Model, tiny_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(mine("convnet").to_toml())
    report = kill(tmp_path / "killed", tiny_file, "8", tmp_path / "r.toml")
    assert len(report["outcomes"]) == 8
    assert_nothing_was_lost(report)


def test_the_three_scores_differ_with_batch_norm_only(mine: Model, tiny: Dataset) -> None:
    scores = train(mine("convnet", epochs=1), tiny).run.test
    assert len({scores.running.loss, scores.population.loss, scores.batch.loss}) == 3
    scores = train(mine("plain", epochs=1), tiny).run.test
    assert scores.running == scores.population == scores.batch


def test_the_population_score_is_by_the_moments_of_all_training_rows(
    mine: Model, tiny: Dataset
) -> None:
    result = train(mine("convnet", epochs=1), tiny)
    sums = result.network[:2](torch.from_numpy(tiny.train.images)).detach().double()
    result.network[2].running_mean.copy_(sums.mean(dim=(0, 2, 3)))
    result.network[2].running_var.copy_(sums.var(dim=(0, 2, 3), correction=0))
    with torch.no_grad():
        logits = result.network(torch.from_numpy(tiny.test.images)).double()
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(tiny.test.labels))
    assert result.run.test.population.loss == pytest.approx(float(loss), rel=1e-5)
    assert result.run.test.running.loss != pytest.approx(float(loss), rel=1e-5), "the control"


def test_colours_go_in_as_they_are_and_lazy_layers_learn_their_shape(
    mine: Model, tiny: Dataset, tmp_path: Path
) -> None:
    data = with_channels(tiny, 3)
    result = train(mine("Colourful"), data, out=tmp_path / "run")
    assert result.run.data.image_size == (3, 6, 6)
    assert (result.run.data.picture_size, result.run.data.framing) == (None, {})
    assert result.run.test.running.accuracy > 60
    assert bits(load(tmp_path / "run")) == bits(result.network)
    assert bits(train(mine("Colourful"), data).network) == bits(result.network)
    with pytest.raises(RunFolderError, match="inputs have the shape 3 x 6 x 6; only grey"):
        Reader(tmp_path / "run")


def test_the_built_in_network_takes_any_shape(tiny: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(hidden=(9,), epochs=2, batch_size=20)
    result = train(recipe, with_channels(tiny, 3), out=tmp_path / "run")
    assert result.network.layers[0].linear.weight.shape == (9, 108)
    assert score_run(tmp_path / "run", with_channels(tiny, 3)) == result.run.test
    with pytest.raises(normscope.NormscopeError, match="images of 6 x 6 in 3.*takes 3 x 6 x 6"):
        score_run(tmp_path / "run", tiny)


def test_awkward_models_are_saved_and_resumed(mine: Model, tiny: Dataset, tmp_path: Path) -> None:
    whole = train(mine("Awkward"), tiny)
    with pytest.raises(TrainingInterruptedError):
        train(mine("Awkward"), tiny, out=tmp_path / "run", observers=[StopAfter(2, 2)])
    resumed = resume(tmp_path / "run", tiny)
    assert bits(resumed.network) == bits(whole.network)
    assert resumed.network.first.weight is resumed.network.second.weight
    assert bits(load(tmp_path / "run")) == bits(whole.network)


def test_pictures_are_read_and_weights_folded(mine: Model, tiny: Dataset, tmp_path: Path) -> None:
    from PIL import Image

    data = with_channels(tiny, 1)
    result = train(mine("grey", epochs=6), data, out=tmp_path / "run")
    assert result.run.data.picture_size == (6, 6)
    pixels = np.zeros((60, 60), np.uint8)
    pixels[20:30] = 255
    Image.fromarray(pixels).save(tmp_path / "bar.png")
    prediction = Reader(tmp_path / "run").read(tmp_path / "bar.png")
    assert set(prediction.probabilities) == {"top", "middle", "bottom"}
    example = torch.from_numpy(data.test.images[:20])
    folded, receipt = normscope.fold(load(tmp_path / "run"), example)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert receipt.changed


def test_many_are_trained_in_processes(mine: Model, tiny_file: Path, tmp_path: Path) -> None:
    recipes = [
        mine("convnet", epochs=1, norm=norm, model_options={"width": width})
        for norm, width in (("batch", 2), ("none", 3))
    ]
    runs = train_many(recipes, tiny_file, out=tmp_path / "runs", workers=2)
    names = [run.name for run in runs]
    assert names == ["norm-batch-width-2-seed-0", "norm-none-width-3-seed-0"]
    alone = train(recipes[1], tiny_file)
    assert bits(runs[1].network) == bits(alone.network)
    assert runs[1].run.test == alone.run.test


def test_one_that_fails_costs_its_own_run_only(
    mine: Model, tiny_file: Path, tmp_path: Path
) -> None:
    recipes = {"good": mine("unlucky", epochs=1), "bad": mine("unlucky", epochs=1, seed=1)}
    with pytest.raises(RunsFailedError, match="bad: .*:unlucky.*raised ValueError") as caught:
        train_many(recipes, tiny_file, out=tmp_path / "runs", workers=1)
    assert list(caught.value.failures) == ["bad"]
    assert "Traceback" not in str(caught.value)
    assert Run.load(tmp_path / "runs" / "good").status == "complete"


@pytest.mark.parametrize("backward", [False, True])
def test_a_network_that_raises_in_the_middle_is_one_sentence_and_can_go_on(
    mine: Model,
    tiny: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backward: bool,
) -> None:
    """At the eighth step, of three epochs of six."""
    recipe = mine("breaking", model_options={"backward": backward})
    says = (
        rf"{recipe.model}: its network raised RuntimeError: a fault \(somebodys_models_\d+.py, "
        rf"line \d+\). That was in epoch 2 after step 1 of 6. Mend it, and go on "
        rf"after epoch 1: normscope train --resume {tmp_path}/run$"
    )
    with pytest.raises(RecipeError, match=says):
        train(recipe, tiny, out=tmp_path / "run")
    assert Run.load(tmp_path / "run").status == "running"
    monkeypatch.setattr(sys.modules[recipe.model.split(":")[0]].Breaking, "fail", lambda *_: None)
    resumed = resume(tmp_path / "run", tiny)
    whole = train(mine("breaking", model_options={"at": 0}), tiny)
    assert bits(resumed.network) == bits(whole.network)


def test_an_observers_own_fault_is_not_the_networks(mine: Model, tiny: Dataset) -> None:
    class Faulty(Watcher):
        def on_step(self, view: object) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(mine("plain"), tiny, observers=[Faulty()])


def test_words_on_the_format_of_memory_are_no_lack_of_it(mine: Model, tiny: Dataset) -> None:
    options = {"message": "unsupported memory format option"}
    with pytest.raises(RecipeError, match="raised RuntimeError: unsupported memory format option"):
        train(mine("breaking", model_options=options), tiny)
    options = {"message": "DefaultCPUAllocator: can't allocate memory: you tried to"}
    with pytest.raises(RecipeError, match="there is not enough memory for this network"):
        train(mine("breaking", model_options=options), tiny)


def test_one_that_raises_in_the_middle_costs_its_own_run_only(
    mine: Model, tiny_file: Path, tmp_path: Path
) -> None:
    recipes = [mine("breaking", seed=seed) for seed in (0, 1)]
    with pytest.raises(RunsFailedError, match="its network raised RuntimeError: a fault") as caught:
        train_many(recipes, tiny_file, out=tmp_path / "runs", workers=1)
    (message,) = caught.value.failures.values()
    assert "\n" not in message
    assert "--resume" not in message, "the same call tries again"
    assert Run.load(tmp_path / "runs" / "seed-1").status == "complete"


def test_what_cannot_be_built_is_said_before_anything_is_written(
    mine: Model, tiny_file: Path, tmp_path: Path
) -> None:
    recipes = {"good": mine("convnet", epochs=1), "bad": mine("failing")}
    with pytest.raises(RecipeError, match=":failing.. raised OSError"):
        train_many(recipes, tiny_file, out=tmp_path / "runs", workers=1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("nowhere", r"has no nowhere; is it"),
        ("convent", r"has no convent; did you mean convnet"),
        ("number", "cannot be called: it is of type int"),
        ("network", "is a network already; name a function that builds one"),
        ("failing", r"failing\(\) raised OSError: \[Errno 28\] No space left \(.*py, line \d+\)"),
        ("leaving", r"leaving\(\) raised SystemExit: usage: own_models"),
        ("nothing", "returned something of type NoneType; .*torch.nn.Module"),
        ("too_narrow", r"in eval mode .* \[2, 6, 6\] into something of shape \[2, 2\]; .*\[2, 3\]"),
        ("too_small", r"cannot take inputs of shape \[2, 6, 6\]; it raised RuntimeError: mat1"),
        ("untrainable", "has no parameter that could be trained"),
        ("remembering", "1._extra_state .* is of type dict; a checkpoint holds nothing but"),
        ("fragile", r"in training mode .* raised ValueError: not like this \(.*py, line \d+\)"),
        ("two_faced", "in training mode .* something of type tuple"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_nothing_is_written(
    mine: Model, tiny: Dataset, tmp_path: Path, function: str, says: str
) -> None:
    recipe = mine(function)
    before = torch.get_rng_state()
    with pytest.raises(RecipeError, match=says) as caught:
        train(recipe, tiny, out=tmp_path / "run")
    assert str(caught.value).startswith(recipe.model)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("function", "fields", "says"),
    [
        ("convnet", {"model_options": {"widht": 3}}, "unexpected keyword argument 'widht'"),
        ("plain", {"norm": "none"}, "norm is none, but .* has no parameter of that name"),
        ("Fragile", {}, r"takes \(in_features, out_features, .*missing a required argument"),
        ("convnet", {"model_options": {"width": "a"}}, r"width='a'\) raised TypeError"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    mine: Model, tiny: Dataset, function: str, fields: dict, says: str
) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        train(mine(function, **fields), tiny)
    assert "\n" not in str(caught.value)


def test_options_win_over_what_is_offered(mine: Model, tiny: Dataset) -> None:
    own = mine("convnet", epochs=1, model_options={"norm": "group"})
    assert isinstance(train(own, tiny).network[2], nn.Identity)


def test_a_run_whose_function_is_gone_says_so(
    mine: Model, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = mine("convnet", epochs=1)
    train(recipe, tiny, out=tmp_path / "run")
    name = recipe.model.split(":")[0]
    del sys.modules[name]
    (tmp_path / f"{name}.py").unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    with pytest.raises(RecipeError, match=f"there is no module {name}, neither in this folder"):
        load(tmp_path / "run")


def test_the_built_in_network_is_still_an_mlp(tiny: Dataset) -> None:
    assert isinstance(train(Recipe(hidden=(4,), epochs=1, batch_size=20), tiny).network, MLP)
