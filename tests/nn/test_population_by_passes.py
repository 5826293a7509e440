"""Exact population statistics of any network: against float64, layer by layer."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.nn import (
    MLP,
    BatchNorm2d,
    input_moments,
    set_population_statistics,
    set_population_statistics_by_passes,
)


class Branches(nn.Module):
    """Two branches, a skip, norms of three kinds, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.BatchNorm1d(6)  # defined first, called last
        self.unused = nn.BatchNorm1d(3)
        self.left, self.left_norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.right, self.right_norm = nn.Conv2d(2, 3, 1), BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        left = F.relu(self.left_norm(input=self.left(images)))
        right = self.right_norm(self.right(images)) + left
        both = torch.cat([left, right], dim=1)
        return self.last(self.dropout(both).mean(dim=(2, 3)))


def by_hand(network: Branches, images: Tensor) -> dict[str, Tensor]:
    """Every norm's population mean and variance, in float64, from the formula."""
    net, x = copy.deepcopy(network).double().eval(), images.double()

    def moments(sums: Tensor) -> tuple[Tensor, Tensor]:
        columns = sums.transpose(0, 1).flatten(1)
        return columns.mean(dim=1), (columns - columns.mean(dim=1)[:, None]).square().mean(dim=1)

    def normalized(sums: Tensor, norm: nn.Module) -> Tensor:
        mean, var = (v[:, None, None] for v in moments(sums))
        gamma, beta = norm.weight[:, None, None], norm.bias[:, None, None]
        return gamma * (sums - mean) / (var + norm.eps).sqrt() + beta

    left_sums, right_sums = net.left(x), net.right(x)
    left = normalized(left_sums, net.left_norm).relu()
    right = normalized(right_sums, net.right_norm) + left
    last = torch.cat([left, right], dim=1).mean(dim=(2, 3))
    seen = {"left_norm": left_sums, "right_norm": right_sums, "last": last}
    return {name: torch.stack(moments(sums)).detach() for name, sums in seen.items()}


def held(network: nn.Module) -> dict[str, Tensor]:
    """Mean and variance of every norm that tracks them."""
    return {
        name: torch.stack([module.running_mean, module.running_var]).double()
        for name, module in network.named_modules()
        if getattr(module, "running_mean", None) is not None
    }


def branches() -> Branches:
    network = Branches()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


@pytest.mark.parametrize("rows", [1, 7, 50, 1000])
def test_they_are_those_of_float64_however_the_rows_are_cut(rows: int) -> None:
    network, images = branches(), torch.randn(50, 2, 5, 4)
    expected = by_hand(network, images)
    set_population_statistics_by_passes(network, images.split(rows))
    found = held(network)
    for name, statistics in expected.items():
        torch.testing.assert_close(found[name], statistics, rtol=2e-5, atol=2e-5)
    assert found["unused"].tolist() == [[0, 0, 0], [1, 1, 1]], "never called: left alone"
    assert not any(module.training for module in network.modules())


def test_averaged_batch_statistics_are_not_it() -> None:
    """The control: the popular way gives something else for the last layer."""
    network, images = branches(), torch.randn(50, 2, 5, 4)
    expected = by_hand(network, images)
    for module in network.modules():
        if hasattr(module, "momentum"):
            module.momentum = None
    network.train()
    network.dropout.eval()
    for chunk in images.split(10):
        network(chunk)
    assert not torch.allclose(held(network)["last"], expected["last"], rtol=1e-2)


def test_offsets_are_no_trouble() -> None:
    network, images = nn.BatchNorm2d(1), torch.randn(500, 1, 6, 6) + 1e4
    set_population_statistics_by_passes(network, images.split(64))
    exact = images.double()
    assert float(network.running_mean) == pytest.approx(float(exact.mean()), rel=1e-6)
    assert float(network.running_var) == pytest.approx(float(exact.var(correction=0)), rel=1e-5)


def test_of_an_mlp_they_are_what_its_own_function_says() -> None:
    network = MLP([6, 5, 4, 3], norm=nn.BatchNorm1d, seed=1)
    other, rows = copy.deepcopy(network), torch.randn(300, 6)
    set_population_statistics(network, rows)
    set_population_statistics_by_passes(other, rows.split(64))
    found, expected = held(other), held(network)
    assert len(found) == 3
    for name, statistics in expected.items():
        torch.testing.assert_close(found[name], statistics, rtol=1e-5, atol=1e-6)


