"""Layers, causes and costs: what a gap is laid to."""

import copy
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from normscope.anatomy import Forward, RunningNorm, call
from normscope.doctor import _causes, check
from normscope.doctor._attribution import attribution_of
from normscope.doctor._case import Case
from normscope.doctor._layer_fit import LayerFit, layer_fits
from normscope.doctor._observation import Observation, observed, untouched
from normscope.doctor._swaps import Swaps, swaps
from normscope.doctor._without_start import WithoutStart
from normscope.surgery import recalibrate
from tests.doctor.cases import ns401_train_eval_gap as cases
from tests.doctor.deep import Batches, data, deep, fitted, fitted_of
from tests.doctor.networks import batches, rows

CAUSES = {
    "never_collected": "never collected",
    "stale": "stale",
    "poisoned": "poisoned by one non-finite batch",
    "one_layer": "one layer's statistics",
    "input_scaled": "input scaled differently",
    "momentum": "momentum convention",
    "class_pure": "class- or domain-pure batches",
    "slow": "slow statistics",
    "averaged": "weights averaged without buffers",
    "shared": "several distributions share one layer",
}


@pytest.mark.parametrize(("case", "cause"), CAUSES.items())
def test_the_planted_cause_is_the_one_that_is_named(case: str, cause: str) -> None:
    (finding,) = getattr(cases, f"bad_{case}")().of("NS401")
    assert finding.evidence["cause"] == cause


def test_one_layer_is_named_and_bears_the_whole_gap() -> None:
    (finding,) = cases.bad_one_layer().of("NS401")
    assert finding.module == "4"
    assert finding.evidence["layers that are off"] == 1
    gap, cost = finding.evidence["gap"], finding.evidence["cost of 4"]
    assert cost == pytest.approx(gap, abs=0.1)
    assert not {"cost of 1", "cost of 7"} & finding.evidence.keys()


def test_the_first_of_several_layers_is_named() -> None:
    (finding,) = cases.bad_never_collected().of("NS401")
    assert finding.module == "1"
    assert {"cost of 1", "cost of 4", "cost of 7"} <= finding.evidence.keys()


def test_what_recalibration_does_not_cure_is_measured() -> None:
    (pure,), (never,) = cases.bad_class_pure().of("NS401"), cases.bad_never_collected().of("NS401")
    assert pure.evidence["left by exact statistics"] > 0.5 * pure.evidence["gap"]
    assert never.evidence["left by exact statistics"] < 0.1 * never.evidence["gap"]


def test_only_the_first_layer_is_said_of_one_layer_alone() -> None:
    """By a shift of all inputs; with a second layer off it is not the inputs."""
    model, shifted = fitted(), [(x + 2, y) for x, y in data()]
    (finding,) = check(model, shifted).of("NS401")
    assert finding.evidence["cause"] == "input scaled differently"
    assert "Of 3 batch norms only the first, '1', is off" in finding.message
    with torch.no_grad():
        model[4].running_mean += 3
    (finding,) = check(model, shifted).of("NS401")
    assert finding.evidence["cause"] == "stale"


def test_of_two_layers_one_may_be_off_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = deep()[:3], [nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)]
        model = fitted_of(nn.Sequential(*first, *second), data())
    with torch.no_grad():
        model[4].running_mean += 3
    assert cause(model, data()) == "one layer's statistics"
    with torch.no_grad():
        model[1].running_mean += 3
    assert cause(model, data()) == "stale"


def test_the_factor_of_the_input_is_told() -> None:
    (finding,) = cases.bad_input_scaled().of("NS401")
    assert finding.evidence["scale"] == pytest.approx(255, rel=0.1)


def test_a_training_by_class_shows_in_batches_that_are_mixed() -> None:
    """By its variances: they lack what lies between the classes. What is too wide is no sign."""
    labels = torch.arange(3).repeat_interleave(128)
    inputs = rows(384) + 4 * nn.functional.one_hot(labels, 4)
    pure = batches(inputs, labels, size=32)
    in_turn = [batch for k in range(4) for batch in pure[k::4]]
    mixed = torch.randperm(384, generator=torch.Generator().manual_seed(0))
    together = batches(inputs[mixed], labels[mixed], size=32)
    narrow = "batches of less variety in training"

    model = fitted_of(deep(), in_turn)
    assert cause(model, together) == narrow
    shifted, wide = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        shifted[1].running_mean += 2 * shifted[1].running_var.sqrt()
        wide[1].running_var *= 100
    assert narrow not in {cause(shifted, together), cause(wide, together)}


