"""Moments of real trainings, for the tests of probes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.probes._moment import Moment, Parameters, Probe
from normscope.records import Reading

RATE = 0.1


def step_of(
    network: nn.Module,
    x: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer | None = None,
    number: int = 1,
) -> Moment:
    """The moment right after a step on all rows, which are the probe batch, too."""
    optimizer = optimizer or torch.optim.SGD(network.parameters(), RATE)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer.zero_grad()
    F.cross_entropy(network(x), labels).backward()
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    optimizer.step()
    rates = dict.fromkeys(before, RATE)
    return Moment(
        number, network, lambda n: F.cross_entropy(n(x), labels), before, gradients, rates
    )


def still(network: nn.Module, loss: Callable[[nn.Module], Tensor]) -> Moment:
    """A moment without a step."""
    return Moment(0, network, loss, {}, {}, {})


def made_up(before: Parameters, after: nn.Module, gradients: Parameters) -> Moment:
    """A moment of which only the step matters."""
    return Moment(1, after, lambda n: torch.zeros(()), before, gradients, {"0.weight": RATE})


def read(probe: Probe, moment: Moment) -> dict[tuple[str, str], Reading]:
    """Readings by layer and quantity."""
    readings = probe.read(moment)
    assert {(each.step, each.probe) for each in readings} <= {(moment.step, probe.name)}
    by_name = {(each.layer, each.quantity): each for each in readings}
    assert len(by_name) == len(readings)  # no quantity twice
    return by_name


def rows(n: int, width: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random rows in float64, and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return x, torch.randint(classes, (n,), generator=generator)


def small(*, norm: Callable[[int], nn.Module] | None, seed: int = 0) -> nn.Sequential:
    """Paths 0, 1 (a norm, or nothing), 2 (ReLU), 3: ``8 → 6 → 3``, in float64."""
    torch.manual_seed(seed)
    between = nn.Identity() if norm is None else norm(6)
    return nn.Sequential(nn.Linear(8, 6), between, nn.ReLU(), nn.Linear(6, 3)).double()


def batch_norm(width: int) -> nn.BatchNorm1d:
    """With an eps that is not felt."""
    return nn.BatchNorm1d(width, eps=1e-14)


def images(n: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random pictures of two channels in float64, and labels."""
    x, labels = rows(n, 2 * 5 * 5, seed=seed)
    return x.view(n, 2, 5, 5), labels


def convolutional(seed: int = 0) -> nn.Sequential:
    """Paths 0, 1 (batch norm), 3 (transposed, two groups), 6 (linear), in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4, eps=1e-14),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 2, groups=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(6 * 16, 3),
    ).double()
