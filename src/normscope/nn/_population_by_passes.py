"""Exact population statistics of any network, one batch norm after another."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.stats import Moments, merge_all, over_all_ranks

Forward = Callable[[nn.Module, Any], object]
"""Calls a network with a batch."""
Look = Callable[[_BatchNorm, Tensor], None]
"""Is told what a batch norm is given."""


@torch.no_grad()
def set_population_statistics_by_passes(
    network: nn.Module,
    batches: Iterable[Any],
    *,
    forward: Forward | None = None,
    norms: Collection[_BatchNorm] | None = None,
    look: Look | None = None,
) -> None:
    r"""Set the running statistics of batch norms to the exact ones of all rows.

    As `set_population_statistics` does for an `MLP`, but for a network of which nothing is known:
    the batch norms are set in the order in which a pass calls them, and for each of them all rows
    pass through the network as far as that layer, in eval mode, with those before it already
    normalizing by theirs. So k batch norms cost k passes, of half the network's length on average.
    Moments are over everything but the channels (axis 1), in float64, and are merged over batches,
    and over the ranks of `torch.distributed` where it is initialized.

    A layer that a pass of the first batch calls several times gets the moments of all its calls, in
    whole passes. Layers that are never called, or track no statistics, are left alone.

    Afterwards the network is in eval mode. Where it raises on the way, the statistics are those
    from before.

    Args:
        network: changed in place: running mean, running variance; ``num_batches_tracked`` is kept.
        batches: all rows, cut as the memory allows; can be gone through again and again.
        forward: how the network is called with a batch; by default with the batch alone.
        norms: the batch norms to set; by default all that are called and track statistics.
        look: told of every input whose moments are taken.

    Raises:
        NormscopeError: if another rank failed.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
        >>> images = torch.randn(100, 1, 6, 6)
        >>> set_population_statistics_by_passes(network, images.split(32))
        >>> network(images).mean(dim=(0, 2, 3)).abs().max() < 1e-5
        tensor(True)
    """
    network.eval()
    call = forward or _alone
    calls = _calls(network, next(iter(batches)), call)
    wanted = {norm: n for norm, n in calls.items() if norms is None or norm in norms}
    before = [(norm, _statistics(norm).clone()) for norm in wanted]
    try:
        for norm, times in wanted.items():
            mine = partial(_moments_of, network, norm, times, batches, call, look)
            moments = over_all_ranks(mine)
            norm.running_mean.copy_(moments.mean)  # type: ignore[union-attr]
            norm.running_var.copy_(moments.population_variance)  # type: ignore[union-attr]
    except BaseException:
        for norm, (mean, variance) in before:
            norm.running_mean.copy_(mean)  # type: ignore[union-attr]
            norm.running_var.copy_(variance)  # type: ignore[union-attr]
        raise


def _alone(network: nn.Module, batch: Any) -> object:
    """The batch is what the network takes."""
    return network(batch)


def _moments_of(
    network: nn.Module,
    norm: _BatchNorm,
    times: int,
    batches: Iterable[Any],
    call: Forward,
    look: Look | None,
) -> Moments:
    """Of everything that a pass over all batches gives to `norm`."""

    def all_inputs() -> Iterator[Tensor]:
        for batch in batches:
            for x in _inputs(network, norm, times, batch, call):
                if look:
                    look(norm, x)
                yield x

    return merge_all(map(_moments, all_inputs()))


def _statistics(norm: _BatchNorm) -> Tensor:
    """Running mean and variance, as two rows."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return torch.stack([norm.running_mean, norm.running_var])


def _moments(x: Tensor) -> Moments:
    """Of every channel."""
    return Moments.of(x.double(), [axis for axis in range(x.ndim) if axis != 1])


def _calls(network: nn.Module, batch: Any, call: Forward) -> "Counter[_BatchNorm]":
    """The batch norms that a pass calls, in that order, and how often."""
    calls: Counter[_BatchNorm] = Counter()
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    with _looking_at(norms, lambda norm, _: calls.update([norm])):
        call(network, batch)
    return calls


def _inputs(
    network: nn.Module, norm: _BatchNorm, times: int, batch: Any, call: Forward
) -> list[Tensor]:
    """What a pass gives to `norm`; where it is called once, the pass ends there."""
    inputs: list[Tensor] = []

    def note(_: _BatchNorm, x: Tensor) -> None:
        inputs.append(x)
        if times == 1:
            raise _SeenEnoughError

    with _looking_at([norm], note), suppress(_SeenEnoughError):
        call(network, batch)
    return inputs


class _SeenEnoughError(BaseException):
    """Ends a pass. Not an `Exception`, which a network might catch."""


@contextmanager
def _looking_at(norms: Sequence[_BatchNorm], look: Look) -> Iterator[None]:
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
