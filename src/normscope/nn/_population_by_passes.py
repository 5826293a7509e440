"""Exact population statistics of any network, one batch norm after another."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.stats import Moments, gathered, merge, merge_all, together

Forward = Callable[[nn.Module, Any], object]
"""Calls a network with a batch."""
Look = Callable[[_BatchNorm, Tensor], None]
"""Is told what a batch norm is given."""

_ROUNDS = 20
_SETTLED = 1e-4
"""Statistics that another round would move by less, in deviations, are at rest."""


@torch.no_grad()
@together()
def set_population_statistics_by_passes(
    network: nn.Module,
    batches: Iterable[Any],
    *,
    forward: Forward | None = None,
    norms: Collection[_BatchNorm] | None = None,
    look: Look | None = None,
) -> list[_BatchNorm]:
    r"""Set the running statistics of batch norms to the exact ones of all rows.

    As `set_population_statistics` does for an `MLP`, but for a network of which nothing is known:
    a first pass over all batches sees which batch norms they call, and in which order; then, for
    each of these, all rows pass through the network as far as that layer, in eval mode, with those
    before it already normalizing by theirs. So k batch norms cost a pass and k more, of half the
    network's length on average. Moments are over everything but the channels (axis 1), in float64,
    and are merged over batches, and over the ranks of `torch.distributed` where it is initialized:
    rows, and the layers that they call, may differ between batches and between ranks.

    A layer that a batch calls several times gets the moments of all its calls. What it is given at
    the second may depend on what it made of the first, so there all layers are measured again with
    all statistics in place, and set to that, until nothing moves by more than 1e-4 deviations, or
    twenty times. Layers that are never called, or track no statistics, are left alone.

    Afterwards the network is in eval mode. Where it raises on the way, the statistics are those
    from before.

    Args:
        network: changed in place: running mean, running variance; ``num_batches_tracked`` is kept.
        batches: all rows, cut as the memory allows; can be gone through again and again.
        forward: how the network is called with a batch; by default with the batch alone.
        norms: the batch norms to set; by default all that are called and track statistics.
        look: told of every input of a layer, as its own pass goes on.

    Returns:
        The batch norms that were set, in the order in which they are called.

    Raises:
        RankError: if another rank failed.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
        >>> images = torch.randn(100, 1, 6, 6)
        >>> _ = set_population_statistics_by_passes(network, images.split(32))
        >>> network(images).mean(dim=(0, 2, 3)).abs().max() < 1e-5
        tensor(True)
    """
    network.eval()
    call = forward or _alone
    order, again = _calls(network, batches, call)
    wanted = [norm for norm in order if norms is None or norm in norms]
    before = [(norm, _statistics(norm)) for norm in wanted]
    try:
        for norm in wanted:
            mine = _moments_of(network, norm, batches, call, look, whole=norm in again)
            _set(norm, merged_over_ranks({0: mine} if mine else {})[0])
        if not again.isdisjoint(wanted):
            _settle(network, wanted, batches, call)
    except BaseException:
        for norm, statistics in before:
            _write(norm, statistics)
        raise
    return wanted


@contextmanager
def input_moments(norms: Sequence[_BatchNorm]) -> Iterator[dict[int, Moments]]:
    """The moments of everything that batch norms are given inside the block, in float64.

    Over all but the channels, by the layer's place in `norms`; of this rank alone. A layer that was
    not called is not there.

    Example:
        >>> norm = nn.BatchNorm1d(1).eval()
        >>> with input_moments([norm]) as seen:
        ...     _ = norm(torch.tensor([[1.0], [3.0]]))
        >>> seen[0].mean
        tensor([2.], dtype=torch.float64)
    """
    seen: dict[int, Moments] = {}
    places = {norm: place for place, norm in enumerate(norms)}

    def note(norm: _BatchNorm, x: Tensor) -> None:
        place, mine = places[norm], _moments(x)
        seen[place] = merge(seen[place], mine) if place in seen else mine

    with _looking_at(norms, note):
        yield seen


def merged_over_ranks(mine: Mapping[int, Moments]) -> dict[int, Moments]:
    """The moments that `input_moments` saw on any rank, of each layer merged; inside `together`.

    To the last bit the same on all ranks. They may have seen different layers.

    Raises:
        RankError: if another rank failed.

    Example:
        >>> merged_over_ranks({3: Moments.of(torch.tensor([1.0, 3.0]), [0])})[3].mean
        tensor(2.)
    """
    everywhere = gathered({place: _on(torch.device("cpu"), of) for place, of in mine.items()})
    places = sorted({place for theirs in everywhere for place in theirs})
    return {
        place: merge_all(theirs[place] for theirs in everywhere if place in theirs)
        for place in places
    }


# --- the passes ---


def _alone(network: nn.Module, batch: Any) -> object:
    """The batch is what the network takes."""
    return network(batch)


def _calls(
    network: nn.Module, batches: Iterable[Any], call: Forward
) -> tuple[list[_BatchNorm], set[_BatchNorm]]:
    """The batch norms that any batch calls, on any rank, in order; and those to be set again.

    These are those that a batch calls several times, or all where batches call them in orders that
    do not agree.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    places = {norm: place for place, norm in enumerate(norms)}
    sequences: dict[tuple[int, ...], None] = {}
    sequence: list[int] = []
    with _looking_at(norms, lambda norm, _: sequence.append(places[norm])):
        for batch in batches:
            sequence.clear()
            call(network, batch)
            sequences[tuple(sequence)] = None
    everywhere = dict.fromkeys(one for theirs in gathered(list(sequences)) for one in theirs)
    order, agrees = _one_order(everywhere)
    often = {place for one in everywhere for place, times in Counter(one).items() if times > 1}
    again = often if agrees else set(order)
    return [norms[place] for place in order], {norms[place] for place in again}


