"""Moments of small trainings, in float64."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from normscope.probes._moment import Moment
from normscope.records import Reading


def moment_of(
    network: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    *,
    rate: float = 0.1,
) -> Moment:
    """The moment after one step on the probe's own batch."""
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    loss(network).backward()
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    optimizer(network.parameters(), lr=rate).step()
    network.zero_grad()
    return Moment(1, network, loss, before, gradients, dict.fromkeys(before, rate))


def values_of(readings: Sequence[Reading]) -> dict[tuple[str, str], float]:
    """The numbers, by quantity and layer."""
    return {(r.quantity, r.layer): r.value for r in readings if r.value is not None}


def curves_of(readings: Sequence[Reading]) -> dict[str, Tensor]:
    """The curves, by quantity."""
    return {r.quantity: torch.tensor(r.values, dtype=torch.float64) for r in readings if r.values}


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Copies of all that a network holds."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def regression(network: nn.Module, rows: int = 40, inputs: int = 5) -> Callable[..., Tensor]:
    """The mean square error of random targets, on random rows with an offset."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, inputs, generator=generator, dtype=torch.float64) + 0.7
    with torch.no_grad():
        shape = network.double().eval()(x).shape
    network.train()
    target = torch.randn(shape, generator=generator, dtype=torch.float64)
    return lambda n: (n(x) - target).square().mean()
