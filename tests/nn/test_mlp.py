"""The article's network: its parametrizations, and exact population statistics."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import config
from torch import nn

from normscope._errors import InputError
from normscope.nn import MLP, BatchNorm, ScaledLinear, plain_linear, set_population_statistics
from tests.oracles.mlp import forward_by_hand, population_statistics_by_hand


def batch_norm(width: int) -> BatchNorm:
    return BatchNorm(width, eps=1e-10, running_variance="population")


def test_the_articles_widths_and_no_biases() -> None:
    network = MLP([784, 1000, 500, 250, 250, 250, 10], norm=batch_norm)
    shapes = [tuple(layer.linear.weight.shape) for layer in network.layers]
    assert shapes == [(1000, 784), (500, 1000), (250, 500), (250, 250), (250, 250), (10, 250)]
    assert all(layer.linear.bias is None for layer in network.layers)
    assert all(layer.norm.weight.eq(1).all() for layer in network.layers)


def test_images_are_taken_as_they_are() -> None:
    network = MLP([12, 5, 3])
    images = torch.randn(7, 4, 3)
    assert torch.equal(network(images), network(images.reshape(7, 12)))


def test_without_a_norm_every_layer_has_a_bias_of_zero() -> None:
    for scaled in (True, False):
        network = MLP([4, 3, 2], norm=None, scaled_weights=scaled)
        assert all(layer.linear.bias.eq(0).all() for layer in network.layers)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("norm", [None, batch_norm, lambda w: nn.LayerNorm(w, eps=1e-10)])
def test_forward_equals_the_derivation_by_hand(norm, scaled: bool) -> None:
    network = MLP([5, 7, 6, 3], norm=norm, scaled_weights=scaled, seed=3).double()
    x = torch.randn(11, 5, dtype=torch.float64)
    torch.testing.assert_close(network(x), forward_by_hand(network, x), rtol=1e-10, atol=1e-12)


def test_both_parametrizations_start_as_the_same_function() -> None:
    scaled, plain = (MLP([20, 30, 5], scaled_weights=flag, seed=4) for flag in (True, False))
    x = torch.randn(8, 20)
    torch.testing.assert_close(scaled(x), plain(x), rtol=1e-5, atol=1e-6)


def test_and_learn_differently_under_adam() -> None:
    """The article's trap: the same rate moves the acting weights by 1/sqrt(fan-in) of it."""
    x, moved = torch.randn(64, 100), {}
    for name, make in (("scaled", ScaledLinear), ("plain", plain_linear)):
        layer = make(100, 8, bias=False, generator=torch.Generator().manual_seed(0))
        scale = getattr(layer, "scale", 1.0)
        before = layer.weight.detach() * scale
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
        layer(x).square().sum().backward()
        optimizer.step()
        moved[name] = (layer.weight.detach() * scale - before).abs().mean().item()
    assert moved["plain"] == pytest.approx(0.02, rel=1e-3)
    assert moved["scaled"] == pytest.approx(0.02 / math.sqrt(100), rel=1e-3)


def test_weights_have_the_stated_deviation() -> None:
    n = 400 * 300
    master = MLP([400, 300], scaled_weights=True).layers[0].linear.weight
    plain = MLP([400, 300], scaled_weights=False).layers[0].linear.weight
    tolerance = 5 / math.sqrt(2 * n)  # five standard errors of a deviation
    assert master.std().item() == pytest.approx(1, rel=tolerance)
    assert plain.std().item() == pytest.approx(1 / 20, rel=tolerance)


def test_the_seed_decides_the_weights_and_nothing_else_does() -> None:
    one, again, other = (
        MLP([4, 3], seed=1),
        MLP([4, 3], norm=batch_norm, seed=1),
        MLP([4, 3], seed=2),
    )
    assert torch.equal(one.layers[0].linear.weight, again.layers[0].linear.weight)
    assert not torch.equal(one.layers[0].linear.weight, other.layers[0].linear.weight)


