"""A contestant's own process: it steps when it is its turn, and sleeps while others have theirs.

`contest` starts it as ``python -m benchmarks.worker ENTRY JOB THREADS`` and speaks with it in lines
of JSON: a turn on standard input, its seconds on standard output.
"""

import importlib
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

PACKAGES = (
    *("normscope", "torch", "numpy", "jax", "jaxlib", "tensorflow", "keras", "lightning"),
    *("onnxruntime", "onnx", "tensorboard", "isal"),
)


class Pace:
    """What a contestant calls after every step, and what makes it wait for its turn.

    A contestant steps forever. The first call says that all is built and compiled; it comes back
    when the first turn begins. In a turn some steps are made unmeasured, because the others have
    filled the cache meanwhile; the rest are timed together. After the last turn the process ends
    within the call.

    Args:
        commands: turns come in here, a line each.
        answers: their times go out here.
    """

    def __init__(self, commands: TextIO, answers: TextIO) -> None:
        self._commands, self._answers = commands, answers
        self._unmeasured = self._measured = 0
        self._started = 0.0
        self._busy_while_waiting: list[float] = []

    def __call__(self, steps: int = 1) -> None:
        """`steps` more are done."""
        now = time.perf_counter()
        if self._unmeasured > 0:
            self._unmeasured -= steps
            self._started = time.perf_counter()
            return
        self._measured -= steps
        if self._measured <= 0:
            self._hand_over(now - self._started)

    def _hand_over(self, seconds: float) -> None:
        """Answer, and sleep until the next turn."""
        busy, idle_since = time.process_time(), time.monotonic()
        answer: dict[str, Any] = {"seconds": seconds}
        if not self._busy_while_waiting:
            answer = {"versions": versions()}
        else:
            answer["busy_while_waiting"] = self._busy_while_waiting[-1]
        print(json.dumps(answer), file=self._answers, flush=True)
        command = self._commands.readline()
        if not command:
            os._exit(0)  # out of the middle of whatever loop a framework has called us from
        waited = time.monotonic() - idle_since
        self._busy_while_waiting.append((time.process_time() - busy) / waited)
        turn = json.loads(command)
        self._unmeasured, self._measured = turn["unmeasured"], turn["measured"]
        self._started = time.perf_counter()


def versions() -> dict[str, str]:
    """The versions of what this process has imported."""
    found = {}
    for package in PACKAGES:
        if package in sys.modules:
            try:
                found[package] = version(package)
            except PackageNotFoundError:  # its distribution has another name: tensorflow-cpu
                found[package] = str(getattr(sys.modules[package], "__version__", "?"))
    return found


def use_cores(count: int) -> None:
    """Keep this process, and all pools that it will start, on `count` cores, where that can be.

    The last ones: what else a machine does tends to be on the first.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-count:])


def main(entry: str, job: str, threads: str) -> None:
    """Find the contestant and let it step; say so where it cannot.

    Standard output is ours: what a framework prints goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    use_cores(int(threads))
    module, function = entry.split(":")
    try:
        contestant = getattr(importlib.import_module(module), function)
        contestant(Pace(sys.stdin, answers), **json.loads(job))
    except ModuleNotFoundError as error:
        print(json.dumps({"left_out": f"{error.name} is not installed"}), file=answers, flush=True)
    except Exception as error:  # noqa: BLE001  whatever a peer does, the others go on
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(json.dumps({"left_out": reason}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
