"""Adaptive gradient clipping, against a loop in NumPy."""

import numpy as np
import pytest
import torch

from normscope.records import Recipe
from normscope.training import build_network
from normscope.training._adam import ClippedAdam, LeanAdam
from normscope.training._network import build_optimizer


def shortened(gradient: np.ndarray, weight: np.ndarray, clipping: float) -> np.ndarray:
    longest = clipping * max(float(np.linalg.norm(weight)), 1e-3)
    length = float(np.linalg.norm(gradient))
    return gradient * (longest / length) if length > longest else gradient


@pytest.mark.parametrize("weights", ["scaled", "plain"])
@pytest.mark.parametrize("size", [1e-4, 1.0])
def test_a_units_gradient_is_as_long_as_the_article_lets_it_be(weights: str, size: float) -> None:
    recipe = Recipe(norm="clipped", hidden=(4, 3), weights=weights, clipping=0.05)
    network = build_network(recipe, inputs=9, classes=2).double()
    optimizer = build_optimizer(network, recipe)
    assert isinstance(optimizer, ClippedAdam)
    expected = {}
    for name, parameter in network.named_parameters():
        parameter.grad = torch.randn_like(parameter) * size
        if parameter.ndim > 1:
            parameter.grad[0] = 0
        gradient, weight = parameter.grad.numpy().copy(), parameter.detach().numpy()
        if name.startswith("layers.2"):
            expected[name] = gradient
        elif parameter.ndim == 1:
            expected[name] = shortened(gradient, weight, 0.05)
        else:
            # Of the weights that act, c * w, whose gradient is that by w divided by c.
            c = parameter.shape[1] ** -0.5 if weights == "scaled" else 1.0
            rows = [
                shortened(g / c, c * w, 0.05) * c for g, w in zip(gradient, weight, strict=True)
            ]
            expected[name] = np.stack(rows)
    before = {name: p.grad.clone() for name, p in network.named_parameters()}
    optimizer.clip()
    for name, parameter in network.named_parameters():
        np.testing.assert_allclose(parameter.grad, expected[name], rtol=1e-10, atol=1e-15)
    weight_grads = "layers.1.linear.weight"
    was_clipped = not torch.equal(network.get_parameter(weight_grads).grad, before[weight_grads])
    assert was_clipped == (size == 1.0), "the control: a short gradient is left alone"


def test_a_step_is_adams_on_clipped_gradients() -> None:
    recipe = Recipe(norm="clipped", hidden=(4,))
    networks = [build_network(recipe, inputs=9, classes=2) for _ in range(2)]
    clipped = build_optimizer(networks[0], recipe)
    usual = LeanAdam(networks[1].parameters(), lr=recipe.learning_rate, fused=True)
    for _ in range(3):
        for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        by_hand = ClippedAdam(networks[1], recipe.clipping, lr=1.0)
        by_hand.clip()
        clipped.step()
        usual.step()
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_nothing_else_is_clipped() -> None:
    recipe = Recipe(norm="none", hidden=(4,), clipping=0.5)
    network = build_network(recipe, inputs=9, classes=2)
    assert type(build_optimizer(network, recipe)) is LeanAdam
