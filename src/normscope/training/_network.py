"""From a recipe to a network and its optimizer."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from normscope.nn import MLP, BatchNorm
from normscope.records import DataRecord, Recipe
from normscope.training._own_model import build_own_network


def network_for(recipe: Recipe, data: DataRecord) -> nn.Module:
    """The recipe's network for such data, freshly drawn from its seed, on the CPU.

    Raises:
        RecipeError: if it is a model of somebody's own, and cannot be built.
    """
    shape, classes = data.image_size, len(data.classes)
    if recipe.model is None:
        return build_network(recipe, inputs=math.prod(shape), classes=classes)
    return build_own_network(recipe, shape=shape, classes=classes)


def build_network(recipe: Recipe, *, inputs: int, classes: int) -> MLP:
    """The built-in network by a recipe, freshly drawn from its seed, on the CPU.

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


class LeanAdam(torch.optim.Adam):
    """`torch.optim.Adam`, which to be built needs not load torch's compiler.

    The compiler, which only `step` needs, costs a second and 70 MB in every process; a step that
    is written out does without.
    """

    add_param_group = getattr(
        torch.optim.Optimizer.add_param_group,
        "__wrapped__",  # without the decorator that hides the method from the compiler
        torch.optim.Optimizer.add_param_group,
    )


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    """Adam over all parameters, as one fused pass; on a GPU, one that a CUDA graph can hold."""
    device = next(network.parameters()).device
    if device.type != "cuda":
        return LeanAdam(network.parameters(), lr=recipe.learning_rate, fused=True)
    # A graph keeps Python's numbers as they were when it was recorded; a tensor can change.
    rate = torch.tensor(recipe.learning_rate, dtype=torch.float32, device=device)
    return LeanAdam(network.parameters(), lr=rate, fused=True, capturable=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Change the rate for the steps to come.

    Example:
        >>> optimizer = torch.optim.Adam([torch.zeros(1)], lr=0.1)
        >>> set_learning_rate(optimizer, 0.01)
        >>> optimizer.param_groups[0]["lr"]
        0.01
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _norm(recipe: Recipe) -> Callable[[int], nn.Module] | None:
    """What makes one layer's normalization from its width."""
    match recipe.norm:
        case "batch":
            options: dict[str, Any] = {
                "eps": recipe.eps,
                "running_variance": recipe.running_variance,
                "warm_up": recipe.warm_up,
            }
            if recipe.average == "cumulative":
                return lambda width: BatchNorm(width, momentum=None, **options)
            return lambda width: BatchNorm.with_decay(width, recipe.decay, **options)
        case "layer":
            return lambda width: nn.LayerNorm(width, eps=recipe.eps)
        case "none":
            return None
