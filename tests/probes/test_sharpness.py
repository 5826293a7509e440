"""The Hessian's largest eigenvalue: of a quadratic, and of a network against its whole Hessian."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from normscope.probes._moment import Moment
from normscope.probes._sharpness import Sharpness
from tests.probes.one_step import moment_of, regression, state_of, values_of


def of_quadratic(*eigenvalues: float) -> dict[tuple[str, str], float]:
    network = nn.Linear(len(eigenvalues), 1, bias=False).double()
    loss = lambda n: (torch.tensor(eigenvalues) * n.weight.square()).sum() / 2  # noqa: E731
    return values_of(Sharpness().read(moment_of(network, loss)))


@pytest.mark.parametrize("eigenvalues", [(7.0, 1.0, 0.5), (-7.0, 3.0, 2.0)])
def test_a_quadratic(eigenvalues: tuple[float, ...]) -> None:
    of = of_quadratic(*eigenvalues)
    assert of["eigenvalue", ""] == pytest.approx(eigenvalues[0], rel=1e-8)
    assert of["residual", ""] < 1e-4


def test_eigenvalues_of_one_size_and_two_signs_do_not_settle_and_that_is_told() -> None:
    assert of_quadratic(5.0, -5.0)["residual", ""] > 0.1


def test_a_loss_without_curvature() -> None:
    network = nn.Linear(3, 1, bias=False).double()
    of = values_of(Sharpness().read(Moment(1, network, lambda n: n.weight.sum(), {}, {}, {})))
    assert of["eigenvalue", ""] == 0
    assert math.isnan(of["residual", ""])


def test_against_the_whole_hessian() -> None:
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1))
    moment = moment_of(network, regression(network))
    of = values_of(Sharpness().read(moment))
    names, shapes = zip(*((n, p.shape) for n, p in network.named_parameters()), strict=True)

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        own = {n: p.view(shape) for n, p, shape in zip(names, parts, shapes, strict=True)}
        return moment.loss(lambda x: functional_call(network, own, x))

    flat = torch.cat([p.detach().flatten() for p in network.parameters()])
    network.eval().train()
    eigenvalues = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    largest = float(eigenvalues[eigenvalues.abs().argmax()])
    off = of["residual", ""] * abs(of["eigenvalue", ""])
    assert float((eigenvalues - of["eigenvalue", ""]).abs().min()) <= off + 1e-12
    assert of["eigenvalue", ""] == pytest.approx(largest, rel=0.02)


def test_fused_attention() -> None:
    class Attentive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            z = self.linear(x)[:, None]
            return nn.functional.scaled_dot_product_attention(z, z, z.square()).sum(1)

    network = Attentive()
    moment = moment_of(network, regression(network))
    assert values_of(Sharpness().read(moment))["eigenvalue", ""] > 0


def test_looking_changes_nothing() -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2))
    moment = moment_of(network, regression(network))
    state, random = state_of(network), torch.get_rng_state()
    first = Sharpness().read(moment)
    assert first == Sharpness().read(moment)
    assert all(torch.equal(state[n], v) for n, v in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
