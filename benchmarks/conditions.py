"""When and on what a measurement was made."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def conditions() -> dict[str, str | int]:
    """The date and the machine; versions come from the contestants' own processes."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The CPU's name, which Linux tells in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
