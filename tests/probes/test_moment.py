"""A moment looks at any network, and computes what autograd does."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.nn import MLP, BatchNorm
from normscope.probes._moment import Moment

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))


def moment_of(network: nn.Module) -> Moment:
    """Before any step."""

    def loss(network: nn.Module) -> Tensor:
        return network(X).square().mean()

    now = {name: p.detach().clone() for name, p in network.named_parameters()}
    return Moment(0, network, loss, now, {}, {})


def test_a_network_may_be_one_layer() -> None:
    linear = nn.Linear(6, 3)
    (seen,) = (moment := moment_of(linear)).sums_at(moment.after)
    torch.testing.assert_close(seen.sums, linear(X).detach())
    torch.testing.assert_close(seen.sums_gradient, 2 * linear(X).detach() / seen.sums.numel())


def test_gradients_are_those_of_a_plain_backward() -> None:
    network = MLP([6, 8, 4], norm=BatchNorm)
    _, gradients = (moment := moment_of(network)).gradient_at(moment.after)
    moment.loss(network.train()).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_sums_and_their_gradients_are_those_of_the_layers() -> None:
    network = MLP([6, 8, 4], norm=BatchNorm)
    seen = (moment := moment_of(network)).sums_at(moment.after)[1]
    h = F.relu(network.layers[0](X))
    z = network.layers[1].linear(h).detach().requires_grad_()
    y = network.layers[1].norm(z)
    y.retain_grad()
    y.square().mean().backward()
    torch.testing.assert_close(seen.sums, z.detach())
    torch.testing.assert_close(seen.normalized, y.detach())
    torch.testing.assert_close(seen.normalized_gradient, y.grad)
    torch.testing.assert_close(seen.sums_gradient, z.grad, atol=1e-7, rtol=1e-4)


def test_looking_moves_nothing() -> None:
    network = MLP([6, 8, 4], norm=BatchNorm).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    moment = moment_of(network)
    moment.sums_at(moment.after)
    moment.loss_at(moment.moved(3.0, moment.after, moment.after))
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