def _one_order(sequences: Iterable[tuple[int, ...]]) -> tuple[list[int], bool]:
    """Layers by their first calls, so that every batch agrees; else as they were first seen.

    >>> _one_order([(0, 2), (1, 2, 1)]), _one_order([(0, 1), (1, 0)])
    (([0, 1, 2], True), ([0, 1], False))
    """
    first_calls = [list(dict.fromkeys(sequence)) for sequence in sequences]
    seen = list(dict.fromkeys(place for calls in first_calls for place in calls))
    graph: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(seen, ()))
    for calls in first_calls:
        for before, after in pairwise(calls):
            graph.add(after, before)
    try:
        return list(graph.static_order()), True
    except CycleError:
        return seen, False


def _moments_of(
    network: nn.Module,
    norm: _BatchNorm,
    batches: Iterable[Any],
    call: Forward,
    look: Look | None,
    *,
    whole: bool,
) -> Moments | None:
    """Of everything that a pass over all batches gives to `norm`; None if that is nothing."""

    def all_inputs() -> Iterator[Tensor]:
        for batch in batches:
            for x in _inputs(network, norm, batch, call, whole=whole):
                if look:
                    look(norm, x)
                yield x

    moments = None
    for x in all_inputs():
        moments = merge(moments, _moments(x)) if moments else _moments(x)
    return moments


def _inputs(
    network: nn.Module, norm: _BatchNorm, batch: Any, call: Forward, *, whole: bool
) -> list[Tensor]:
    """What a pass gives to `norm`; it ends at the first call, unless it is to be `whole`."""
    inputs: list[Tensor] = []

    def note(_: _BatchNorm, x: Tensor) -> None:
        inputs.append(x)
        if not whole:
            raise _SeenEnoughError

    with _looking_at([norm], note), suppress(_SeenEnoughError):
        call(network, batch)
    return inputs


def _settle(
    network: nn.Module, norms: Sequence[_BatchNorm], batches: Iterable[Any], call: Forward
) -> None:
    """Set statistics to what layers are given with all of them in place, until nothing moves."""
    for _ in range(_ROUNDS):
        with input_moments(norms) as seen:
            for batch in batches:
                call(network, batch)
        merged = merged_over_ranks(seen)
        if max(_set(norms[place], moments) for place, moments in merged.items()) < _SETTLED:
            return


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


# --- statistics ---


def _moments(x: Tensor) -> Moments:
    """Of every channel."""
    return Moments.of(x.double(), [axis for axis in range(x.ndim) if axis != 1])


def _on(device: torch.device, moments: Moments) -> Moments:
    return Moments(moments.count, moments.mean.to(device), moments.m2.to(device))


def _statistics(norm: _BatchNorm) -> Tensor:
    """Running mean and variance, as two rows."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return torch.stack([norm.running_mean, norm.running_var])


def _write(norm: _BatchNorm, statistics: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(statistics[0])
    norm.running_var.copy_(statistics[1])


def _set(norm: _BatchNorm, moments: Moments) -> float:
    """Write them; return how far the layer's statistics moved at most, in deviations."""
    before = _statistics(norm).double()
    _write(norm, torch.stack([moments.mean, moments.population_variance]))
    after = _statistics(norm).double()
    deviations = (before[1] + norm.eps).sqrt(), (after[1] + norm.eps).sqrt()
    means = (after[0] - before[0]).abs() / deviations[1]
    return float(torch.maximum(means, (deviations[1] / deviations[0]).log().abs()).max())
