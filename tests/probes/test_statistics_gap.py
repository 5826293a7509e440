"""Running statistics beside exact ones."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normscope.probes._statistics_gap import StatisticsGap
from tests.probes.moments import batch_norm, convolutional, images, read, rows, small, step_of


def with_statistics(network: nn.Sequential, path: int, x: torch.Tensor) -> nn.Sequential:
    """A copy, whose batch norm has the statistics of `x`."""
    other = copy.deepcopy(network).eval()
    other[path].running_mean = x.mean(0)
    other[path].running_var = x.var(0)
    return other


def test_against_statistics_by_hand() -> None:
    network, (x, labels) = small(norm=batch_norm), rows(30, 8)
    seen = read(StatisticsGap(), step_of(network, x, labels))
    z = network[0](x).detach().numpy()
    deviation = z.std(0, ddof=1)
    running = network[1].running_mean.numpy(), network[1].running_var.numpy()
    distances = abs(running[0] - z.mean(0)) / deviation
    ratios = np.log(np.sqrt(running[1]) / deviation)
    quantiles = (0, 0.15, 0.5, 0.85, 1)
    assert seen["1", "mean-distance"].value == pytest.approx(distances.mean())
    assert seen["1", "mean-distance"].values == pytest.approx(np.quantile(distances, quantiles))
    assert seen["1", "deviation-ratio"].value == pytest.approx(abs(ratios).mean())
    assert seen["1", "deviation-ratio"].values == pytest.approx(np.quantile(ratios, quantiles))


def test_what_it_costs_is_what_putting_exact_statistics_in_saves() -> None:
    network, (x, labels) = small(norm=batch_norm), rows(30, 8)
    seen = read(StatisticsGap(), step_of(network, x, labels))
    exact = with_statistics(network, 1, network[0](x).detach())
    losses = [
        float(F.cross_entropy(each(x), labels).detach())
        for each in (copy.deepcopy(network).eval(), exact)
    ]
    assert seen["1", "loss-gap"].value == pytest.approx(losses[0] - losses[1])
    assert seen["", "loss-gap"].value == pytest.approx(losses[0] - losses[1])
    assert abs(losses[0] - losses[1]) > 1e-3


def test_exact_running_statistics_have_no_gap() -> None:
    network, (x, labels) = small(norm=batch_norm), rows(30, 8)
    moment = step_of(network, x, labels)
    exact = with_statistics(network, 1, network[0](x).detach())
    network[1].load_state_dict(exact[1].state_dict())
    for reading in read(StatisticsGap(), moment).values():
        assert reading.value == pytest.approx(0, abs=1e-12)


def test_a_planted_gap_is_found_in_its_layer() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(8, 6), batch_norm(6), nn.ReLU(), nn.Linear(6, 6), batch_norm(6), nn.Linear(6, 3)
    ).double()
    x, labels = rows(60, 8)
    moment = step_of(network, x, labels)
    for _ in range(200):
        network(x)  # until the running statistics are those of the rows
    assert read(StatisticsGap(), moment)["", "loss-gap"].value == pytest.approx(0, abs=1e-5)
    network[4].running_mean += 3 * network[4].running_var.sqrt()
    seen = read(
        StatisticsGap(), step_of(network, x, labels, torch.optim.SGD(network.parameters(), 0))
    )
    assert seen["4", "mean-distance"].value > 2
    assert seen["1", "mean-distance"].value < 0.01
    assert seen["4", "loss-gap"].value > 0.1
    assert abs(seen["1", "loss-gap"].value) < 0.01


def test_dropout_is_off() -> None:
    network, (x, labels) = small(norm=batch_norm), rows(30, 8)
    dropped = nn.Sequential(nn.Dropout(0.5), *network)
    moment = step_of(dropped, x, labels)
    z = dropped[1](x).detach().numpy()
    running = dropped[2].running_mean.numpy()
    expected = (abs(running - z.mean(0)) / z.std(0, ddof=1)).mean()
    assert read(StatisticsGap(), moment)["2", "mean-distance"].value == pytest.approx(expected)


def test_channels_of_a_convolution() -> None:
    network, (x, labels) = convolutional(), images()
    seen = read(StatisticsGap(), step_of(network, x, labels))
    z = network[0](x).detach().movedim(1, -1).reshape(-1, 4).numpy()
    distances = abs(network[1].running_mean.numpy() - z.mean(0)) / z.std(0, ddof=1)
    assert seen["1", "mean-distance"].value == pytest.approx(distances.mean())


@pytest.mark.parametrize("norm", [None, lambda w: nn.BatchNorm1d(w, track_running_stats=False)])
def test_there_is_nothing_to_read_where_nothing_is_tracked(norm: type[nn.Module] | None) -> None:
    assert read(StatisticsGap(), step_of(small(norm=norm), *rows(30, 8))) == {}