def test_one_width_is_no_network() -> None:
    with pytest.raises(InputError, match=r"widths.*\[4\]"):
        MLP([4])


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_population_statistics_equal_the_float64_derivation(offset: float) -> None:
    network = MLP([6, 40, 30, 4], norm=batch_norm, seed=1)
    images = torch.randn(10_001, 6) + offset  # in chunks, the last a short one
    expected = population_statistics_by_hand(network, images)
    set_population_statistics(network, images)
    for layer, (mean, variance) in zip(network.layers, expected, strict=True):
        deviation = variance.sqrt()
        error = ((layer.norm.running_mean - mean).abs() / deviation).max()
        assert error < (5e-3 if offset else 1e-4)
        torch.testing.assert_close(
            layer.norm.running_var.double(), variance, rtol=1e-2 if offset else 1e-4, atol=0
        )


@pytest.mark.parametrize(
    "norm", [batch_norm, nn.BatchNorm1d, lambda width: nn.BatchNorm1d(width, affine=False)]
)
def test_population_statistics_are_those_of_what_every_norm_is_given(norm) -> None:
    network = MLP([6, 40, 30, 4], norm=norm, seed=1)
    given = {}
    for layer in network.layers:
        layer.norm.register_forward_pre_hook(lambda m, x: given.__setitem__(m, x[0].double()))
        if layer.norm.affine:
            nn.init.normal_(layer.norm.weight)  # negative factors among them
            nn.init.normal_(layer.norm.bias)
    images = torch.randn(3000, 6)
    set_population_statistics(network, images)
    network(images)
    for layer in network.layers:
        sums = given[layer.norm]
        variance = sums.var(0, correction=0).float()
        torch.testing.assert_close(layer.norm.running_mean, sums.mean(0).float())
        torch.testing.assert_close(layer.norm.running_var, variance)


def test_layer_by_layer_is_not_what_averaging_batches_gives() -> None:
    """The control: `update_bn`'s statistics of a deep layer are others."""
    network = MLP([6, 40, 30, 4], norm=batch_norm, seed=1)
    images = torch.randn(600, 6)
    exact = [variance for _, variance in population_statistics_by_hand(network, images)]
    torch.optim.swa_utils.update_bn(images.split(10), network)
    averaged = network.layers[-1].norm.running_var.double()
    assert ((averaged - exact[-1]).abs() / exact[-1]).max() > 0.02
    set_population_statistics(network, images)
    torch.testing.assert_close(
        network.layers[-1].norm.running_var.double(), exact[-1], rtol=1e-4, atol=0
    )


def test_population_statistics_pass_networks_without_batch_norm_by() -> None:
    network = MLP([6, 5, 4], norm=nn.LayerNorm)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    set_population_statistics(network, torch.randn(20, 6))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


class Doubled(ScaledLinear):
    """A class of somebody's own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_population_statistics_call_a_linear_map_of_another_class() -> None:
    network = MLP([6, 5], norm=batch_norm)
    network.layers[0].linear.__class__ = Doubled
    images = torch.randn(50, 6)
    set_population_statistics(network, images)
    expected = network.layers[0].linear(images).mean(dim=0)
    torch.testing.assert_close(network.layers[0].norm.running_mean, expected)


def test_population_statistics_leave_the_images_alone() -> None:
    network = MLP([6, 5, 4], norm=lambda width: nn.Identity() if width == 5 else batch_norm(width))
    images = torch.randn(50, 6)
    before = images.clone()
    set_population_statistics(network, images)
    assert torch.equal(images, before)


def test_population_statistics_of_no_rows_are_refused() -> None:
    network = MLP([6, 5], norm=batch_norm)
    with pytest.raises(InputError, match="no elements"):
        set_population_statistics(network, torch.zeros(0, 6))


def test_a_numpy_array_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user without shape checks
    network, images = MLP([36, 5, 3]), np.zeros((4, 6, 6), np.float32)
    with pytest.raises(InputError, match=r"NumPy array; pass torch.from_numpy\(images\)"):
        network(images)
    assert network(torch.from_numpy(images)).shape == (4, 3)
