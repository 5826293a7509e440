"""From a recipe to a network and its optimizer."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from normscope.nn import (
    MLP,
    BatchNorm,
    CalibratedNorm,
    CalmMLP,
    DetachedBatchNorm,
    GhostBatchNorm,
    LinearFactory,
    NoisyBatchNorm,
    PartialBatchNorm,
    StandardizedLinear,
    WeightNormalizedLinear,
)
from normscope.records import DataRecord, Recipe
from normscope.training._adam import ClippedAdam, LeanAdam
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
    kind = partial(CalmMLP, rows=recipe.batch_size) if recipe.norm == "calm" else MLP
    return kind(
        [inputs, *recipe.hidden, classes],
        norm=_norm(recipe),
        norm_hidden=recipe.norm != "last",
        linear=_linear(recipe),
        scaled_weights=recipe.weights == "scaled",
        seed=recipe.seed,
    )


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    """Adam over all parameters, as one fused pass; on a GPU, one that a CUDA graph can hold."""
    device = next(network.parameters()).device
    options: dict[str, Any] = {"lr": recipe.learning_rate, "fused": True}
    if device.type == "cuda":
        # A graph keeps Python's numbers as they were when it was recorded; a tensor can change.
        options["lr"] = torch.tensor(recipe.learning_rate, dtype=torch.float32, device=device)
        options["capturable"] = True
    if isinstance(network, MLP) and recipe.norm == "clipped":
        return ClippedAdam(network, recipe.clipping, **options)
    return LeanAdam(network.parameters(), **options)


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


def has_written_out_step(recipe: Recipe) -> bool:
    """Whether a fresh network by the recipe is one that `WrittenOutStep` is about.

    Example:
        >>> [has_written_out_step(Recipe(norm=norm)) for norm in ("batch", "layer", "last")]
        [True, False, False]
    """
    return recipe.model is None and recipe.norm in {"batch", "none"} and not _has_ghosts(recipe)


def _norm(recipe: Recipe) -> Callable[[int], nn.Module] | None:
    """What makes one layer's normalization from its width."""
    # Rounded, so that 0.99 becomes 0.01 and not 0.010000000000000009.
    momentum = None if recipe.average == "cumulative" else round(1 - recipe.decay, 15)
    options: dict[str, Any] = {
        "eps": recipe.eps,
        "momentum": momentum,
        "running_variance": recipe.running_variance,
        "warm_up": recipe.warm_up,
    }
    match recipe.norm:
        case "batch" | "last":
            if _has_ghosts(recipe):
                return partial(GhostBatchNorm, ghost_size=recipe.ghost_size, **options)
            return partial(BatchNorm, **options)
        case "calm":
            return partial(BatchNorm, **options)
        case "layer":
            return partial(nn.LayerNorm, eps=recipe.eps)
        case "noisy":
            return partial(NoisyBatchNorm, **options)
        case "detached":
            return partial(DetachedBatchNorm, **options)
        case "mean" | "variance":
            return partial(PartialBatchNorm, only=recipe.norm, **options)
        case "calibrated":
            return partial(CalibratedNorm, eps=recipe.eps)
        case "none" | "weight" | "clipped":
            return None


def _has_ghosts(recipe: Recipe) -> bool:
    """Whether batches are cut: one ghost batch of all rows is the batch."""
    return recipe.norm in {"batch", "last"} and 0 < recipe.ghost_size < recipe.batch_size


def _linear(recipe: Recipe) -> LinearFactory | None:
    """What makes a linear map that normalizes its weights; None for the usual one."""
    kinds = {"weight": WeightNormalizedLinear, "clipped": StandardizedLinear}
    kind = kinds.get(recipe.norm)
    return partial(kind, scaled_weights=recipe.weights == "scaled") if kind else None
