"""A forward that activation checkpointing runs twice moves the running statistics once."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normscope.nn import BatchNorm1d

CONVENTIONS = [
    {},
    {"momentum": None},
    {"running_variance": "population"},
    {"warm_up": True},
    {"affine": False},
]


def network(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), norm, nn.Tanh(), nn.Linear(3, 3), copy.deepcopy(norm))


def trained(model: nn.Sequential, *, reentrant: bool | None) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients and buffers after three steps, with checkpointing or (None) without."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        x = torch.randn(6, 4, generator=generator).requires_grad_()
        y = model(x) if reentrant is None else checkpoint(model, x, use_reentrant=reentrant)
        (y**3).sum().backward()
    return [p.grad for p in model.parameters() if p.grad is not None], list(model.buffers())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_ends_in_the_bits_of_the_plain_run(
    convention: dict[str, object], *, reentrant: bool
) -> None:
    model = network(BatchNorm1d(3, **convention))
    plain = trained(copy.deepcopy(model), reentrant=None)
    checkpointed = trained(model, reentrant=reentrant)
    for expected, ours in zip(plain, checkpointed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(expected, ours, strict=True))


@pytest.mark.parametrize("reentrant", [True, False])
def test_torchs_own_counts_twice(*, reentrant: bool) -> None:
    """The control, and the reason: pytorch/pytorch#96136."""
    model = network(nn.BatchNorm1d(3))
    trained(model, reentrant=reentrant)
    assert model[1].num_batches_tracked == 6


def test_selective_checkpointing_of_the_norm_alone() -> None:
    model = network(BatchNorm1d(3))
    plain = copy.deepcopy(model)
    x = torch.randn(6, 4)
    (plain(x) ** 3).sum().backward()
    h = checkpoint(model[1], model[0](x), use_reentrant=False)
    (model[2:](h) ** 3).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True))


def test_a_forward_after_a_backward_is_tracked_again() -> None:
    norm = BatchNorm1d(3)
    for _ in range(2):
        checkpoint(norm, torch.randn(6, 3), use_reentrant=False).sum().backward()
        norm(torch.randn(6, 3))
    assert norm.num_batches_tracked == 4
