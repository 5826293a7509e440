"""The article's network derived a second time: float64, plain sums, no module of ours."""

import math

import torch
from torch import Tensor, nn

from normscope.nn import MLP, ScaledLinear


def acting_weight(linear: nn.Module) -> Tensor:
    """The weights that act, ``[out, in]``, in float64."""
    weight = linear.weight.detach().double()
    return weight / math.sqrt(weight.shape[1]) if isinstance(linear, ScaledLinear) else weight


def forward_by_hand(network: MLP, x: Tensor) -> Tensor:
    """Logits in training mode: every layer normalized by the batch (or the row) it sees."""
    for index, layer in enumerate(network.layers):
        s1 = x @ acting_weight(layer.linear).T
        if isinstance(layer.norm, nn.Identity):
            s3 = s1 + layer.linear.bias
        else:
            axis = 1 if isinstance(layer.norm, nn.LayerNorm) else 0
            centred = s1 - s1.sum(axis, keepdim=True) / s1.shape[axis]
            population_variance = (centred**2).sum(axis, keepdim=True) / s1.shape[axis]
            s2 = centred / torch.sqrt(population_variance + layer.norm.eps)
            s3 = layer.norm.weight * s2 + layer.norm.bias
        last = index == len(network.layers) - 1
        x = s3 if last else torch.where(s3 > 0, s3, torch.zeros_like(s3))
    return x


def population_statistics_by_hand(network: MLP, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean and population variance of every layer's sums over all rows at once, in float64."""
    statistics = []
    x = images.double()
    for layer in network.layers:
        s1 = x @ acting_weight(layer.linear).T
        mean = s1.sum(0) / len(s1)
        variance = ((s1 - mean) ** 2).sum(0) / len(s1)
        statistics.append((mean, variance))
        s2 = (s1 - mean) / torch.sqrt(variance + layer.norm.eps)
        s3 = layer.norm.weight.double() * s2 + layer.norm.bias.double()
        x = s3.clamp(min=0)
    return statistics
