"""`inspect`: its figures against derivations of their own; the network is a guest."""

import base64
import copy
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from normscope import probes
from normscope.data import Dataset, Split
from normscope.data import load as load_data
from normscope.nn import MLP, BatchNorm, set_population_statistics
from normscope.probes import _inspect, _statistics
from normscope.probes._history import layers_of, moments
from normscope.probes._history_file import joined
from normscope.records import History, Inspection, LayerStatistics, Recipe
from normscope.training import TrainResult, build_network, train
from tests.conftest import bars
from tests.oracles.mlp import population_statistics_by_hand
from tests.oracles.stages import logits_from_record, s3_from_record, stages_by_hand

SMALL = Recipe(hidden=(12, 8), epochs=3, batch_size=20, constant_epochs=2, seed=5, eps=1e-5)
ARMS = [(norm, weights) for norm in ("batch", "layer", "none") for weights in ("scaled", "plain")]


def arm(norm: str, weights: str) -> Recipe:
    rate = 0.02 if weights == "scaled" else 0.003
    return SMALL.model_copy(update={"norm": norm, "weights": weights, "learning_rate": rate})


def inspected(network: nn.Module, dataset: Dataset) -> Inspection:
    return probes.inspect(network, train=dataset.train, test=dataset.test)


@pytest.fixture(scope="module", params=ARMS, ids="-".join)
def trained(request: pytest.FixtureRequest, tiny: Dataset) -> TrainResult:
    return train(arm(*request.param), tiny)


