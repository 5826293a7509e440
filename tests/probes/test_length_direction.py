"""Radial against tangential, length against direction."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from normscope.probes._length_direction import LengthDirection
from tests.probes.moments import batch_norm, made_up, read, rows, small, step_of


def test_the_parts_against_a_projection_by_hand() -> None:
    network = small(norm=batch_norm)
    adam = torch.optim.Adam(network.parameters(), 0.05)
    moment = step_of(network, *rows(20, 8), adam)
    seen = read(LengthDirection(), moment)
    w = moment.before["0.weight"].numpy()
    after = moment.after["0.weight"].numpy()
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    d = after - w
    along = (d * unit).sum(1, keepdims=True) * unit
    lengths = np.linalg.norm(w, axis=1)
    of_rows = {
        "radial-share": (along**2).sum(1) / (d**2).sum(1),
        "tangential-step": np.linalg.norm(d - along, axis=1) / lengths,
        "length-step": abs(np.linalg.norm(after, axis=1) - lengths) / lengths,
    }
    for quantity, each in of_rows.items():
        expected = np.quantile(each, (0, 0.15, 0.5, 0.85, 1))
        assert seen["0", quantity].values == pytest.approx(expected)


def test_gamma_is_the_length_of_a_normalized_layer() -> None:
    moment = step_of(small(norm=batch_norm), *rows(20, 8))
    before, after = moment.before["1.weight"].numpy(), moment.after["1.weight"].numpy()
    seen = read(LengthDirection(), moment)["1", "length-step"]
    expected = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert seen.value == pytest.approx(expected)
    assert ("1", "radial-share") not in read(LengthDirection(), moment)


def test_under_sgd_nothing_is_radial_in_front_of_a_batch_norm() -> None:
    seen = read(LengthDirection(), step_of(small(norm=batch_norm), *rows(20, 8)))
    assert max(seen["0", "radial-share"].values) < 1e-20
    assert seen["3", "radial-share"].value > 1e-5  # behind which there is no norm


def test_weight_decay_is_radial() -> None:
    """In closed form: a gradient of 0 and a decay of λ shrink w by ηλ, and turn nothing."""
    network = nn.Sequential(nn.Linear(4, 3, bias=False)).double()
    before = network[0].weight.detach().clone()
    network[0].weight.data *= 0.9
    moment = made_up({"0.weight": before}, network, {"0.weight": torch.zeros_like(before)})
    seen = read(LengthDirection(), moment)
    assert seen["0", "radial-share"].value == pytest.approx(1)
    assert seen["0", "radial-step"].value == pytest.approx(-0.1)
    assert seen["0", "length-step"].value == pytest.approx(0.1)
    assert seen["0", "direction-step"].value == pytest.approx(0, abs=1e-8)


def test_of_a_random_step_one_nth_is_radial() -> None:
    """Over 4000 rows of 20 inputs: 1/20, with a standard error of 0.001."""
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(4000, 20, generator=generator)
    network = nn.Sequential(nn.Linear(20, 4000, bias=False))
    network[0].weight.data = before + torch.randn(4000, 20, generator=generator)
    moment = made_up({"0.weight": before}, network, {"0.weight": before})
    seen = read(LengthDirection(), moment)["0", "radial-share"]
    beta = torch.distributions.Beta(torch.tensor(0.5), torch.tensor(9.5))  # of a squared cosine
    shares = beta.sample((100_000,))
    assert float(shares.mean()) == pytest.approx(1 / 20, abs=0.002)
    assert seen.values[2] == pytest.approx(float(shares.median()), abs=0.003)


def test_a_small_change_of_length_is_not_lost() -> None:
    network = nn.Sequential(nn.Linear(2, 1, bias=False)).double()
    before = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    network[0].weight.data = before * (1 + 2**-40)
    seen = read(LengthDirection(), made_up({"0.weight": before}, network, {"0.weight": before}))
    assert seen["0", "length-step"].value == pytest.approx(2**-40, rel=1e-9, abs=0)


def test_zeros_have_no_parts() -> None:
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    zeros = {"0.weight": torch.zeros(1, 2)}
    seen = read(LengthDirection(), made_up(zeros, network, zeros))
    assert math.isnan(seen["0", "radial-share"].value)
