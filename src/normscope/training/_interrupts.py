"""Ctrl-C as a wish: finish the step, save, then stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Inside the block, the first Ctrl-C (or SIGTERM) is noted instead of raised.

    Yields a function that says whether a stop was asked for. A second signal is raised as usual,
    for whoever cannot wait. Outside the main thread, where Python delivers no signals, nothing
    changes and the answer stays False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    asked = False

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's own form
        nonlocal asked
        asked = True
        for which, handler in before.items():
            signal.signal(which, handler)

    before = {which: signal.signal(which, note) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
