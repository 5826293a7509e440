"""Exact population statistics of a multi-layer perceptron, one layer after another."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._shapes import Batch
from normscope.nn._mlp import MLP
from normscope.stats import Moments, merge_all

_CHUNK_ROWS = 4096


@torch.no_grad()
def set_population_statistics(network: MLP, images: Batch) -> None:
    r"""Set every batch norm's running statistics to the exact ones of `images`.

    Layer after layer: the statistics of a layer are those of its input sums over *all* rows, with
    the layers before it already normalizing by theirs. Helpers that average batch statistics feed
    a deep layer with activations that its predecessors normalized batch by batch, which it never
    sees in eval mode. The variance is the population's, divided by the number of rows; moments of
    chunks are merged (Chan), so rows with a mean of 1e4 and a deviation of 1 are no trouble.

    Afterwards the network is in eval mode. Layers without batch norm pass through.

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
    chunks: list[Tensor] = list(images.split(_CHUNK_ROWS))
    for layer in network.normalized_layers():
        chunks = [layer.linear(chunk) for chunk in chunks]
        if isinstance(layer.norm, _BatchNorm):
            _set_statistics(layer.norm, chunks)
        chunks = [F.relu(layer.norm(chunk)) for chunk in chunks]


def _set_statistics(norm: _BatchNorm, sums: Sequence[Tensor]) -> None:
    """Set one layer's running statistics to the merged moments of its input sums."""
    moments = merge_all(Moments.of(chunk, [0]) for chunk in sums)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(moments.mean)
    norm.running_var.copy_(moments.population_variance)
