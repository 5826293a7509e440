"""A network of which nothing is known but its batch norms: what they are given, and what they give.

Here s1 is what a batch norm is given, and s3 what it gives. Where it has more axes than rows and
channels, every place of every row counts as a row.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._shapes import Sums
from normscope.anatomy import batch_norm_layers, batch_statistics, preserved

Seen = TypeVar("Seen")
_Look = Callable[[_BatchNorm, Tensor, Tensor], None]


def batch_norms_called(network: nn.Module, images: Tensor) -> list[_BatchNorm]:
    """The batch norms that track statistics and that a pass calls, in the order of the calls.

    Args:
        network: left as it was.
        images: some rows, as the network takes them.
    """
    norms = batch_norm_layers(network).values()
    called: dict[_BatchNorm, None] = {}
    if not any(norm.running_mean is not None for norm in norms):
        return []
    with preserved(network), _looking_on(network, lambda norm, *_: called.update({norm: None})):
        network.eval()
        network(images[:2])
    return [norm for norm in called if norm.running_mean is not None]


def look_through(
    network: nn.Module, norms: list[_BatchNorm], images: Tensor, see: Callable[[Sums, Sums], Seen]
) -> list[Seen]:
    """What `see` makes of s1 and s3 of every norm while `images` pass through as one batch.

    Nothing, where this pass does not call all of them: layers are known by their place.

    Batch norms normalize by the batch's statistics, all else is in eval mode; the network is left
    as it was, random state and hooks included.

    Args:
        network: its own ``forward`` is called.
        norms: as `batch_norms_called` gives them.
        images: as the network takes them.
        see: told of s1 and s3, ``[values, channels]``, before the pass goes on.
    """
    seen: dict[_BatchNorm, Seen] = {}

    def look(norm: _BatchNorm, given: Tensor, made: Tensor) -> None:
        if norm in norms:
            seen[norm] = see(_by_channel(given), _by_channel(made))

    with batch_statistics(network), _looking_on(network, look):
        network(images)
    return [seen[norm] for norm in norms] if len(seen) == len(norms) else []


def _by_channel(values: Tensor) -> Sums:
    return values.movedim(1, -1).flatten(0, -2)


@contextmanager
def _looking_on(network: nn.Module, look: _Look) -> Iterator[None]:
    """Inside the block, `look` is told what every batch norm is given, and what it gives."""

    def hook(norm: nn.Module, given: tuple[Any, ...], named: dict[str, Any], made: Tensor) -> None:
        assert isinstance(norm, _BatchNorm)
        look(norm, given[0] if given else named["input"], made)

    norms = batch_norm_layers(network).values()
    handles = [norm.register_forward_hook(hook, with_kwargs=True) for norm in norms]
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
