"""Growth of activations and gradients with depth."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normscope.probes._depth_growth import DepthGrowth
from tests.probes.moments import (
    batch_norm,
    convolutional,
    images,
    read,
    rows,
    small,
    step_of,
    still,
)


def test_against_gradients_that_are_carried_back_by_hand() -> None:
    x, labels = rows(20, 8)
    network = small(norm=None)
    moment = step_of(network, x, labels)
    seen = read(DepthGrowth(), moment)
    z = network[0](x).detach()
    logits = network[3](z.relu())
    last = (F.softmax(logits, 1) - F.one_hot(labels, 3)).detach() / len(x)
    first = (last @ network[3].weight.detach()) * (z > 0)
    assert seen["0", "mean"].value == pytest.approx(float(z.mean()))
    assert seen["0", "deviation"].value == pytest.approx(z.numpy().std())
    assert seen["3", "gradient"].value == pytest.approx(float(last.norm()))
    assert seen["0", "gradient"].value == pytest.approx(float(first.norm()))
    assert seen["0", "gradient-growth"].value == pytest.approx(float(first.norm() / last.norm()))
    assert ("3", "gradient-growth") not in seen
    expected = float(moment.gradients["0.weight"].norm())
    assert seen["0", "weight-gradient"].value == pytest.approx(expected)


def test_of_a_convolution_all_places_count() -> None:
    network, (x, labels) = convolutional(), images()
    seen = read(DepthGrowth(), step_of(network, x, labels))
    z = network[0](x).detach().numpy()
    assert seen["0", "deviation"].value == pytest.approx(z.std())


def test_a_gradient_of_zero_has_no_growth() -> None:
    network, (x, _) = small(norm=None), rows(20, 8)
    seen = read(DepthGrowth(), still(network, lambda n: 0 * n(x).sum()))
    assert seen["0", "gradient"].value == 0
    assert ("0", "gradient-growth") not in seen


def growths(*, norm: bool) -> np.ndarray:
    """``[networks, layers]``: two networks of six layers of width 256 with He's weights."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for _ in range(6):
            linear = nn.Linear(256, 256, bias=False)
            nn.init.kaiming_normal_(linear.weight)
            layers += [linear, batch_norm(256) if norm else nn.Identity(), nn.ReLU()]
        x, weights = torch.randn(256, 256), torch.randn(256, 256)
        network = nn.Sequential(*layers)
        moment = still(network, lambda n, x=x, weights=weights: (n(x) * weights).mean())
        readings = DepthGrowth().read(moment)
        found.append([r.value for r in readings if r.quantity == "gradient-growth"])
    return np.array(found)


def test_in_wide_nets_of_batch_norm_and_relu_squared_gradients_grow_by_pi_over_pi_less_1() -> None:
    """Right for infinite width and batch; at 256 of both it is 1.214 in the mean over 80 layers.

    One layer's growth has a deviation of 0.009, the mean of five in one network 0.006, so that the
    bound is about three deviations of what is measured away. The first layer's sums have variance 2
    where the others' have 1 − 1/π, since its inputs are no outputs of a ReLU: its growth is 1/√2.
    """
    found = growths(norm=True)
    assert found[:, 1:].mean() == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.012)
    assert found[:, 0].mean() == pytest.approx(math.sqrt(0.5), rel=0.03)


def test_without_a_norm_they_do_not() -> None:
    assert growths(norm=False).mean() == pytest.approx(1, rel=0.04)
