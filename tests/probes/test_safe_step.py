"""The largest safe step: of least squares by formula, and where the loss behaves oddly."""

import math

import pytest
import torch
from torch import nn

from normscope.probes._moment import Moment
from normscope.probes._safe_step import LENGTHS, SafeStep
from tests.probes.one_step import curves_of, moment_of, regression, state_of, values_of

FACTOR = LENGTHS[1] / LENGTHS[0]


def test_the_grid() -> None:
    assert len(LENGTHS) == 19
    assert (LENGTHS[0], LENGTHS[-1]) == pytest.approx((1e-4, 10**0.5))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 300.0])
def test_a_parabola_is_safe_up_to_two_over_its_curvature(scale: float) -> None:
    """L = c w² / 2: r(a) = (1 − a c)²."""
    network = nn.Linear(1, 1, bias=False).double()
    moment = moment_of(network, lambda n: scale * n.weight.square().sum() / 2, rate=0.0)
    readings = SafeStep().read(moment)
    of, r = values_of(readings), curves_of(readings)["relative-loss"]
    assert of["unit", ""] == pytest.approx(1 / scale)
    assert torch.allclose(r, (1 - torch.tensor(LENGTHS, dtype=r.dtype)).square(), atol=1e-12)
    assert 2 / scale / FACTOR < of["largest-safe", ""] <= 2 / scale
    assert of["best", ""] == pytest.approx(1 / scale)


def test_linear_least_squares() -> None:
    """L(θ − a g) = L − a ‖g‖² + a² gᵀHg / 2, which comes back to L at a = 2 ‖g‖² / gᵀHg."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    target = torch.randn(20, 1, generator=generator, dtype=torch.float64)
    network = nn.Linear(4, 1, bias=False).double()
    moment = moment_of(network, lambda n: (n(x) - target).square().mean())
    of = values_of(SafeStep().read(moment))
    hessian = 2 * x.T @ x / 20
    g = 2 * x.T @ (x @ network.weight.detach().T - target) / 20
    edge = float(2 * g.square().sum() / (g.T @ hessian @ g))
    assert edge / FACTOR < of["largest-safe", ""] <= edge
    assert edge / 2 / FACTOR < of["best", ""] < edge / 2 * FACTOR


def test_a_batch_norm_bears_longer_steps() -> None:
    """Long weights make a network steep, and change nothing in front of a batch norm."""
    safe = {}
    for norm in (nn.BatchNorm1d(6), nn.Identity()):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(5, 6), norm, nn.ReLU(), nn.Linear(6, 2))
        with torch.no_grad():
            network[0].weight.mul_(30)
        of = values_of(SafeStep().read(moment_of(network, regression(network), rate=0.0)))
        safe[type(norm)] = of["largest-safe", ""]
    assert safe[nn.BatchNorm1d] > 10 * safe[nn.Identity]


def test_a_loss_that_only_falls_is_safe_to_the_end() -> None:
    network = nn.Linear(1, 1, bias=False).double()
    of = values_of(SafeStep().read(moment_of(network, lambda n: n.weight.sum(), rate=0.0)))
    assert of["largest-safe", ""] == of["best", ""] == pytest.approx(LENGTHS[-1] * of["unit", ""])


def test_a_loss_that_is_nan_out_there_is_not_safe_there() -> None:
    """√w − 0.9 at w = 1: from ‖a g‖ = 1 on, w is below 0."""
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    of = values_of(SafeStep().read(Moment(1, network, lambda n: n.weight.sqrt().sum(), {}, {}, {})))
    assert of["largest-safe", ""] == of["best", ""] == pytest.approx(of["unit", ""])


@pytest.mark.parametrize("factor", [0.0, math.nan])
def test_without_a_gradient_there_is_no_step(factor: float) -> None:
    network = nn.Linear(1, 1, bias=False).double()
    moment = Moment(1, network, lambda n: factor * n.weight.square().sum(), {}, {}, {})
    assert math.isnan(values_of(SafeStep().read(moment))["largest-safe", ""])


def test_looking_changes_nothing() -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2))
    moment = moment_of(network, regression(network))
    state, random = state_of(network), torch.get_rng_state()
    first = SafeStep().read(moment)
    assert first == SafeStep().read(moment)
    assert all(torch.equal(state[n], v) for n, v in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
