"""Contestants whose work is known."""

import json
from pathlib import Path

from benchmarks.worker import Pace


def counting(pace: Pace, *, log: str) -> None:
    """Writes down how many steps it has made."""
    steps = 0
    while True:
        pace()
        steps += 1
        Path(log).write_text(json.dumps(steps), encoding="utf-8")


def in_blocks(pace: Pace, *, unmeasured: int, measured: int, log: str) -> None:
    """Makes the steps of a turn in two calls, as JAX does."""
    pace()
    blocks = 0
    while True:
        for count in (unmeasured, measured):
            blocks += 1
            Path(log).write_text(json.dumps(blocks), encoding="utf-8")
            pace(count)


def not_installed(pace: Pace) -> None:
    import a_framework_that_nobody_has  # noqa: F401


def broken(pace: Pace) -> None:
    msg = "out of luck"
    raise RuntimeError(msg)


def dying(pace: Pace) -> None:
    pace()
    raise SystemExit(3)


def printing(pace: Pace) -> None:
    """A framework that talks on standard output."""
    while True:
        print("epoch 1/10 ━━━━━━")
        pace()


def restless(pace: Pace) -> None:
    """Computes while it waits: threads of its own spin."""
    import threading

    def spin() -> None:
        while True:
            sum(range(1000))

    threading.Thread(target=spin, daemon=True).start()
    while True:
        pace()


def steps_that_take(pace: Pace, *, seconds: list[float]) -> None:
    """Seconds on a clock that only this contestant moves."""
    from benchmarks import worker

    now = [0.0]
    worker.time.perf_counter = lambda: now[0]
    for step in seconds:
        pace()
        now[0] += step
    while True:
        pace()
