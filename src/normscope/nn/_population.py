"""Exact population statistics of a multi-layer perceptron, one layer after another."""

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._shapes import Batch
from normscope.nn._batch_norm import BatchNorm
from normscope.nn._ladder import PartialBatchNorm
from normscope.nn._mlp import MLP, NormalizedLayer, ScaledLinear
from normscope.nn._products import repeated_linear
from normscope.stats import Moments, merge_all

_FEWEST_ROWS, _MOST_ROWS = 128, 1024


@torch.no_grad()
def set_population_statistics(network: MLP, images: Batch) -> None:
    r"""Set every batch norm's running statistics to the exact ones of `images`.

    Layer after layer: the statistics of a layer are those of its input sums over *all* rows, with
    the layers before it already normalizing by theirs. Helpers that average batch statistics feed
    a deep layer with activations that its predecessors normalized batch by batch, which it never
    sees in eval mode. The variance is the population's, divided by the number of rows; moments of
    chunks are merged (Chan), so rows with a mean of 1e4 and a deviation of 1 are no trouble.

    Half batch norms (`PartialBatchNorm`) are given theirs in the same way.

    Afterwards the network is in eval mode. Layers without batch norm pass through. Besides the
    images it holds the sums of one layer, ``[rows, units]``, for all rows.

    Args:
        network: changed in place: running mean, running variance; ``num_batches_tracked`` is kept.
        images: ``[rows, inputs]``, usually the whole training set.

    Example:
        >>> network = MLP([2, 3], norm=torch.nn.BatchNorm1d, seed=0)
        >>> images = torch.randn(1000, 2)
        >>> set_population_statistics(network, images)
        >>> s2 = network(images)
        >>> s2.mean(dim=0).abs().max() < 1e-5, (s2.var(dim=0, correction=0) - 1).abs().max() < 1e-4
        (tensor(True), tensor(True))
    """
    network.eval()
    layers = network.normalized_layers()
    while layers and not has_running_statistics(layers[-1].norm):
        layers.pop()
    # Chunk by chunk, the sums of a layer take the place of those of the layer before. A chunk
    # stays in the cache from one to the other, and is small beside all rows, since for a moment
    # there are several copies of it.
    chunks = list(images.split(min(_MOST_ROWS, max(_FEWEST_ROWS, len(images) // 32))))
    before: NormalizedLayer | None = None
    for layer in layers:
        sums = _sums(layer, before, chunks)
        if has_running_statistics(layer.norm):
            _set_statistics(layer.norm, sums)
        else:
            collections.deque(sums, maxlen=0)
        before = layer


def has_running_statistics(norm: nn.Module) -> TypeGuard[_BatchNorm | PartialBatchNorm]:
    """Whether eval goes by statistics that estimate those of the population.

    Example:
        >>> has_running_statistics(PartialBatchNorm(3, "mean"))
        True
        >>> has_running_statistics(nn.LayerNorm(3))
        False
    """
    return isinstance(norm, _BatchNorm | PartialBatchNorm)


def _sums(
    layer: NormalizedLayer, before: NormalizedLayer | None, chunks: list[Tensor]
) -> Iterator[Tensor]:
    """The layer's sums, which take the place of the chunks that they are made from."""
    linear = _linear(layer)
    activations = None if before is None else _rectified(before.norm)
    for index, chunk in enumerate(chunks):
        chunks[index] = linear(activations(chunk) if activations else chunk)
        yield chunks[index]


def _linear(layer: NormalizedLayer) -> Callable[[Tensor], Tensor]:
    """From a layer's rows to its sums, with the scale already in the weights."""
    if type(layer.linear) is not ScaledLinear or layer.linear.bias is not None:
        return layer.linear
    return repeated_linear(layer.linear.weight * layer.linear.scale)


def _rectified(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """From a layer's sums to its activations, which take their place where that may be.

    In eval a batch norm is a fixed affine map; its kernel takes three times as long.
    """
    if not isinstance(norm, _BatchNorm) or type(norm) not in {BatchNorm, nn.BatchNorm1d}:
        return lambda sums: norm(sums).relu_()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = (norm.weight, norm.bias) if norm.affine else (1.0, 0.0)
    gain = weight * (norm.running_var + norm.eps).rsqrt()
    shift = bias - norm.running_mean * gain
    return lambda sums: torch.addcmul(shift, sums, gain, out=sums).relu_()


def _set_statistics(norm: _BatchNorm | PartialBatchNorm, sums: Iterable[Tensor]) -> None:
    """Set one layer's running statistics to the merged moments of its input sums."""
    moments = merge_all(Moments.of_columns(chunk) for chunk in sums)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(moments.mean)
    norm.running_var.copy_(moments.population_variance)
