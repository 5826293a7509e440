"""Work that the processes of `torch.distributed` do together, and that none of them waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from normscope._errors import RankError

Held = TypeVar("Held")


_inside = ContextVar("_inside", default=False)


@dataclass(frozen=True)
class _Failure:
    """What a rank that failed hands on in the place of what it holds."""

    told: str


@contextmanager
def together() -> Iterator[None]:
    """All ranks do what is in the block, or none waits for one that failed.

    Whatever the block raises on one rank, the others raise at their next `gathered`, of which
    there has to be one at the end of the block; on all ranks the block calls it equally often.
    Where `torch.distributed` is not initialized, or has one rank, it does nothing; nor does a block
    inside another one.

    Raises:
        RankError: on the other ranks, if one failed, or does not answer.
        Exception: on that rank, what it raised.

    Example:
        >>> with together():
        ...     sums = gathered(1 + 1)
        >>> sums
        [2]
    """
    if _inside.get() or not _are_several():
        yield
        return
    outermost = _inside.set(True)
    try:
        yield
    except RankError:
        raise  # they know
    except Exception as problem:
        _exchanged(_Failure(f"{type(problem).__name__}: {problem}"))
        raise
    finally:
        _inside.reset(outermost)


def gathered(mine: Held) -> list[Held]:
    """What every rank holds, in their order, inside `together`; alone, what this one does.

    Args:
        mine: can be pickled; tensors are on the CPU.

    Raises:
        RankError: if another rank failed, or does not answer.

    Example:
        >>> gathered("mine")
        ['mine']
    """
    if not _are_several():
        return [mine]
    everywhere = _exchanged(mine)
    for rank, theirs in enumerate(everywhere):
        if isinstance(theirs, _Failure):
            msg = f"Rank {rank} failed, so this one has stopped, too: {theirs.told}"
            raise RankError(msg)
    return everywhere  # type: ignore[return-value]


def _are_several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _exchanged(mine: object) -> list[object]:
    """What every rank has to say, in their order."""
    everywhere: list[object] = [None] * dist.get_world_size()
    try:
        dist.all_gather_object(everywhere, mine)
    except RuntimeError as problem:
        told = str(problem).splitlines()[0]
        msg = (
            f"The other ranks do not answer ({told}). All of them have to call this together, and "
            "a rank that was interrupted, or has ended, cannot."
        )
        raise RankError(msg) from problem
    return everywhere
