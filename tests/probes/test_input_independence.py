"""Whether all examples push a unit the same way."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from normscope.probes._input_independence import InputIndependence, independence
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


def test_against_gradients_by_hand() -> None:
    x, labels = rows(20, 8)
    network = small(norm=None)
    moment = step_of(network, x, labels)
    last = F.softmax(network(x), 1).detach() - F.one_hot(labels, 3)
    expected = [
        abs(sum(float(g) for g in column)) / sum(abs(float(g)) for g in column) for column in last.T
    ]
    seen = read(InputIndependence(), moment)["3", "normalized"]
    assert seen.value == pytest.approx(np.mean(expected))
    assert seen.values == pytest.approx(np.quantile(expected, (0, 0.15, 0.5, 0.85, 1)))


def test_where_all_examples_say_the_same_it_is_1() -> None:
    network, (x, _) = small(norm=None), rows(20, 8)
    seen = read(InputIndependence(), still(network, lambda n: n(x).sum()))
    assert seen["3", "normalized"].value == pytest.approx(1)
    assert seen["0", "normalized"].value == pytest.approx(1)  # a ReLU lets some through, or none


def test_a_batch_norm_takes_out_what_all_examples_share() -> None:
    x, labels = rows(20, 8)
    seen = read(InputIndependence(), step_of(small(norm=batch_norm), x, labels))
    assert seen["0", "sums"].value < 1e-12
    assert seen["0", "normalized"].value > 0.01  # behind it, nothing is taken out
    without = read(InputIndependence(), step_of(small(norm=None), x, labels))
    assert without["0", "normalized"].value > 0.01
    assert ("0", "sums") not in without


def test_signs_at_random_cancel_like_one_over_the_root_of_n() -> None:
    """E|Σ ±1|/n is √(2/(πn)); over 4000 units with a standard error of 0.0008."""
    signs = torch.randint(2, (225, 4000), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    assert float(independence(signs).mean()) == pytest.approx((2 / np.pi / 225) ** 0.5, abs=0.003)


def test_places_of_an_example_are_summed_first() -> None:
    """Of every example one place pushes up, and one down by as much: there is no push."""
    network, (x, _) = convolutional(), images()
    weights = torch.zeros(len(x), 4, 3, 3, dtype=torch.float64)
    weights[:, :, 0, 0], weights[:, :, 1, 1] = 1.0, -1.0 + 1e-3 * torch.randn(len(x), 1).sign()
    seen = read(InputIndependence(), still(network[:1], lambda n: (n(x) * weights).sum()))
    pushes = weights[:, 0].sum((1, 2))
    expected = float(pushes.sum().abs() / pushes.abs().sum())
    assert seen["0", "normalized"].value == pytest.approx(expected, abs=1e-9)
    assert seen["0", "normalized"].value < 0.9


def test_units_without_a_gradient_are_left_out() -> None:
    network, (x, _) = small(norm=None), rows(20, 8)
    network[3].weight.data[:, 0] = 0
    seen = read(InputIndependence(), still(network, lambda n: n(x).sum()))
    assert seen["0", "normalized"].value == pytest.approx(1)
