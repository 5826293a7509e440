"""Putting a model's normalization into another mode for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from normscope.anatomy._norm_layers import batch_norm_layers
from normscope.anatomy._preserved import preserved


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside the block, batch-norm layers use the batch's own statistics, and track nothing.

    Every other module (dropout, say) is in eval mode. Afterwards the model is as it was, also when
    the block raises.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(1).eval()
        >>> with batch_statistics(norm), torch.no_grad():
        ...     norm(torch.tensor([[1.0], [3.0]])).round(decimals=3).tolist()
        [[-1.0], [1.0]]
        >>> norm.training, norm.running_mean.tolist()
        (False, [0.0])
    """
    with preserved(model):
        model.eval()
        for layer in batch_norm_layers(model).values():
            layer.train()
            layer.track_running_stats = False
        yield
