"""What a run ran on."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from normscope._errors import RecipeError
from normscope._version import __version__
from normscope.records import Environment


def choose_device(wanted: str) -> torch.device:
    """The device that a recipe's ``auto``, ``cpu`` or ``cuda`` stands for here.

    Raises:
        RecipeError: if a GPU is asked for and torch sees none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        msg = "device: cuda was asked for, but torch sees no GPU here. Use --device cpu or auto."
        raise RecipeError(msg)
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(found if wanted == "auto" else wanted)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Inside the block torch uses `count` CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def environment(device: torch.device) -> Environment:
    """Versions and hardware, as they are now."""
    return Environment(
        normscope=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        platform=platform.platform(),
        processor=_processor(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
    )


def _processor() -> str:
    """The CPU's name: Linux tells it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
