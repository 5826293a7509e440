"""How far the running statistics of the processes of `torch.distributed` are apart."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy import RunningNorm, in_float64


def rank_distances(norms: Mapping[str, _BatchNorm]) -> dict[str, float] | None:
    """Of every layer: the largest distance of a rank's running mean from the first rank's.

    The root of the mean square over the channels, in deviations of the first rank. All ranks have
    to call this, and get the same; where there is one rank it is None, and where they have
    different layers too.

    Example:
        >>> rank_distances({}) is None
        True
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    mine = {
        path: both for path, norm in norms.items() if (both := _statistics(path, norm)) is not None
    }
    everywhere: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, {path: tuple(both.shape) for path, both in mine.items()})
    if any(theirs != everywhere[0] for theirs in everywhere):
        return None
    first: list[dict[str, torch.Tensor]] = [mine]
    dist.broadcast_object_list(first, src=0)
    own = {
        path: float(((both[0] - first[0][path][0]) / first[0][path][1]).square().mean().sqrt())
        for path, both in mine.items()
    }
    dist.all_gather_object(everywhere, own)
    return {
        path: max(theirs[path] for theirs in everywhere if isinstance(theirs, dict))
        for path in mine
    }


def _statistics(path: str, norm: _BatchNorm) -> torch.Tensor | None:
    """Running mean and deviation per channel."""
    stored = RunningNorm(path, norm)
    if stored.mean is None or stored.variance is None:
        return None
    scale = (in_float64(stored.variance) + stored.eps).sqrt()
    return torch.stack([in_float64(stored.mean), scale]).cpu()
