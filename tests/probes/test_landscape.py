"""The loss and its gradient along two lines: of quadratics by formula, of networks by autograd."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from normscope.probes._landscape import MULTIPLES, Landscape
from tests.probes.one_step import curves_of, moment_of, regression, state_of, values_of

GRID = torch.tensor(MULTIPLES, dtype=torch.float64)


class Point(nn.Module):
    """Parameters, and nothing else."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([values], dtype=torch.float64))


def half_square(*eigenvalues: float) -> object:
    return lambda n: (torch.tensor(eigenvalues) * n.at.square()).sum() / 2


def test_the_grid() -> None:
    assert len(MULTIPLES) == 8
    assert (MULTIPLES[0], MULTIPLES[-1]) == pytest.approx((0.25, 4))
    steps = GRID[1:] / GRID[:-1]
    assert torch.allclose(steps, steps[:1])


def test_the_smoothness_of_a_quadratic_is_its_eigenvalue_along_the_direction() -> None:
    for at, eigenvalue in (((2.0, 0.0), 3.0), ((0.0, 2.0), 0.5)):
        moment = moment_of(Point(*at), half_square(3.0, 0.5))
        of = values_of(Landscape().read(moment))
        for along in ("gradient", "step"):
            assert of[f"{along}-smoothness", ""] == pytest.approx(eigenvalue)
            assert of[f"{along}-scale-free-smoothness", ""] == pytest.approx(4 * eigenvalue)


def test_the_curves_of_a_quadratic() -> None:
    """L = λ θ² / 2 at θ = 2 with λ = 3: a step of rate 0.1 leads to θ (1 − 0.3 m)."""
    readings = Landscape().read(moment_of(Point(2.0), half_square(3.0)))
    curves, of = curves_of(readings), values_of(readings)
    losses = 6 * (1 - 0.3 * GRID).square()
    for along in ("gradient", "step"):
        assert torch.allclose(curves[f"{along}-loss"], losses)
        assert torch.allclose(curves[f"{along}-gradient-change"], 6 * 0.3 * GRID)
        spread = float(losses.max() - losses.min())
        assert of[f"{along}-loss-variation", ""] == pytest.approx(spread)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_against_autograd_on_a_network(optimizer: type[torch.optim.Optimizer]) -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    loss = regression(network)
    moment = moment_of(network, loss, optimizer)
    readings = Landscape().read(moment)
    curves, of = curves_of(readings), values_of(readings)
    start = parameters_to_vector(moment.before.values())
    step = parameters_to_vector(network.parameters()).detach() - start

    def look(at: Tensor) -> tuple[Tensor, Tensor]:
        twin = copy.deepcopy(network)
        vector_to_parameters(at, twin.parameters())
        value = loss(twin)
        slopes = torch.autograd.grad(value, list(twin.parameters()))
        return value.detach(), parameters_to_vector(slopes)

    slope = look(start)[1]
    lines = {"step": step, "gradient": -slope * step.norm() / slope.norm()}
    for along, line in lines.items():
        seen = [look(start + m * line) for m in MULTIPLES]
        changes = torch.stack([(slope - there).norm() for _, there in seen])
        losses = torch.stack([value for value, _ in seen])
        assert torch.allclose(curves[f"{along}-loss"], losses, rtol=1e-9)
        assert torch.allclose(curves[f"{along}-gradient-change"], changes, rtol=1e-6)
        smoothness = float((changes / (GRID * line.norm())).max())
        assert of[f"{along}-smoothness", ""] == pytest.approx(smoothness, rel=1e-6)


def scaled_readings(*, norm: bool) -> list[dict[tuple[str, str], float]]:
    """Of a network, and of the one with its first weights three times as long."""
    network = nn.Sequential(
        nn.Linear(5, 6, bias=False),
        nn.BatchNorm1d(6, eps=1e-14) if norm else nn.Identity(),
        nn.Tanh(),
        nn.Linear(6, 2),
    )
    loss = regression(network)
    found = []
    for scale in (1.0, 3.0):
        moment = moment_of(copy.deepcopy(network), loss)
        for values in (moment.before, moment.after):
            values["0.weight"].mul_(scale)
        found.append(values_of(Landscape().read(moment)))
    return found


def test_the_scale_of_normalized_weights_is_not_seen() -> None:
    one, three = scaled_readings(norm=True)
    free = "step-scale-free-smoothness", ""
    assert three[free] == pytest.approx(one[free], rel=1e-8)
    assert three["step-smoothness", ""] != pytest.approx(one["step-smoothness", ""], rel=0.05)


def test_that_of_other_weights_is() -> None:
    one, three = scaled_readings(norm=False)
    free = "step-scale-free-smoothness", ""
    assert three[free] != pytest.approx(one[free], rel=0.05)


def test_no_step_is_no_line() -> None:
    of = values_of(Landscape().read(moment_of(Point(2.0), half_square(3.0), rate=0.0)))
    assert of["step-smoothness", ""] != of["step-smoothness", ""]  # NaN
    assert of["step-loss-variation", ""] == 0


def test_looking_changes_nothing() -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2))
    moment = moment_of(network, regression(network))
    state, random = state_of(network), torch.get_rng_state()
    first = Landscape().read(moment)
    assert first == Landscape().read(moment)
    assert all(torch.equal(state[n], v) for n, v in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
