"""The gradient identity: its terms by autograd, and networks in which it does not hold."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.nn import MLP
from normscope.probes._gradient_identity import GradientIdentity
from tests.probes.one_step import moment_of, regression, state_of, values_of


class Detached(nn.BatchNorm1d):
    """A batch norm whose statistics pass no gradient on."""

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = x.mean(0).detach(), x.var(0, correction=0).detach()
        return (x - mean) / (variance + self.eps).sqrt() * self.weight + self.bias


def network_with(norm: nn.Module, last: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 6), norm, nn.Tanh(), last or nn.Linear(6, 2))


def read(network: nn.Module) -> dict[tuple[str, str], float]:
    return values_of(GradientIdentity().read(moment_of(network, regression(network))))


@pytest.mark.parametrize("eps", [1e-14, 1e-5, 0.5])
def test_the_identity_holds_for_every_eps(eps: float) -> None:
    norm = nn.BatchNorm1d(6, eps=eps)
    nn.init.uniform_(norm.weight, -2, 2)
    of = read(network_with(norm))
    assert of["residual", "1"] < 1e-12
    assert 0 < of["centering", "1"] < 1
    assert 0 < of["projection", "1"] < 1


def test_without_eps_it_is_the_theorem() -> None:
    network = network_with(nn.BatchNorm1d(6, eps=1e-14))
    moment = moment_of(network, regression(network))
    of = values_of(GradientIdentity().read(moment))
    (seen, _) = moment.sums_at(moment.after)
    z, dz, dy = seen.sums, seen.sums_gradient, seen.normalized_gradient
    z_hat = (z - z.mean(0)) / z.std(0, correction=0)
    factor = (network[1].weight / z.std(0, correction=0)).square()
    m = len(z)
    theorem = factor * (dy.square().sum(0) - m * dy.mean(0) ** 2 - m * (dy * z_hat).mean(0) ** 2)
    assert torch.allclose(dz.square().sum(0), theorem, rtol=1e-8, atol=0)
    kept = of["scaling", "1"] ** 2 * (1 - of["centering", "1"] - of["projection", "1"])
    assert float(dz.square().sum() / dy.square().sum()) == pytest.approx(kept, rel=1e-8)


def test_known_statistics() -> None:
    """z = ±2 with σ = 2, γ = 3, dL/dy = (1, 0): every term by hand."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=1e-14)).double()
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)

    def loss(n: nn.Module) -> Tensor:
        return n(x)[0].sum()

    with torch.no_grad():
        network[0].weight.fill_(2.0)
        network[1].weight.fill_(3.0)
    of = values_of(GradientIdentity().read(moment_of(network, loss, rate=0.0)))
    # ‖dy‖² = 1, m mean(dy)² = 1/2, m mean(dy ẑ)² = 1/2: nothing is left.
    assert of["scaling", "1"] == pytest.approx(1.5)
    assert of["centering", "1"] == pytest.approx(0.5)
    assert of["projection", "1"] == pytest.approx(0.5)
    assert of["residual", "1"] == pytest.approx(0.0, abs=1e-10)


def test_images_have_their_places_in_the_batch() -> None:
    network = nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)),
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(48, 2),
    ).double()
    of = values_of(
        GradientIdentity().read(moment_of(network, regression(network, rows=8, inputs=36)))
    )
    assert of["residual", "2"] < 1e-12


def test_every_layer_of_the_articles_network() -> None:
    network = MLP([5, 7, 6, 3], norm=nn.BatchNorm1d)
    of = read(network)
    residuals = [value for (quantity, _), value in of.items() if quantity == "residual"]
    assert len(residuals) == 3
    assert max(residuals) < 1e-10


def test_it_fails_where_no_gradient_flows_through_the_statistics() -> None:
    of = read(network_with(Detached(6)))
    removed = of["centering", "1"] + of["projection", "1"]
    assert of["residual", "1"] == pytest.approx(removed, rel=1e-6)
    assert of["residual", "1"] > 0.01


def test_it_fails_where_a_path_leads_around_the_norm() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            z = self.linear(x)
            return self.norm(z) + z

    assert read(Around())["residual", "norm"] > 0.1


def test_a_layer_norm_is_not_read_and_would_fail() -> None:
    network = network_with(nn.LayerNorm(6))
    moment = moment_of(network, regression(network))
    assert GradientIdentity().read(moment) == []
    (seen, _) = moment.sums_at(moment.after)
    z, dz, dy = seen.sums, seen.sums_gradient, seen.normalized_gradient
    by_batch = torch.zeros_like(z).requires_grad_()
    (as_batch_norm,) = torch.autograd.grad(
        F.batch_norm(by_batch + z, None, None, training=True), by_batch, dy
    )
    assert (dz.square().sum(0) / as_batch_norm.square().sum(0) - 1).abs().max() > 0.1


def test_a_gradient_of_zero_has_no_shares() -> None:
    network = network_with(nn.BatchNorm1d(6)).double()
    x = torch.randn(9, 5, dtype=torch.float64)
    moment = moment_of(network, lambda n: 0 * n(x).sum())
    of = values_of(GradientIdentity().read(moment))
    assert all(value != value for value in of.values())


def test_looking_changes_nothing() -> None:
    network = network_with(nn.BatchNorm1d(6))
    moment = moment_of(network, regression(network))
    state, random = state_of(network), torch.get_rng_state()
    GradientIdentity().read(moment)
    assert all(torch.equal(state[n], v) for n, v in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
