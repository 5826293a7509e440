"""Stable ranks, and what is known of them over depth."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from normscope.probes._stable_rank import StableRank, stable_rank
from tests.probes.moments import batch_norm, convolutional, images, read, rows, small, still


def by_singular_values(h: np.ndarray) -> float:
    squares = np.linalg.svd(h, compute_uv=False) ** 2
    return float(squares.sum() ** 2 / (squares**2).sum())


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_against_singular_values(shape: tuple[int, int]) -> None:
    h = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double() + 0.3
    assert stable_rank(h) == pytest.approx(by_singular_values(h.numpy()))


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_directions_that_share_alike_count_each(rank: int) -> None:
    basis, _ = torch.linalg.qr(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)))
    assert stable_rank(basis[:, :rank]) == pytest.approx(rank, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_scale_does_not_count(scale: float) -> None:
    assert stable_rank(torch.eye(3) * scale) == pytest.approx(3)


def test_nothing_has_no_rank() -> None:
    assert math.isnan(stable_rank(torch.zeros(3, 4)))
    assert math.isnan(stable_rank(torch.full((3, 4), math.nan)))


def test_of_sums_and_of_what_a_norm_makes_of_them() -> None:
    network, (x, _) = small(norm=batch_norm), rows(30, 8)
    network[0].bias.data += 5  # a mean that all rows share is one direction; a batch norm takes it
    seen = read(StableRank(), still(network, lambda n: n(x).mean()))
    z = network[0](x).detach()
    assert seen["0", "sums"].value == pytest.approx(by_singular_values(z.numpy()))
    expected = by_singular_values(network[1](z).detach().numpy())
    assert seen["0", "normalized"].value == pytest.approx(expected)
    assert seen["0", "normalized"].value > 2 * seen["0", "sums"].value
    assert ("3", "normalized") not in seen


def test_places_of_a_convolution_are_rows() -> None:
    network, (x, _) = convolutional(), images(4)
    z = network[0](x).detach().movedim(1, -1).reshape(-1, 4).numpy()
    seen = read(StableRank(), still(network, lambda n: n(x).mean()))
    assert seen["0", "sums"].value == pytest.approx(by_singular_values(z))


def ranks(*, norm: bool) -> list[float]:
    """At depths 1, 6 and 11 of a network of width 256 with He's weights, of 256 random rows."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(11):
        linear = nn.Linear(256, 256, bias=False)
        nn.init.kaiming_normal_(linear.weight)
        layers += [linear, nn.BatchNorm1d(256) if norm else nn.Identity(), nn.ReLU()]
    x = torch.randn(256, 256)
    seen = StableRank().read(still(nn.Sequential(*layers), lambda n: n(x).mean()))
    values = [reading.value for reading in seen if reading.quantity == "sums"]
    return [values[depth - 1] for depth in (1, 6, 11)]


def test_ranks_over_depth() -> None:
    """Without a norm they fall towards 1; with one they stay near 9, half the root of the width.

    Means over eight networks of this set-up, and deviations: 85.2 ± 0.5 at depth 1, 1.87 ± 0.08 at
    6 and 1.32 ± 0.10 at 11 without; 85.2 ± 0.5, 9.1 ± 1.5 and 8.6 ± 1.1 with. Bounds are three
    deviations away.
    """
    first, sixth, eleventh = ranks(norm=False)
    assert first == pytest.approx(85.2, abs=1.5)
    assert sixth == pytest.approx(1.87, abs=0.25)
    assert eleventh == pytest.approx(1.32, abs=0.3)
    first, sixth, eleventh = ranks(norm=True)
    assert first == pytest.approx(85.2, abs=1.5)
    assert sixth == pytest.approx(9.1, abs=4.5)
    assert eleventh == pytest.approx(8.6, abs=3.5)
