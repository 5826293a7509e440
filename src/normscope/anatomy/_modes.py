"""Putting a model's normalization into another mode for the length of a block."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
            layer.training = True  # also where `train()` leaves it in eval mode
            layer.track_running_stats = False
        yield


@contextmanager
def normalizing_by_batch(norms: Collection[_BatchNorm]) -> Iterator[None]:
    """Inside the block, these layers use the batch's own statistics, and track nothing.

    For use inside `preserved`, many times: it costs nothing and keeps nothing but what it sets. A
    `SyncBatchNorm` uses the statistics of its own rank.

    Example:
        >>> import torch
        >>> norm = nn.SyncBatchNorm(1).eval()
        >>> with normalizing_by_batch([norm]), torch.no_grad():
        ...     norm(torch.tensor([[1.0], [3.0]])).round(decimals=3).tolist()
        [[-1.0], [1.0]]
    """
    with _settings_kept(norms):
        for norm in norms:
            # In eval mode and without statistics it uses the batch's, and does not wait for others.
            norm.training = not isinstance(norm, nn.SyncBatchNorm)
            norm.running_mean = norm.running_var = None
            norm.track_running_stats = False
        yield


@contextmanager
def normalizing_by(statistics: Mapping[_BatchNorm, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Inside the block, these layers use this mean and this variance, and track nothing.

    For use inside `preserved`, as `normalizing_by_batch` is.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(1)
        >>> with normalizing_by({norm: (torch.tensor([2.0]), torch.tensor([4.0]))}):
        ...     norm(torch.tensor([[4.0]])).round(decimals=3).tolist()
        [[1.0]]
    """
    with _settings_kept(statistics):
        for norm, (mean, variance) in statistics.items():
            norm.training = False
            norm.running_mean, norm.running_var = mean, variance
        yield


@contextmanager
def _settings_kept(norms: Collection[_BatchNorm]) -> Iterator[None]:
    """What the block sets of these layers is undone."""
    before = [(n, n.training, n.running_mean, n.running_var, n.track_running_stats) for n in norms]
    try:
        yield
    finally:
        for norm, training, mean, variance, tracks in before:
            norm.training, norm.track_running_stats = training, tracks
            norm.running_mean, norm.running_var = mean, variance
