"""Internal covariate shift by gradients, against networks that are put together by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn

from normscope.probes._covariate_shift import CovariateShift
from tests.probes.one_step import moment_of, regression, state_of, values_of


def deep() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(),
        nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2),
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_against_copies_of_the_network(optimizer: type[torch.optim.Optimizer]) -> None:
    network = deep()
    loss = regression(network)
    moment = moment_of(network, loss, optimizer)
    of = values_of(CovariateShift().read(moment))
    for layer, parts_before in (("0", 0), ("3", 2), ("6", 5)):
        gradients = []
        for updated in (0, parts_before):
            twin = copy.deepcopy(network)
            twin.load_state_dict(dict(moment.before), strict=False)
            for at in range(updated):
                twin[at].load_state_dict(network[at].state_dict())
            loss(twin).backward()
            gradients.append(twin[int(layer)].weight.grad)
        g, shifted = gradients
        assert of["shift", layer] == pytest.approx(float((g - shifted).norm()), rel=1e-9)
        relative = float((g - shifted).norm() / g.norm())
        assert of["relative-shift", layer] == pytest.approx(relative, rel=1e-9)
        cosine = float(torch.cosine_similarity(g.flatten(), shifted.flatten(), 0))
        assert of["cosine", layer] == pytest.approx(cosine, rel=1e-9)


def test_nothing_shifts_the_first_layer_and_something_the_others() -> None:
    network = deep()
    of = values_of(CovariateShift().read(moment_of(network, regression(network))))
    assert (of["shift", "0"], of["relative-shift", "0"]) == (0.0, 0.0)
    assert of["cosine", "0"] == pytest.approx(1.0)
    assert min(of["shift", "3"], of["shift", "6"]) > 1e-4


def test_a_network_of_one_layer_has_none() -> None:
    network = nn.Linear(5, 2)
    of = values_of(CovariateShift().read(moment_of(network, regression(network))))
    assert of["shift", ""] == 0.0


def test_no_step_no_shift() -> None:
    network = deep()
    of = values_of(CovariateShift().read(moment_of(network, regression(network), rate=0.0)))
    assert all(value == 0 for (quantity, _), value in of.items() if quantity == "shift")


def test_two_linear_layers_in_closed_form() -> None:
    """L = b a: the gradient of b is a, which a step of 0.1 b moves by 0.1 b."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        network[0].weight.fill_(3.0)
        network[1].weight.fill_(-2.0)
    one = torch.ones(1, 1, dtype=torch.float64)
    of = values_of(CovariateShift().read(moment_of(network, lambda n: n(one).sum())))
    assert of["shift", "1"] == pytest.approx(0.2)
    assert of["relative-shift", "1"] == pytest.approx(0.2 / 3)


class Backwards(nn.Module):
    """Registered last to first, and called first to last, with a parameter of its own between."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.first = nn.Linear(5, 4)
        self.offset = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x + self.offset).tanh())


def test_layers_come_in_the_order_of_their_calls() -> None:
    network = Backwards()
    moment = moment_of(network, regression(network))
    assert moment.calls == ("", "first", "last")
    of = values_of(CovariateShift().read(moment))
    assert of["shift", "first"] > 0  # by the offset alone
    assert of["shift", "last"] > 0


def test_modules_that_are_not_called_stand_where_what_is_around_them_does() -> None:
    class Attentive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(5, 1, batch_first=True)
            self.last = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.attention(x[:, None], x[:, None], x[:, None], need_weights=False)
            return self.last(y[:, 0])

    network = Attentive()
    moment = moment_of(network, regression(network))
    frozen = {n: p for n, p in moment.before.items() if "out_proj" in n}
    assert frozen
    with torch.no_grad():  # only what is never called by itself moves
        for name, parameter in network.named_parameters():
            parameter.copy_(moment.before[name] + (1.0 if name in frozen else 0.0))
    assert values_of(CovariateShift().read(moment))["shift", "last"] > 0


def test_looking_changes_nothing() -> None:
    network = deep()
    moment = moment_of(network, regression(network))
    state = state_of(network)
    CovariateShift().read(moment)
    assert all(torch.equal(state[n], v) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