@contextmanager
def observing(model: nn.Module, batches: object, forward: Forward = call) -> Iterator[Observation]:
    """As `check` does."""
    with untouched(model, batches):
        yield observed(model, batches, forward, 64)


def seen(model: nn.Module, batches: Batches) -> tuple[Case, list[LayerFit]]:
    """What is measured of one model on its data."""
    with observing(model, batches) as observation:
        case = Case(model, observe=lambda _: observation)
        return case, layer_fits(observation)


def test_a_fit_is_what_numpy_finds() -> None:
    """The first layer's, from its definition."""
    model, batches = fitted(), data()
    model[1].running_mean += torch.linspace(-1, 1, 16)
    model[1].running_var *= torch.linspace(0.5, 2, 16)
    _, (fit, *_) = seen(model, batches)
    with torch.no_grad():
        x = model[0](torch.cat([inputs for inputs, _ in batches])).double().numpy()
    mean, width = x.mean(axis=0), np.sqrt(x.var(axis=0) + model[1].eps)
    running_width = np.sqrt(model[1].running_var.double().numpy() + model[1].eps)
    shift = (model[1].running_mean.double().numpy() - mean) / width
    assert fit.shift == pytest.approx(math.sqrt(np.mean(shift**2)), rel=1e-5)
    spread = np.log(running_width / width)
    assert fit.spread == pytest.approx(math.sqrt(np.mean(spread**2)), rel=1e-5)
    noise = math.sqrt((0.1 / 1.9 + 1 / 8) / 64)
    assert fit.noise == pytest.approx(noise, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 4, 16, 64]), st.integers(2, 12))
def test_sampling_noise_is_not_taken_for_a_mismatch(seed: int, size: int, count: int) -> None:
    """Statistics collected as PyTorch does, from other batches of the same kind."""
    assume(size * count >= 16)  # of four rows the deviation itself may be anything
    random = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm1d(8).train()
    for _ in range(100):
        norm(3 + torch.randn(size, 8, generator=random))
    batches = [3 + torch.randn(size, 8, generator=random) for _ in range(count)]
    with observing(norm, batches) as observation:
        (fit,) = layer_fits(observation)
    assert fit.shift < 5 * fit.noise
    assert not fit.is_off or size == 2  # of two rows a running variance is not known to 28 %


def test_a_shift_beyond_the_noise_is_seen() -> None:
    """The control of the test above."""
    random = torch.Generator().manual_seed(0)
    norm = nn.BatchNorm1d(8).train()
    for _ in range(100):
        norm(torch.randn(16, 8, generator=random))
    batches = [1 + torch.randn(16, 8, generator=random) for _ in range(8)]
    with observing(norm, batches) as observation:
        (fit,) = layer_fits(observation)
    assert fit.is_off
    assert fit.shift == pytest.approx(1, abs=0.2)


def test_no_layer_suffers_from_another_ones_statistics() -> None:
    """The layers behind a broken one fit."""
    model = fitted()
    model[1].running_mean += 10
    _, fits = seen(model, data())
    assert [fit.is_off for fit in fits] == [True, False, False]


class Sequences(nn.Module):
    """Normalizes time in place of features: there are as many steps as features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.features(x)).mean(dim=1)


def cause(model: nn.Module, batches: Batches) -> str:
    with observing(model, batches) as observation:
        case = Case(model, observe=lambda _: observation)
        found = attribution_of(case).cause
    assert found is not None
    return found.name


def test_a_linear_layer_whose_features_come_last_is_the_wrong_axis() -> None:
    model = Sequences()
    batches = [(x.expand(6, 64, 4).transpose(0, 1), y) for x, y in data()]
    recalibrate(model, batches)
    with torch.no_grad():
        model.norm.running_mean += 3
    assert cause(model, batches) == "wrong axis"


def test_statistics_whose_counter_says_nothing_are_stale_and_not_slow() -> None:
    """Checkpoints from before there were counters leave them at 0."""
    model = fitted()
    with torch.no_grad():
        for norm in (model[1], model[4], model[7]):
            norm.running_mean += 1
            norm.num_batches_tracked.zero_()
    assert cause(model, data()) == "stale"


@pytest.mark.parametrize(("momentum", "meant"), [(0.99, "0.01"), (0.6, "0.1"), (1.0, "0.1")])
def test_a_momentum_is_advised_that_can_be_set(momentum: float, meant: str) -> None:
    model = fitted()
    for norm in (model[1], model[4], model[7]):
        norm.momentum = momentum
    with observing(model, data()) as observation:
        case = Case(model, observe=lambda _: observation)
        fits = [replace(fit, shift=1.0) for fit in layer_fits(observation)]
        found = _causes.cause_of(case, fits)
    assert found.name == "momentum convention"
    assert f"set_momentum(model, {meant})" in found.fix


def test_dropout_before_the_norm_is_told_from_statistics_that_are_stale() -> None:
    model = fitted_of(deep(dropout=0.6), data())
    assert cause(model, data()) == "dropout before the norm"
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert cause(model, data()) != "dropout before the norm"


class DropPath(nn.Module):
    """Leaves rows out in training, at random."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand(len(x), 1) >= self.rate) / (1 - self.rate)


