"""Exact population statistics of any network, one batch norm after another."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.stats import Moments, merge_all

_Look = Callable[[_BatchNorm, Tensor], None]


@torch.no_grad()
def set_population_statistics_by_passes(network: nn.Module, chunks: Sequence[Tensor]) -> None:
    r"""Set every batch norm's running statistics to the exact ones of all rows.

    As `set_population_statistics` does for an `MLP`, but for a network of which nothing is known:
    the batch norms are set in the order in which a pass calls them, and for each of them all rows
    pass through the network as far as that layer, in eval mode, with those before it already
    normalizing by theirs. So k batch norms cost k passes, of half the network's length on average.
    Moments are over everything but the channels (axis 1), in float64, and are merged over chunks.

    A layer that is called several times in a pass gets the moments of all its calls. Layers that
    are never called, or track no statistics, are left alone.

    Afterwards the network is in eval mode. Where it raises on the way, the statistics are those
    from before.

    Args:
        network: changed in place: running mean, running variance; ``num_batches_tracked`` is kept.
        chunks: all rows, ``[rows, ...]``, cut as the memory allows; at least one.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
        >>> images = torch.randn(100, 1, 6, 6)
        >>> set_population_statistics_by_passes(network, images.split(32))
        >>> network(images).mean(dim=(0, 2, 3)).abs().max() < 1e-5
        tensor(True)
    """
    network.eval()
    calls = _calls(network, chunks[0])
    before = [(norm, _statistics(norm).clone()) for norm in calls]
    try:
        for norm, times in calls.items():
            passes = (_inputs(network, norm, times, chunk) for chunk in chunks)
            moments = merge_all(_moments(x) for inputs in passes for x in inputs)
            norm.running_mean.copy_(moments.mean)  # type: ignore[union-attr]
            norm.running_var.copy_(moments.population_variance)  # type: ignore[union-attr]
    except BaseException:
        for norm, (mean, variance) in before:
            norm.running_mean.copy_(mean)  # type: ignore[union-attr]
            norm.running_var.copy_(variance)  # type: ignore[union-attr]
        raise


def _statistics(norm: _BatchNorm) -> Tensor:
    """Running mean and variance, as two rows."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return torch.stack([norm.running_mean, norm.running_var])


def _moments(x: Tensor) -> Moments:
    """Of every channel."""
    return Moments.of(x.double(), [axis for axis in range(x.ndim) if axis != 1])


def _calls(network: nn.Module, rows: Tensor) -> "Counter[_BatchNorm]":
    """The batch norms that a pass calls, in that order, and how often."""
    calls: Counter[_BatchNorm] = Counter()
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    with _looking_at(norms, lambda norm, _: calls.update([norm])):
        network(rows[:2])
    return calls


def _inputs(network: nn.Module, norm: _BatchNorm, times: int, rows: Tensor) -> list[Tensor]:
    """What a pass gives to `norm`; it ends with the last of so many calls."""
    inputs: list[Tensor] = []

    def look(_: _BatchNorm, x: Tensor) -> None:
        inputs.append(x)
        if len(inputs) == times:
            raise _SeenEnoughError

    with _looking_at([norm], look), suppress(_SeenEnoughError):
        network(rows)
    return inputs


class _SeenEnoughError(BaseException):
    """Ends a pass. Not an `Exception`, which a network might catch."""


@contextmanager
def _looking_at(norms: Sequence[_BatchNorm], look: _Look) -> Iterator[None]:
    """Inside the block, `look` is told what every batch norm is given."""

    def hook(norm: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert isinstance(norm, _BatchNorm)
        look(norm, given[0] if given else named["input"])

    handles = [norm.register_forward_pre_hook(hook, with_kwargs=True) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
