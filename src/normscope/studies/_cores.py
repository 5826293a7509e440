"""How many cores this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Cores that the system lets this process run on, at least one.

    The machine's, less what an affinity mask (``taskset``, a batch system) or a container's quota
    takes away.

    Example:
        >>> usable_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, _whole_cores(quota) or cores)


def _whole_cores(quota: Path) -> int | None:
    """The cores of a cgroup's quota (version 2: "microseconds period", or "max"), if it has one.

    One and a half are one: a second process would wait half of its time.
    """
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        return max(1, int(allowed) // int(period))
    except (OSError, ValueError):
        return None
