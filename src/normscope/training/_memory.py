"""What it looks like when there is no more memory, which every library says in its own words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from normscope._errors import RecipeError

_SAID = re.compile(
    r"out of memory|not enough memory|can(no|')t allocate memory|ALLOC_FAILED", re.IGNORECASE
)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn an allocation that failed inside the block into a `RecipeError` of one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        msg = (
            "The network and its batches: there is not enough memory for this network "
            f"({' '.join(str(error).split())[:120]}). Use a smaller network or batch_size."
        )
        raise RecipeError(msg) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch's words on the *format* of memory are another matter.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."))
        True
        >>> is_out_of_memory(RuntimeError("unsupported memory format option Preserve"))
        False
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and _SAID.search(str(error)) is not None
