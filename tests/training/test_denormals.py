"""Denormal numbers are taken for zeros inside a step, and nowhere else."""

import copy

import pytest
import torch
from torch import Tensor

from normscope.nn import MLP
from normscope.records import Recipe
from normscope.training import build_network
from normscope.training._denormals import FlushingStep, flushes_denormals
from normscope.training._network import build_optimizer
from normscope.training._steps import choose_step, make_step

SMALLEST_NORMAL = 2.0**-126


def denormal(shape: torch.Size) -> Tensor:
    """Made from integers: arithmetic under flushing would make zeros."""
    return torch.full(shape, 12345, dtype=torch.int32).view(torch.float32)


def trained(step_of) -> tuple[MLP, torch.optim.Adam]:
    """Thirty steps with first moments that began as denormal numbers."""
    recipe = Recipe(hidden=(20, 15), learning_rate=0.003)
    network = build_network(recipe, inputs=30, classes=4)
    optimizer = build_optimizer(network, recipe)
    for parameter in network.parameters():
        optimizer.state[parameter] = {
            "step": torch.zeros(()),
            "exp_avg": denormal(parameter.shape),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    step, generator = step_of(network, optimizer, 24), torch.Generator().manual_seed(0)
    for _ in range(30):
        images = torch.randn(24, 30, generator=generator)
        images[:, :5] = 0  # their weights have no gradient: the moments only shrink
        step(images, torch.randint(0, 4, (24,), generator=generator))
    return network, optimizer


def silent_moments(network: MLP, optimizer: torch.optim.Adam) -> Tensor:
    return optimizer.state[network.layers[0].linear.weight]["exp_avg"][:, :5]


def test_the_weights_have_the_same_bits_and_the_moments_are_zero() -> None:
    flushed, plain = trained(make_step), trained(choose_step)
    for name, value in flushed[0].state_dict().items():
        assert torch.equal(value, plain[0].state_dict()[name]), name
    assert silent_moments(*flushed).view(torch.int32).abs().max() == 0
    assert silent_moments(*plain).view(torch.int32).abs().max() > 0, "the control"


def test_outside_the_step_the_thread_computes_as_before() -> None:
    seen: list[bool] = []

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(flushes_denormals())
        return images.sum(), labels.sum()

    batch = torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64)
    FlushingStep(step)(*batch)
    assert (seen, flushes_denormals()) == ([True], False)
    torch.set_flush_denormal(True)
    try:
        FlushingStep(step)(*batch)
        assert flushes_denormals(), "who flushed before goes on flushing"
    finally:
        torch.set_flush_denormal(False)


def test_it_is_put_back_after_an_exception() -> None:
    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FlushingStep(step)(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
    assert not flushes_denormals()
    assert torch.tensor([SMALLEST_NORMAL]) * 0.5 > 0


def test_with_two_threads_nothing_is_flushed() -> None:
    recipe = Recipe(hidden=(20,))
    network = build_network(recipe, inputs=30, classes=4)
    optimizer = build_optimizer(copy.deepcopy(network), recipe)
    assert isinstance(make_step(network, optimizer, 24), FlushingStep)
    torch.set_num_threads(2)
    try:
        assert not isinstance(make_step(network, optimizer, 24), FlushingStep)
    finally:
        torch.set_num_threads(1)