class Twice(nn.Module):
    """One norm that is called twice, and one that is called once."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.after = nn.BatchNorm1d(2, affine=False), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.norm(x) + self.norm(3 * x))


def test_of_a_layer_that_is_called_twice_the_calls_are_merged() -> None:
    network, x = Twice(), torch.randn(40, 2)
    set_population_statistics_by_passes(network, x.split(7))
    both = torch.cat([x, 3 * x]).double()
    expected = torch.stack([both.mean(dim=0), both.var(dim=0, correction=0)])
    torch.testing.assert_close(held(network)["norm"], expected, rtol=1e-5, atol=1e-6)
    sums = (network.norm(x) + network.norm(3 * x)).double()
    expected = torch.stack([sums.mean(dim=0), sums.var(dim=0, correction=0)])
    torch.testing.assert_close(held(network)["after"], expected, rtol=1e-5, atol=1e-6)


def test_a_layer_that_tracks_nothing_is_left_alone() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.BatchNorm1d(2))
    rows = 5 + 3 * torch.randn(40, 2)
    set_population_statistics_by_passes(network, rows.split(40))
    assert network[0].running_mean is None
    assert network[1].running_mean.abs().max() < 1e-5


class _FailingError(Exception):
    pass


def test_where_it_raises_on_the_way_nothing_has_changed() -> None:
    network, calls = branches(), 0
    with torch.no_grad():
        network.left_norm.running_mean += 7
    before = held(network)

    def failing(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise _FailingError

    handle = network.right.register_forward_pre_hook(failing)
    with pytest.raises(_FailingError):
        set_population_statistics_by_passes(network, torch.randn(50, 2, 5, 4).split(10))
    handle.remove()
    after = held(network)
    assert all(torch.equal(after[name], statistics) for name, statistics in before.items())
    assert not any(module._forward_pre_hooks for module in network.modules())
    calls = -100
    set_population_statistics_by_passes(network, torch.randn(50, 2, 5, 4).split(10))
    assert not torch.equal(held(network)["left_norm"], before["left_norm"]), "the control"


def test_a_network_without_batch_norm_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    set_population_statistics_by_passes(network, torch.randn(4, 2).split(2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_layers_own_pass_ends_where_it_has_been_seen() -> None:
    """So that k layers cost a pass and k of half the length on average, not k whole ones."""
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    passes = []
    network[3].register_forward_pre_hook(lambda *_: passes.append(1))
    set_population_statistics_by_passes(network, torch.randn(40, 2).split(4))
    assert len(passes) == 10, "the first look at what every batch calls"


# --- batches that call different layers, or one several times ---


def test_layers_that_do_not_see_their_own_answers_are_measured_again_once() -> None:
    """A pass to see who is called, one for each layer with all its calls, and one that agrees."""
    network, passes = Twice(), []
    network.register_forward_pre_hook(lambda *_: passes.append(1))
    set_population_statistics_by_passes(network, (5 + torch.randn(42, 2)).split(7))
    assert len(passes) == 6 * (1 + 2 + 1)


class ByDomain(nn.Module):
    """A norm for each domain, and one that all pass."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.BatchNorm1d(4)
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(4) for name in "abc"})
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor, domain: str) -> Tensor:
        return self.trunk(self.linear(self.norms[domain](x)).relu())


@pytest.mark.parametrize("domains", ["aabb", "baab", "abba"])
def test_a_layer_that_only_later_batches_call_is_set_before_those_behind_it(domains: str) -> None:
    network = ByDomain()
    batches = [(torch.randn(16, 4) + 9 * (domain == "b"), domain) for domain in domains]
    done = set_population_statistics_by_passes(
        network, batches, forward=lambda network, batch: network(*batch)
    )
    assert done[-1] is network.trunk
    assert len(done) == 3
    behind = []
    for domain in "ab":
        x = torch.cat([x for x, name in batches if name == domain]).double()
        mean, variance = x.mean(dim=0), x.var(dim=0, correction=0)
        found = held(network)[f"norms.{domain}"]
        torch.testing.assert_close(found, torch.stack([mean, variance]), rtol=1e-5, atol=1e-5)
        normalized = ((x - mean) / (variance + 1e-5).sqrt()).float()
        behind.append(network.linear(normalized).relu().double())
    rows = torch.cat(behind).detach()
    expected = torch.stack([rows.mean(dim=0), rows.var(dim=0, correction=0)])
    torch.testing.assert_close(held(network)["trunk"], expected, rtol=1e-4, atol=1e-5)
    assert held(network)["norms.c"].tolist() == [[0] * 4, [1] * 4], "never called: left alone"


class Recurrent(nn.Module):
    """One norm in every step; of sums that hold what it made of the step before, if `deep`."""

    def __init__(self, *, deep: bool) -> None:
        super().__init__()
        self.deep, self.norm = deep, nn.BatchNorm1d(4)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[:, 0])
        for step in x.unbind(dim=1):
            state = self.norm(step + self.linear(state).tanh() * self.deep)
        return state


@pytest.mark.parametrize("lengths", [(1, 4, 4), (4, 1, 4)])
def test_all_steps_of_all_batches_count_whatever_the_first_batch_has(
    lengths: tuple[int, ...],
) -> None:
    network = Recurrent(deep=False)
    batches = [torch.randn(16, n, 4) + 5 * torch.arange(n)[:, None] for n in lengths]
    set_population_statistics_by_passes(network, batches)
    steps = torch.cat([batch.flatten(0, 1) for batch in batches]).double()
    expected = torch.stack([steps.mean(dim=0), steps.var(dim=0, correction=0)])
    torch.testing.assert_close(held(network)["norm"], expected, rtol=1e-5, atol=1e-5)


def test_a_layer_that_is_given_its_own_answers_gets_the_statistics_that_agree() -> None:
    network, batches = Recurrent(deep=True), (3 + torch.randn(60, 5, 4)).split(20)
    norm = network.norm
    with torch.no_grad():
        norm.running_mean += 1
    assert _worst(network, batches) > 0.1, "the control: those of a pass with others in place"
    set_population_statistics_by_passes(network, batches)
    assert _worst(network, batches) < 1e-3


def _worst(network: Recurrent, batches: tuple[Tensor, ...]) -> float:
    """How far the means are from those of what the layer is given, in deviations."""
    norm = network.norm
    with input_moments([norm]) as seen, torch.no_grad():
        for batch in batches:
            network.eval()(batch)
    deviation = (seen[0].population_variance + norm.eps).sqrt()
    return float(((norm.running_mean.double() - seen[0].mean) / deviation).abs().max())
