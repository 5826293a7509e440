"""Every norm of the recipe as a training: who makes its steps, how it starts, resumes and tests."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from normscope import TrainingInterruptedError, training
from normscope.data import Dataset
from normscope.nn import MLP, WeightNormalizedLinear
from normscope.probes import inspect
from normscope.records import Recipe, Run
from normscope.report import report_run
from normscope.report._verdict_words import WORDS
from normscope.report._words import CATALOGUE
from normscope.studies._crew import trains_together
from normscope.training import TrainResult, build_network, data_record, train, train_into
from normscope.training import has_written_out_step as has_written_out
from normscope.training._network import build_optimizer
from normscope.training._steps import AutogradStep, choose_step
from normscope.training._written_out import WrittenOutStep

NORMS = get_args(Recipe.model_fields["norm"].annotation)
SMALL: dict[str, Any] = {"hidden": (12, 9), "epochs": 2, "batch_size": 24, "data": "bars"}
RECIPES = {norm: Recipe(norm=norm, **SMALL) for norm in NORMS} | {
    "ghosts of 8": Recipe(ghost_size=8, **SMALL),
    "ghosts of 7": Recipe(ghost_size=7, **SMALL),
    "ghosts of the last": Recipe(norm="last", ghost_size=8, **SMALL),
}
WRITTEN_OUT = {"batch", "none"}
WITHOUT_STATISTICS = {"none", "layer", "calibrated", "weight", "clipped"}


@pytest.fixture(scope="module")
def trained(tiny: Dataset) -> Callable[[str], TrainResult]:
    """The training of a recipe, made once."""
    return cache(lambda name: train(RECIPES[name], tiny))


def fresh(recipe: Recipe) -> MLP:
    return build_network(recipe, inputs=36, classes=3)


@pytest.mark.parametrize("name", RECIPES)
def test_the_written_out_step_is_taken_by_batch_norm_and_none_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]
    network = fresh(recipe)
    optimizer = build_optimizer(network, recipe)
    kind = WrittenOutStep if name in WRITTEN_OUT else AutogradStep
    assert type(choose_step(network, optimizer, 24)) is kind
    assert has_written_out(recipe) == (kind is WrittenOutStep)
    assert not trains_together(recipe.model_copy(update={"device": "cpu"}))
    monkeypatch.setattr("normscope.studies._crew.choose_device", lambda _: torch.device("cuda"))
    assert trains_together(recipe) == (kind is WrittenOutStep)


@pytest.mark.parametrize("weights", ["scaled", "plain"])
@pytest.mark.parametrize("name", RECIPES)
def test_equal_seeds_give_equal_first_weights(name: str, weights: str) -> None:
    recipe = RECIPES[name].model_copy(update={"weights": weights})
    usual, network = fresh(Recipe(weights=weights, **SMALL)), fresh(recipe)
    other = fresh(recipe.model_copy(update={"seed": 1}))
    layers = zip(*(n.normalized_layers() for n in (network, usual, other)), strict=True)
    for one, expected, control in layers:
        assert torch.equal(one.linear.weight, expected.linear.weight)
        assert not torch.equal(control.linear.weight, expected.linear.weight)


def test_weight_norm_starts_as_the_network_without_a_norm() -> None:
    x = torch.randn(5, 36)
    plain, by_length = fresh(RECIPES["none"]), fresh(RECIPES["weight"])
    assert isinstance(by_length.normalized_layers()[0].linear, WeightNormalizedLinear)
    torch.testing.assert_close(by_length(x), plain(x))
    assert not torch.allclose(fresh(RECIPES["clipped"])(x), plain(x), rtol=0.1), "the control"


def test_the_last_norm_stands_on_the_logits_alone() -> None:
    kinds = [type(layer.norm).__name__ for layer in fresh(RECIPES["last"]).normalized_layers()]
    biases = [layer.linear.bias is None for layer in fresh(RECIPES["last"]).normalized_layers()]
    assert kinds == ["Identity", "Identity", "BatchNorm"]
    assert biases == [False, False, True]


def test_a_ghost_of_the_whole_batch_is_batch_norm_to_the_bit(tiny: Dataset) -> None:
    networks = [
        train(RECIPES["batch"].model_copy(update={"ghost_size": size}), tiny).network.state_dict()
        for size in (0, 24, 12)
    ]
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(value, networks[1][name]) for name, value in networks[0].items())
    assert not all(torch.equal(value, networks[2][name]) for name, value in networks[0].items())


class Draws:
    """An observer that draws random numbers at every step."""

    def on_start(self, run: Run, steps_per_epoch: int) -> None: ...

    def on_step(self, view: object) -> None:
        torch.rand(3)

    def on_epoch(self, record: object) -> None: ...

    def on_end(self, run: Run) -> None: ...


def stopping_after(steps: int) -> Iterator[bool]:
    return (step >= steps for step in count(1))


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in WRITTEN_OUT])
def test_resumed_in_the_middle_it_ends_in_the_same_bits(
    name: str, trained: Callable[[str], TrainResult], tiny: Dataset, tmp_path: Path
) -> None:
    recipe, record, uninterrupted = RECIPES[name], data_record(tiny), trained(name)
    answers = stopping_after(7)
    with pytest.raises(TrainingInterruptedError):
        train_into(tmp_path / "run", recipe, tiny, record, stop=lambda: next(answers))
    torch.rand(17)  # what anybody else draws meanwhile
    result = train_into(tmp_path / "run", recipe, tiny, record, observers=[Draws()])
    expected = uninterrupted.network.state_dict()
    assert result.network.state_dict().keys() == expected.keys()
    for key, value in result.network.state_dict().items():
        assert torch.equal(value, expected[key]), key
    assert result.run.test == uninterrupted.run.test
    assert training.test_run(tmp_path / "run", tiny) == result.run.test


@pytest.mark.parametrize("name", RECIPES)
def test_three_statistics_are_three_scores_where_any_are_tracked(
    name: str, trained: Callable[[str], TrainResult]
) -> None:
    scores = trained(name).run.test
    assert scores is not None
    assert (scores.running == scores.population) == (name in WITHOUT_STATISTICS)
    assert (scores.running == scores.batch) == (name in WITHOUT_STATISTICS)


@pytest.mark.parametrize(
    ("name", "known"),
    [("noisy", True), ("ghosts of 7", True), ("last", True), ("mean", False), ("weight", False)],
)
def test_it_is_looked_into_and_reported(
    name: str, known: bool, trained: Callable[[str], TrainResult], tiny: Dataset
) -> None:
    result = trained(name)
    seen = inspect(result.network, train=tiny.train, test=tiny.test)
    assert [len(seen.layers), bool(seen.specimens)] == ([3, True] if known else [0, False])
    for specimen in seen.specimens:
        x = torch.from_numpy(tiny.test.images[[specimen.row]])
        shares = result.network(x).softmax(dim=1)[0].tolist()
        assert specimen.probabilities == pytest.approx(shares, rel=1e-3, abs=1e-6)
    page = report_run(result.run, seen)
    assert ("there is no layer to look into" in page) == (not known)


def test_every_norm_has_words_on_the_pages() -> None:
    for norm in NORMS:
        assert len(CATALOGUE[f"network {norm}"]) == len(WORDS[f"norm {norm}"]) == 2