@pytest.mark.parametrize("rate", [0.8, 0.0])
def test_stochastic_depth_is_told_from_weights_that_have_changed(rate: float) -> None:
    """And the control: statistics that are as wrong, where nothing is random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = deep()[:3], [nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)]
        model = fitted_of(nn.Sequential(*first, DropPath(rate), *last), data())
        if not rate:
            model[5].running_var *= 3
        assert (cause(model, data()) == _causes.NOISE) == bool(rate)


class Hidden(nn.Module):
    """Its second batch norm is in a list, and in eval mode only where somebody says so."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.others = [nn.BatchNorm1d(4).eval()]

    def forward(self, x: Tensor) -> Tensor:
        return self.others[0](self.norm(x))


def test_a_norm_outside_the_module_tree_is_named_where_all_others_fit() -> None:
    model = Hidden()
    recalibrate(model, data())
    assert cause_of(model) == "a batch norm outside the module tree"
    model.others = nn.ModuleList(model.others)  # the control: now it is seen, and is off or fits
    assert cause_of(model) != "a batch norm outside the module tree"


def cause_of(model: nn.Module) -> str:
    """What the causes say where no layer is held to be off."""
    with observing(model, data()) as observation:
        case = Case(model, observe=lambda _: observation)
        return _causes.cause_of(case, layer_fits(observation)[:1]).name


def padded(*, share: float) -> Batches:
    """Sequences of six steps that end in zeros."""
    random = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(6):
        x = 4 + torch.randn(32, 3, 12, generator=random)
        lengths = torch.randint(int(12 * (1 - share)), 13, (32,), generator=random)
        x[(torch.arange(12) >= lengths[:, None])[:, None].expand_as(x)] = 0
        batches.append((x, torch.zeros(32, dtype=torch.long)))
    return batches


def test_padding_is_told_from_other_causes() -> None:
    """Statistics without padding, and data that are padded."""
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Flatten())
    recalibrate(model, padded(share=0.0))
    assert cause(model, padded(share=0.8)) == "padding"


def test_swaps_use_no_batch_more_than_once_more() -> None:
    """Three passes per batch, whatever is found."""
    model = cases.without_buffers()
    passes: dict[float, int] = {}

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        name = float(batch[0].sum())
        passes[name] = passes.get(name, 0) + 1
        return model(batch[0])

    batches = data()
    with observing(model, batches, forward) as observation:
        assert len(swaps(observation, layer_fits(observation), 0.5).of) == 3
    assert set(passes.values()) <= {2, 3}
    assert sum(passes.values()) > 2 * len(batches)


