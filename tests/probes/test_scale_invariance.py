"""L(αw) = L(w) in front of a norm, and where it breaks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normscope.probes._scale_invariance import ScaleInvariance
from tests.probes.moments import batch_norm, convolutional, images, read, rows, small, step_of


def layer_norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-14)


@pytest.mark.parametrize("norm", [batch_norm, layer_norm])
def test_in_front_of_a_norm_the_scale_does_not_count(norm: type[nn.Module]) -> None:
    seen = read(ScaleInvariance(), step_of(small(norm=norm), *rows(20, 8)))
    assert seen["0", "loss-change"].value < 1e-10
    assert abs(seen["0", "cosine"].value) < 1e-10


def test_elsewhere_it_does() -> None:
    seen = read(ScaleInvariance(), step_of(small(norm=batch_norm), *rows(20, 8)))
    assert seen["3", "loss-change"].value > 0.01
    assert abs(seen["3", "cosine"].value) > 0.001
    assert ("3", "variance-over-eps") not in seen


def test_in_front_of_the_norm_of_a_convolution() -> None:
    seen = read(ScaleInvariance(), step_of(convolutional(), *images()))
    assert seen["0", "loss-change"].value < 1e-10
    assert seen["3", "loss-change"].value > 0.001


def test_the_changes_are_those_of_a_network_that_was_scaled() -> None:
    x, labels = rows(20, 8)
    network = small(norm=None)
    moment = step_of(network, x, labels)
    scaled = copy.deepcopy(network)
    scaled[0].weight.data *= 2
    scaled[0].bias.data *= 2
    losses = [float(F.cross_entropy(each(x), labels).detach()) for each in (network, scaled)]
    expected = abs(losses[1] - losses[0]) / losses[0]
    assert read(ScaleInvariance(), moment)["0", "loss-change"].value == pytest.approx(expected)


def test_the_cosine_is_that_of_autograd() -> None:
    x, labels = rows(20, 8)
    network = small(norm=None)
    value = read(ScaleInvariance(), step_of(network, x, labels))["0", "cosine"].value
    parameters = [network[0].weight, network[0].bias]
    gradients = torch.autograd.grad(F.cross_entropy(network(x), labels), parameters)
    w, g = (torch.cat([each.detach().flatten() for each in of]) for of in (parameters, gradients))
    assert value == pytest.approx(float(F.cosine_similarity(w, g, dim=0)), rel=1e-6)
    assert abs(value) > 0.01


def test_an_eps_as_large_as_the_variance_breaks_it() -> None:
    network = small(norm=lambda width: nn.BatchNorm1d(width, eps=0.5))
    x, labels = rows(20, 8)
    moment = step_of(network, x, labels)
    seen = read(ScaleInvariance(), moment)
    z = network[0](x).detach().numpy()
    assert seen["0", "variance-over-eps"].value == pytest.approx(z.var(0).min() / 0.5)
    assert seen["0", "variance-over-eps"].values[4] == pytest.approx(z.var(0).max() / 0.5)
    assert seen["0", "loss-change"].value > 1e-4


def test_a_loss_of_zero_has_no_relative_change() -> None:
    network = small(norm=batch_norm)
    x, labels = rows(20, 8)
    moment = step_of(network, x, labels)
    object.__setattr__(moment, "loss", lambda n: 0 * n(x).sum())
    assert torch.tensor(read(ScaleInvariance(), moment)["0", "loss-change"].value).isnan()
