"""Moments of rows that are spread over the processes of `torch.distributed`."""

from collections.abc import Callable

import torch
import torch.distributed as dist

from normscope._errors import NormscopeError
from normscope.stats._moments import Moments, merge_all


def over_all_ranks(compute: Callable[[], Moments]) -> Moments:
    """What `compute` gives on this rank, merged with what it gives on all others.

    Where `torch.distributed` is not initialized, or has one rank, that is `compute()` alone. All
    ranks have to call this, and get the same moments to the last bit. They may hold different
    numbers of rows, but not none.

    Raises:
        NormscopeError: if another rank failed; no rank waits for one that did.

    Example:
        >>> over_all_ranks(lambda: Moments.of(torch.tensor([1.0, 3.0]), [0])).mean
        tensor(2.)
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return compute()
    try:
        mine = compute()
    except Exception as problem:
        _gathered(f"{type(problem).__name__}: {problem}")
        raise
    everywhere = _gathered((mine.count, mine.mean.cpu(), mine.m2.cpu()))
    for rank, theirs in enumerate(everywhere):
        if isinstance(theirs, str):
            msg = f"Rank {rank} failed, so the moments of all rows are not known: {theirs}"
            raise NormscopeError(msg)
    whole = merge_all(Moments(*theirs) for theirs in everywhere)
    where = mine.mean.device
    return Moments(whole.count, whole.mean.to(where), whole.m2.to(where))


def _gathered(mine: object) -> list[tuple[int, torch.Tensor, torch.Tensor] | str]:
    """What every rank has to say, in their order."""
    everywhere: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, mine)
    return everywhere  # type: ignore[return-value]