class Branches(nn.Module):
    """Side branches that hardly matter, and one norm that everything goes through."""

    def __init__(self, sides: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(nn.BatchNorm1d(4) for _ in range(sides))
        self.trunk = fitted()

    def forward(self, x: Tensor) -> Tensor:
        aside = torch.stack([side(x).mean(dim=1, keepdim=True) for side in self.sides]).sum(dim=0)
        return self.trunk(x) + 1e-6 * aside


def branches(sides: int) -> Branches:
    """All are off, and the trunk's norm by the least."""
    model = Branches(sides)
    with torch.no_grad():
        for side in model.sides:
            side.running_mean += 30
        model.trunk[4].running_mean += 3
    return model


def swapped(sides: int, count: int) -> Swaps:
    with observing(branches(sides), (data() * 20)[:count]) as observation:
        found = attribution_of(Case(observation.model, observe=lambda _: observation))
        assert len(found.off) == sides + 1
        assert found.gap is not None
        return swaps(observation, found.off, found.gap.size)


@pytest.mark.parametrize("sides", [3, 10, 30])
def test_the_dearest_layer_is_found_though_it_is_not_the_furthest_off(sides: int) -> None:
    """By halves, where there are fewer batches than layers."""
    batches = math.ceil(math.log2(sides + 1)) + 5  # three for other rules, one for the reference
    dearest, *others = swapped(sides, batches).of
    assert dearest.paths == ("trunk.4",)
    assert dearest.cost > 0.3
    assert all(abs(swap.cost) < 0.1 for swap in others)


def test_where_every_layer_has_its_batches_each_is_swapped_alone() -> None:
    """The control of the halves."""
    found = swapped(3, 16)
    assert found.alone == len(found.of) == 4
    assert found.of[0].paths == ("trunk.4",)
    assert found.batches == 16


def test_too_few_batches_leave_a_group_and_say_how_many_it_takes() -> None:
    found = swapped(10, 5)
    (group,) = found.of
    assert "trunk.4" in group.paths
    assert 1 < len(group.paths) < 11
    assert found.alone == 0
    assert swapped(10, found.batches).alone == 11
    assert swapped(10, found.batches - 1).alone < 11


@pytest.mark.parametrize(
    ("count", "alone", "told"),
    [
        (1, 0, "None of 11 layers that are off could be swapped alone: .* about 15 batches."),
        (
            5,
            0,
            "or of a few together, cost, each measured on 64 rows of its own: .* more .* points",
        ),
        (20, 11, "one layer alone cost, .*'trunk.4' .* points, .*; 8 others cost less"),
    ],
)
def test_a_finding_says_what_was_swapped(count: int, alone: int, told: str) -> None:
    (finding,) = check(branches(10), (data() * 3)[:count]).of("NS401")
    assert finding.evidence["layers swapped alone"] == alone
    assert re.search(told, finding.message)
    assert ("could be swapped alone" in finding.message) == (alone < 11)


def test_one_other_layer_costs_less() -> None:
    (finding,) = check(branches(3), data() * 2).of("NS401")
    assert "; 1 other costs less." in finding.message


# --- whether it will pass ---


def begun(steps: int, *, shift: float = 2.0) -> tuple[nn.Sequential, Batches]:
    """A training's first steps, on inputs that are far from 0."""
    batches = [(x + shift, y) for x, y in data()]
    model = deep()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(3)
        optimizer = torch.optim.Adam(model.train().parameters(), lr=0.01)
        for inputs, labels in batches[:steps]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return model, batches


def passes(model: nn.Module, batches: Batches) -> str:
    with observing(model, batches) as observation:
        case = Case(model, observe=lambda _: observation)
        case.training = {path: True for path, _ in model.named_modules()}
        found = attribution_of(case)
        assert found.off
        return found.passes


@pytest.mark.parametrize("steps", [3, 5, 8])
def test_what_is_left_of_the_start_passes_and_its_share_is_told(steps: int) -> None:
    told = passes(*begun(steps))
    assert f"up to {100 * 0.9**steps:.0f} % are left in the statistics" in told


def recalibrated() -> nn.Sequential:
    """Its counters are at eight, the number of batches, as after three steps and five more."""
    model = fitted()
    recalibrate(model, data())
    assert int(model[1].num_batches_tracked) == 8
    return model


@pytest.mark.parametrize("shift", [0.4, -0.6, 3.0])
def test_after_a_recalibration_it_does_not(shift: float) -> None:
    """The counter says that 43 % of the start are left; the statistics say that it is not so."""
    model = recalibrated()
    with torch.no_grad():
        model[4].running_mean += shift * model[4].running_var.sqrt()
    assert passes(model, data()) == ""
    (finding,) = check(model, data()).of("NS403")
    assert finding.module == "4"


@pytest.mark.parametrize("factor", [0.3, 3.0, 10.0])
def test_nor_where_a_variance_is_off(factor: float) -> None:
    model = recalibrated()
    with torch.no_grad():
        model[4].running_var *= factor
    assert passes(model, data()) == ""


@pytest.mark.parametrize("count", [0, 5, 12, 20, 28])
def test_nor_where_counters_were_lost_or_set(count: int) -> None:
    model = fitted()
    with torch.no_grad():
        for number in (1, 4, 7):
            model[number].num_batches_tracked.fill_(count)
        model[4].running_mean += 0.5 * model[4].running_var.sqrt()
    assert passes(model, data()) == ""


def test_nor_where_the_training_is_over() -> None:
    model, batches = begun(5)
    with observing(model.eval(), batches) as observation:
        case = Case(model, observe=lambda _: observation)
        assert attribution_of(case).passes == ""


def without_start(model: nn.Module, batches: Batches, path: str = "1") -> WithoutStart | None:
    with observing(model, batches) as observation:
        norm = RunningNorm(path, model.get_submodule(path))
        return WithoutStart.of(norm, observation.batch_sights.of[path])


def test_a_variance_below_what_is_left_of_the_start_proves_a_counter_wrong() -> None:
    model, batches = begun(5)
    found = without_start(model, batches)
    assert found is not None
    assert found.share < 1
    with torch.no_grad():
        model[1].running_var[0] = 0.9 * 0.9**5
    assert without_start(model, batches) is None


def test_without_its_share_of_the_start_an_average_is_exact() -> None:
    """Means and variances of batches that are all alike: nothing else is wrong with them."""
    batches = [data()[0]] * 6
    model = deep().train()
    with torch.no_grad():
        for inputs, _ in batches:
            model(inputs)
    found = without_start(model, batches)
    assert found is not None
    assert found.share < 0.03  # Bessel's correction
    assert found.is_the_start


def test_variances_that_are_the_starts_excuse_no_means() -> None:
    model, batches = begun(5)
    assert passes(model, batches)
    with torch.no_grad():
        model[7].running_mean.zero_()
    assert passes(model, batches) == ""


class WithSpare(nn.Module):
    """And a batch norm that is never called."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.spare = inner, nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def lagging(*, counted: int, unused: bool = False) -> nn.Module:
    """Trained, and every layer's means a third of a deviation behind: in the same direction."""
    model = fitted()
    with torch.no_grad():
        for number, behind in ((1, model[3]), (4, model[6]), (7, model[9])):
            norm, effect = model[number], behind.weight[0]
            norm.running_mean += 0.35 * effect.sign() * norm.running_var.sqrt()
            norm.num_batches_tracked.fill_(counted)
    return WithSpare(model) if unused else model


@pytest.mark.parametrize(
    ("training", "counted", "severity"),
    [(True, 40, "info"), (True, 100, "info"), (True, 101, "warning"), (False, 40, "warning"),
     (True, 0, "warning"), (True, 8, "warning")],
)  # fmt: skip
@pytest.mark.parametrize("unused", [False, True])
def test_that_all_layers_lag_is_to_be_expected_in_the_beginning(
    *, training: bool, counted: int, severity: str, unused: bool
) -> None:
    """Later it is not, nor in eval mode; 0 is a lost counter, and variances deny one of 8."""
    model = lagging(counted=counted, unused=unused).train(training)
    (finding,) = check(model, data(size=16)).of("NS401")
    assert (finding.evidence["cause"], finding.severity) == (_causes.MANY_SMALL, severity)
    told = f"Few batches were counted (at most {counted})"
    assert (told in finding.message) == (severity == "info")


ALONE, LAG, STALE = "one layer's statistics", _causes.LAG, "stale"


@pytest.mark.parametrize(
    ("shift", "others", "counted", "training", "found"),
    [
        (0.3, 0.14, 400, True, ALONE),
        (0.3, 0.16, 400, True, STALE),
        (0.3, 0.16, 40, False, STALE),
        (0.3, 0.07, 40, True, LAG),
        (0.3, 0.05, 40, True, ALONE),
        (0.55, 0.2, 40, True, ALONE),
        (0.3, 0.16, 8, True, STALE),
    ],
)
def test_one_layer_is_off_alone_if_the_others_are_not_nearly_so(
    *, shift: float, others: float, counted: int, training: bool, found: str
) -> None:
    """One of many that lag is told to be so early in a training, and not after a recalibration."""
    model = fitted()
    recalibrate(model, data())
    with torch.no_grad():
        for number, by in ((1, others), (4, shift), (7, others)):
            model[number].running_mean += by * model[number].running_var.sqrt()
            model[number].num_batches_tracked.fill_(counted)
    (finding,) = check(model.train(training), data()).of("NS401")
    assert finding.evidence["cause"] == found
    assert ("Few batches were counted" in finding.message) == (found == LAG)
    if found == LAG:
        assert finding.severity == "info"
