"""A network's layers computed by formula, stage by stage, so that nothing in it is touched."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._shapes import Batch, Sums
from normscope.nn import MLP, NormalizedLayer, ScaledLinear, fast_linear


@dataclass(frozen=True)
class Stages:
    """What one layer makes of its rows (spec S1).

    Attributes:
        s1: the sums, without a bias.
        s2: standardised; s1 itself where there is no norm.
        s3: what goes into the rectifier or the softmax.
    """

    s1: Sums
    s2: Sums
    s3: Sums


def known_layers(network: nn.Module) -> list[NormalizedLayer]:
    """The layers of `network` from first to last; none where they are not what is computed here.

    That is an `MLP` of which every layer is a bias-free linear map before a batch norm that tracks
    statistics or before a layer norm, or a linear map with a bias and no norm.
    """
    if not isinstance(network, MLP):
        return []
    layers = network.normalized_layers()
    return layers if all(map(_is_known, layers)) else []


@torch.no_grad()
def stages(layers: list[NormalizedLayer], x: Batch, *, batch_statistics: bool) -> Iterator[Stages]:
    """Take rows through the layers; modules are not called, nothing of theirs changes.

    Args:
        layers: as `known_layers` gives them.
        x: ``[rows, inputs]``, on the layers' device.
        batch_statistics: whether a batch norm normalizes by the rows' own mean and population
            variance, as in training mode, or by its running statistics, as in eval mode.
    """
    for layer in layers:
        s1 = fast_linear(x, _weight(layer))
        if isinstance(layer.linear, ScaledLinear):
            s1.mul_(layer.linear.scale)
        s2 = _standardised(layer.norm, s1, batch_statistics=batch_statistics)
        gamma, beta = affine(layer)
        s3 = s2 if gamma is None else s2 * gamma
        s3 = s3 if beta is None else s3 + beta
        yield Stages(s1, s2, s3)
        x = s3.relu()


def affine(layer: NormalizedLayer) -> tuple[Tensor | None, Tensor | None]:
    """Gamma and beta; where there is no norm, nothing and the bias."""
    owner = layer.linear if isinstance(layer.norm, nn.Identity) else layer.norm
    gamma = None if owner is layer.linear else owner.weight
    return gamma, owner.bias  # type: ignore[return-value]


def _standardised(norm: nn.Module, s1: Sums, *, batch_statistics: bool) -> Sums:
    """From s1 to s2."""
    if isinstance(norm, _BatchNorm):
        mean, variance = (None, None) if batch_statistics else (norm.running_mean, norm.running_var)
        return F.batch_norm(s1, mean, variance, training=batch_statistics, eps=norm.eps)
    if isinstance(norm, nn.LayerNorm):
        return F.layer_norm(s1, norm.normalized_shape, eps=norm.eps)
    return s1


def _weight(layer: NormalizedLayer) -> Tensor:
    return layer.get_parameter("linear.weight")


def _is_known(layer: NormalizedLayer) -> bool:
    """Whether this page is about the layer."""
    if type(layer.linear) not in {ScaledLinear, nn.Linear}:
        return False
    norm, has_bias = layer.norm, layer.linear.bias is not None
    if isinstance(norm, _BatchNorm):
        return norm.running_mean is not None and not has_bias
    return type(norm) is nn.Identity or (type(norm) is nn.LayerNorm and not has_bias)
