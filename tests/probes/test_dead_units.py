"""Units that are off, or on, for every example."""

import pytest
import torch
from torch import nn

from normscope.probes._dead_units import DeadUnits
from tests.probes.moments import batch_norm, convolutional, images, read, rows, small, still


def planted(*, inplace: bool = False) -> tuple[nn.Sequential, torch.Tensor]:
    """Of six units two are never positive, and one always is."""
    network = small(norm=None)
    network[2] = nn.ReLU(inplace=inplace)
    network[0].bias.data = torch.tensor([-100.0, -100.0, 100.0, 0.0, 0.0, 0.0]).double()
    return network, rows(50, 8)[0]


@pytest.mark.parametrize("inplace", [False, True])
def test_planted_units_are_counted(inplace: bool) -> None:
    network, x = planted(inplace=inplace)
    seen = read(DeadUnits(), still(network, lambda n: n(x).square().sum()))
    assert seen["0", "never-positive"].value == pytest.approx(2 / 6)
    assert seen["0", "always-positive"].value == pytest.approx(1 / 6)


def test_a_dead_unit_is_unheard_and_a_batch_norm_revives_it() -> None:
    network, x = planted()
    seen = read(DeadUnits(), still(network, lambda n: n(x).square().sum()))
    assert seen["0", "unheard"].value == pytest.approx(2 / 6)
    network[1] = batch_norm(6).double()
    seen = read(DeadUnits(), still(network, lambda n: n(x).square().sum()))
    assert seen["0", "never-positive"].value == 0
    assert seen["0", "always-positive"].value == 0
    assert seen["0", "unheard"].value == 0


def test_what_a_leaky_unit_says_is_heard() -> None:
    network, x = planted()
    network[2] = nn.LeakyReLU()
    seen = read(DeadUnits(), still(network, lambda n: n(x).square().sum()))
    assert seen["0", "never-positive"].value == pytest.approx(2 / 6)
    assert seen["0", "unheard"].value == 0


def test_a_saturated_sigmoid_is_unheard() -> None:
    network, x = planted()
    network[2] = nn.Sigmoid()
    network[0].bias.data *= 10  # a derivative of e⁻¹⁰⁰⁰
    seen = read(DeadUnits(), still(network, lambda n: n(x).square().sum()))
    assert seen["0", "unheard"].value == pytest.approx(3 / 6)


def test_a_channel_is_dead_where_every_place_is() -> None:
    network, (x, _) = convolutional(), images()
    network = nn.Sequential(network[0], nn.ReLU())
    network[0].bias.data = torch.tensor([-100.0, 100.0, 0.0, 0.0]).double()
    seen = read(DeadUnits(), still(network, lambda n: n(x).sum()))
    shares = [seen["0", q].value for q in ("never-positive", "always-positive", "unheard")]
    assert shares == [0.25, 0.25, 0.25]


def test_a_nan_is_neither_on_nor_off() -> None:
    network, x = planted()
    network[0].weight.data[0] = torch.nan
    seen = read(DeadUnits(), still(network, lambda n: n(x).sum()))
    assert seen["0", "never-positive"].value == pytest.approx(1 / 6)