def logits(network: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network.eval()(torch.from_numpy(images)).double().numpy()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Relative to the other's size."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_the_logits_follow_from_the_record_alone(trained: TrainResult, tiny: Dataset) -> None:
    seen = inspected(trained.network, tiny)
    truth = logits(trained.network, tiny.test.images)
    for index, specimen in enumerate(seen.specimens):
        assert distance(logits_from_record(seen, index), truth[specimen.row]) < 1e-3


def test_with_statistics_of_other_units_they_do_not(trained: TrainResult, tiny: Dataset) -> None:
    """The control: the record says which unit a number belongs to."""
    seen = inspected(trained.network, tiny)
    truth = logits(trained.network, tiny.test.images)
    *before, last = seen.layers
    rolled = {
        name: value[1:] + value[:1]
        for name, value in last
        if isinstance(value, tuple) and not name.startswith("population")
    }
    wrong = seen.model_copy(update={"layers": (*before, last.model_copy(update=rolled))})
    errors = [
        distance(logits_from_record(wrong, index), truth[specimen.row])
        for index, specimen in enumerate(wrong.specimens)
    ]
    assert min(errors) > 1e-3


def test_every_stage_is_that_of_float64(trained: TrainResult, tiny: Dataset) -> None:
    seen = inspected(trained.network, tiny)
    by_hand = stages_by_hand(trained.network, tiny.test.images, training=False)
    for specimen in seen.specimens:
        for index, (layer, truth) in enumerate(zip(seen.layers, by_hand, strict=True)):
            s1, s2 = specimen.s1[index], specimen.s2[index] if specimen.s2 else None
            assert s1 == pytest.approx(truth.s1[specimen.row], rel=1e-3, abs=1e-5)
            assert distance(s3_from_record(layer, s1, s2), truth.s3[specimen.row]) < 1e-3
            if s2:
                assert s2 == pytest.approx(truth.s2[specimen.row], rel=1e-3, abs=1e-5)


def test_only_a_layer_norm_needs_s2(trained: TrainResult, tiny: Dataset) -> None:
    seen = inspected(trained.network, tiny)
    is_layer_norm = trained.run.recipe.norm == "layer"
    assert {len(specimen.s2) for specimen in seen.specimens} == {3 if is_layer_norm else 0}


def test_statistics_are_the_networks_own(trained: TrainResult, tiny: Dataset) -> None:
    seen, recipe = inspected(trained.network, tiny), trained.run.recipe
    for layer, said in zip(trained.network.layers, seen.layers, strict=True):
        assert said.norm == recipe.norm
        if recipe.norm == "none":
            assert (said.eps, said.gamma) == (0, ())
            assert said.beta == pytest.approx(layer.linear.bias.tolist(), rel=1e-6)
            continue
        assert said.eps == recipe.eps
        assert np.float32(said.gamma).tolist() == layer.norm.weight.tolist()
        assert np.float32(said.beta).tolist() == layer.norm.bias.tolist()
        if recipe.norm == "batch":
            assert np.float32(said.running_mean).tolist() == layer.norm.running_mean.tolist()
            assert np.float32(said.running_variance).tolist() == layer.norm.running_var.tolist()


def population(layer: LayerStatistics) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return layer.population_mean, layer.population_variance


def test_population_statistics_are_exact(trained: TrainResult, tiny: Dataset) -> None:
    seen = inspected(trained.network, tiny)
    if trained.run.recipe.norm != "batch":
        empty = LayerStatistics(norm="none", eps=0, gamma=(), beta=())
        assert [population(layer) for layer in seen.layers] == [population(empty)] * 3
        return
    images = torch.from_numpy(tiny.train.images).flatten(1)
    by_hand = population_statistics_by_hand(trained.network, images)
    for layer, (mean, variance) in zip(seen.layers, by_hand, strict=True):
        assert layer.population_mean == pytest.approx(mean.tolist(), rel=1e-4, abs=1e-5)
        assert layer.population_variance == pytest.approx(variance.tolist(), rel=1e-4)
        assert layer.population_mean != pytest.approx(layer.running_mean, rel=1e-3)  # the control


def test_the_confusion_matrix_is_that_of_the_final_test(
    trained: TrainResult, tiny: Dataset
) -> None:
    seen = inspected(trained.network, tiny)
    answers = logits(trained.network, tiny.test.images).argmax(1)
    by_hand = [
        [int(((tiny.test.labels == label) & (answers == said)).sum()) for said in range(3)]
        for label in range(3)
    ]
    assert [list(row) for row in seen.confusion] == by_hand
    right = sum(seen.confusion[label][label] for label in range(3))
    assert 100 * right / 60 == pytest.approx(trained.run.test.running.accuracy)
    assert len(seen.mistakes) == 60 - right


def noise(rows: int) -> Split:
    """Nobody can tell these classes apart."""
    return dataclasses.replace(bars(rows, 3), labels=np.random.default_rng(0).integers(0, 3, rows))


def test_the_surest_mistakes_come_first_and_some_are_followed(tiny: Dataset) -> None:
    network, test = train(SMALL, tiny).network, noise(300)
    seen = probes.inspect(network, train=tiny.train, test=test)
    share = np.exp(logits(network, test.images))
    share /= share.sum(1, keepdims=True)
    answers = share.argmax(1)
    wrong = np.flatnonzero(answers != test.labels)
    surest = wrong[np.argsort(-share.max(1)[wrong], kind="stable")]
    assert len(wrong) > 40
    assert [mistake.row for mistake in seen.mistakes] == surest[:40].tolist()
    for mistake in seen.mistakes:
        assert (mistake.label, mistake.answer) == (test.labels[mistake.row], answers[mistake.row])
        assert mistake.probability == pytest.approx(share[mistake.row].max(), rel=1e-3)
    right = answers == test.labels
    first = [int(np.flatnonzero(right & (test.labels == label))[0]) for label in range(3)]
    assert [specimen.row for specimen in seen.specimens] == [*first, *surest[:10]]
    for specimen in seen.specimens:
        assert specimen.label == test.labels[specimen.row]
        assert specimen.probabilities == pytest.approx(share[specimen.row], rel=1e-3, abs=1e-6)


def test_a_class_that_is_never_answered_right_has_no_specimen_of_its_own(tiny: Dataset) -> None:
    network = build_network(SMALL, inputs=36, classes=3)
    with torch.no_grad():
        network.layers[-1].norm.bias[1] = 100.0  # always the middle one
    seen = inspected(network, tiny)
    assert [specimen.label for specimen in seen.specimens if specimen.row == 1] == [1]
    assert len(seen.specimens) == 1 + 10
    assert seen.confusion == ((0, 20, 0),) * 3


def picture(image: str, mode: str = "L") -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(image))) as opened:
        assert (opened.format, opened.mode) == ("PNG", mode)
        return np.asarray(opened)


def test_pictures_are_the_images_in_greys(tiny: Dataset) -> None:
    seen = inspected(build_network(SMALL, inputs=36, classes=3), tiny)
    images = tiny.test.images
    low, high = images.min(), images.max()
    for one in [*seen.specimens, *seen.mistakes]:
        by_hand = 255 * (images[one.row] - low) / (high - low)
        assert np.abs(picture(one.image) - by_hand).max() < 0.51


