"""From a recipe to a network and its optimizer."""

from collections.abc import Callable

import torch
from torch import nn

from normscope.nn import MLP, BatchNorm
from normscope.records import Recipe


def build_network(recipe: Recipe, *, inputs: int, classes: int) -> MLP:
    """The recipe's network, freshly drawn from its seed, on the CPU.

    Example:
        >>> network = build_network(Recipe(hidden=(20,)), inputs=784, classes=10)
        >>> network.layers[0].norm
        BatchNorm(20, eps=1e-10, ...)
    """
    return MLP(
        [inputs, *recipe.hidden, classes],
        norm=_norm(recipe),
        scaled_weights=recipe.weights == "scaled",
        seed=recipe.seed,
    )


def build_optimizer(network: MLP, recipe: Recipe) -> torch.optim.Adam:
    """Adam over all parameters, as one fused pass."""
    return torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, fused=True)


def _norm(recipe: Recipe) -> Callable[[int], nn.Module] | None:
    """What makes one layer's normalization from its width."""
    match recipe.norm:
        case "batch":
            # The border with torch, whose momentum is the weight of the new value.
            momentum = None if recipe.average == "cumulative" else 1 - recipe.decay
            return lambda width: BatchNorm(
                width,
                eps=recipe.eps,
                momentum=momentum,
                running_variance=recipe.running_variance,
                warm_up=recipe.warm_up,
            )
        case "layer":
            return lambda width: nn.LayerNorm(width, eps=recipe.eps)
        case "none":
            return None
