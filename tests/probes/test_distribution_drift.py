"""Bands of pre-activations, and how far they have moved."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from normscope.probes._distribution_drift import DistributionDrift
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


def test_the_drift_against_quartiles_by_hand() -> None:
    x, labels = rows(40, 8)
    network, probe = small(norm=batch_norm), DistributionDrift()
    z: list[np.ndarray] = []
    for number in (1, 2):
        seen = read(probe, step_of(network, x, labels, number=number))
        z.append(network[0](x).detach().numpy())
    low, middle, high = np.quantile(z[0], (0.25, 0.5, 0.75), axis=0)
    each = abs(np.median(z[1], axis=0) - middle) / (high - low)
    assert seen["0", "sums-drift"].value == pytest.approx(each.mean())
    assert seen["0", "sums-drift"].values == pytest.approx(
        np.quantile(each, (0, 0.15, 0.5, 0.85, 1))
    )
    assert seen["0", "sums-band"].values == pytest.approx(
        np.percentile(z[1], (15, 50, 85)), rel=1e-4
    )


def test_a_shift_of_known_size() -> None:
    """Integers 0 … 100 have quartiles 25 and 75; all moved by 10, they drift by 10/50."""
    network = nn.Sequential(nn.Linear(1, 1)).double()
    network[0].weight.data.fill_(1.0)
    x = torch.arange(101.0, dtype=torch.float64)[:, None]
    probe, moment = DistributionDrift(), still(network, lambda n: n(x).mean())
    first = read(probe, moment)
    assert ("0", "sums-drift") not in first  # nothing to compare with
    network[0].bias.data += 10
    moved = read(probe, dataclasses.replace(moment, step=1))
    assert moved["0", "sums-drift"].value == pytest.approx(0.2)
    at_rest = read(probe, dataclasses.replace(moment, step=2))
    assert at_rest["0", "sums-drift"].value == 0


def test_a_batch_norm_takes_a_shift_of_its_inputs_out() -> None:
    network, probe = small(norm=batch_norm), DistributionDrift()
    x, _ = rows(40, 8)
    moment = still(network, lambda n: n(x).mean())
    read(probe, moment)
    network[0].bias.data += 5
    seen = read(probe, dataclasses.replace(moment, step=1))
    assert seen["0", "sums-drift"].value > 1
    assert seen["0", "normalized-drift"].value < 1e-12


def test_units_without_spread_are_left_out_while_they_rest() -> None:
    network, probe = small(norm=None), DistributionDrift()
    network[0].weight.data[0] = 0
    x, _ = rows(40, 8)
    moment = still(network, lambda n: n(x).mean())
    read(probe, moment)
    assert read(probe, dataclasses.replace(moment, step=1))["0", "sums-drift"].value == 0


def test_every_place_of_a_convolution_counts() -> None:
    network, (x, labels) = convolutional(), images()
    seen = read(DistributionDrift(), step_of(network, x, labels))
    z = network[0](x).detach().numpy()
    assert seen["0", "sums-band"].value == pytest.approx(np.median(z), rel=1e-4)
    assert ("3", "normalized-band") not in seen  # no norm behind