def test_pictures_of_three_channels_are_in_colours_and_of_others_there_are_none(
    tiny: Dataset,
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    grey = tiny.test.images
    colours = np.stack([grey, grey[:, ::-1], 2 * grey], axis=1)
    network(torch.from_numpy(colours))
    split = Split(colours, tiny.test.labels)
    seen = probes.inspect(network, train=split, test=split)
    low, high = colours.min(), colours.max()
    assert seen.mistakes
    for one in seen.mistakes:
        by_hand = 255 * (np.moveaxis(colours[one.row], 0, -1) - low) / (high - low)
        assert np.abs(picture(one.image, "RGB") - by_hand).max() < 0.51
    split = Split(np.stack([colours, colours], axis=2), tiny.test.labels)
    seen = probes.inspect(nn.Sequential(nn.Flatten(), nn.Linear(216, 3)), train=split, test=split)
    assert {one.image for one in seen.mistakes} == {""}


@pytest.mark.parametrize(("size", "shown"), [((9, 300), (2, 64)), ((70, 35), (64, 32))])
def test_large_images_become_small_pictures(size: tuple[int, int], shown: tuple[int, int]) -> None:
    images = np.random.default_rng(0).normal(size=(6, *size)).astype(np.float32)
    split = Split(images, np.arange(6) % 2)
    network = MLP([size[0] * size[1], 2], norm=BatchNorm)
    seen = probes.inspect(network, train=split, test=split)
    assert {picture(one.image).shape for one in seen.specimens} == {shown}


def test_images_of_one_tone_are_dark() -> None:
    split = Split(np.full((4, 3, 3), 7, np.float32), np.array([0, 0, 1, 1]))
    seen = probes.inspect(MLP([9, 2], norm=BatchNorm), train=split, test=split)
    assert not picture(seen.specimens[0].image).any()


PLACES = {
    "a picture": (_inspect, "as_png"),
    "the statistics": (_statistics, "set_population_statistics"),
    "after the statistics": (_statistics, "_with_population"),
}


class RefusedError(Exception):
    pass


@pytest.mark.parametrize("raises", [None, *PLACES])
def test_the_network_is_a_guest(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch, raises: str | None
) -> None:
    network = copy.deepcopy(train(SMALL, tiny).network).train()
    network.layers[1].norm.eval()
    images = torch.from_numpy(tiny.train.images).flatten(1)
    network(images).square().sum().backward()

    def state() -> list[object]:
        return [
            [module.training for module in network.modules()],
            [(name, value.tolist()) for name, value in network.state_dict().items()],
            [parameter.grad.tolist() for parameter in network.parameters()],
            [parameter.requires_grad for parameter in network.parameters()],
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # the user's own
            torch.is_grad_enabled(),
        ]

    before = state()
    if raises:

        def refuse(*_: object) -> None:
            raise RefusedError

        monkeypatch.setattr(*PLACES[raises], refuse)
        with pytest.raises(RefusedError):
            inspected(network, tiny)
    else:
        inspected(network, tiny)
    assert state() == before


def test_without_the_care_the_network_would_be_changed(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""
    import contextlib

    network = train(SMALL, tiny).network.train()
    before = [value.tolist() for value in network.state_dict().values()]
    monkeypatch.setattr(_inspect, "preserved", lambda _: contextlib.nullcontext())
    inspected(network, tiny)
    assert [value.tolist() for value in network.state_dict().values()] != before
    assert not network.training


def test_a_network_that_diverged_is_seen_as_it_is(tiny: Dataset, tmp_path: Path) -> None:
    network = build_network(SMALL, inputs=36, classes=3)
    with torch.no_grad():
        network.layers[1].linear.weight[0] = torch.inf
    seen = inspected(network, tiny)
    assert sum(map(sum, seen.confusion)) == 60
    assert np.isnan(seen.specimens[-1].s1[-1]).all()
    seen.save(tmp_path / "inspection.json")
    again = Inspection.load(tmp_path)
    assert again.model_dump_json() == seen.model_dump_json()


class Convolutional(nn.Module):
    """A classifier that is no MLP: its batch norms stand in another order than they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.BatchNorm1d(3)
        self.last = nn.BatchNorm1d(3)
        self.untracked = nn.BatchNorm1d(3, track_running_stats=False)
        self.convolution = nn.Conv2d(1, 4, 3)
        self.first = nn.BatchNorm2d(4, affine=False)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(4 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(self.convolution(x[:, None])).relu_()
        return self.last(input=self.linear(self.drop(h.flatten(1)))) + self.untracked(
            h[:, :3, 0, 0]
        )


def test_of_another_network_the_batch_norms_are_seen(tiny: Dataset) -> None:
    network = Convolutional()
    network(torch.from_numpy(tiny.train.images))
    before = [value.tolist() for value in network.state_dict().values()]
    seen = inspected(network, tiny)
    assert [value.tolist() for value in network.state_dict().values()] == before
    assert seen.specimens == ()
    first, last = seen.layers
    assert first.running_mean == pytest.approx(network.first.running_mean.tolist())
    assert (first.gamma, last.gamma) == ((), (1, 1, 1))
    s1 = network.convolution(torch.from_numpy(tiny.train.images)[:, None]).double()
    assert first.population_mean == pytest.approx(s1.mean((0, 2, 3)).tolist(), rel=1e-4)
    variance = s1.var((0, 2, 3), correction=0).tolist()
    assert first.population_variance == pytest.approx(variance, rel=1e-4)
    h = (s1 - s1.mean((0, 2, 3), True)) / (s1.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
    deep = network.linear(h.clamp(min=0).flatten(1).float()).double()
    assert last.population_mean == pytest.approx(deep.mean(0).tolist(), rel=1e-3, abs=1e-4)
    wrong = 60 - sum(seen.confusion[label][label] for label in range(3))
    assert len(seen.mistakes) == min(wrong, 40) > 0


def with_a_bias_before_the_norm() -> MLP:
    network = MLP([36, 5, 3], norm=BatchNorm)
    network.layers[0].linear.bias = nn.Parameter(torch.ones(5))
    return network


def of_another_norm() -> MLP:
    return MLP([36, 5, 3], norm=lambda width: nn.Softmax(1))


def without_running_statistics() -> MLP:
    return MLP([36, 5, 3], norm=lambda width: nn.BatchNorm1d(width, track_running_stats=False))


@pytest.mark.parametrize(
    ("make", "layers"),
    [(with_a_bias_before_the_norm, 2), (of_another_norm, 0), (without_running_statistics, 0)],
)
def test_no_formula_is_used_where_it_is_not_the_networks(
    tiny: Dataset, make: Callable[[], MLP], layers: int
) -> None:
    seen = inspected(make(), tiny)
    assert len(seen.layers) == layers
    assert seen.specimens == ()
    assert sum(map(sum, seen.confusion)) == 60


@pytest.mark.parametrize("shape", [(36,), (2, 4, 4), (3, 2, 4, 4)])
def test_rows_that_are_no_pictures_have_none(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).normal(size=(9, *shape)).astype(np.float32)
    split = Split(images, np.arange(9) % 3)
    network = MLP([images[0].size, 3], norm=BatchNorm)
    seen = probes.inspect(network, train=split, test=split)
    assert {one.image for one in seen.specimens} == {""}


def test_the_networks_own_batch_norms_may_be_torchs_own(tiny: Dataset) -> None:
    network = MLP([36, 5, 3], norm=lambda width: nn.BatchNorm1d(width, affine=False))
    network(torch.from_numpy(tiny.train.images).flatten(1))
    seen = inspected(network, tiny)
    assert [(layer.norm, layer.gamma, layer.beta) for layer in seen.layers] == [
        ("batch", (), ())
    ] * 2


def test_the_default_networks_inspection_is_small(tmp_path: Path) -> None:
    """As much as there can be: every class, forty mistakes, the moments of a long run."""
    letters = load_data("letters")
    network = build_network(Recipe(), inputs=784, classes=10)
    few = Split(letters.train.images[:300], letters.train.labels[:300])
    images = torch.from_numpy(few.images).flatten(1)
    set_population_statistics(network, images)
    look = layers_of(network, images)
    seen = [History(rows=300, steps=(step,), layers=look()) for step in moments(10**6)]
    history = joined(seen)
    seen = probes.inspect(network, train=few, test=letters.test, history=history)
    assert (len(seen.mistakes), len(seen.specimens), len(history.steps)) == (40, 20, 40)
    seen.save(tmp_path / "inspection.json")
    assert (tmp_path / "inspection.json").stat().st_size < 700_000
