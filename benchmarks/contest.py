"""Contestants in processes of their own, driven in turns, so that all see the same machine.

A machine's speed drifts: its clock, its neighbours. Ratios of times that were measured minutes
apart measure the drift. Here all contestants are started and warm, and a *round* gives each of them
one short turn; a ratio is taken within a round. Only one computes at a time: the others sleep, on
a pipe.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parents[1]
SPINNING = 0.2
"""Processor time for each second of waiting above which a contestant disturbs the others."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part.

    Attributes:
        entry: ``"module:function"``, called in its own process as ``function(pace, **job)``; see
            `worker.Pace` for what it has to do.
        job: plain values that say what to compute.
        measured: timed steps in a turn; None for the contest's number.
        python: the interpreter that has its framework.
    """

    entry: str
    job: Mapping[str, Any] = field(default_factory=dict)
    measured: int | None = None
    python: str = sys.executable


@dataclass(frozen=True)
class Outcome:
    """What a contest gives.

    Attributes:
        samples: seconds for each step, a figure a round, by contestant.
        left_out: who could not take part to the end, and why.
        versions: of every package that some contestant had imported.
        notes: what a reader of the samples should know.
    """

    samples: dict[str, list[float]]
    left_out: dict[str, str]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()


class LeftOutError(Exception):
    """A contestant cannot take part; the message says why."""


class _Seat:
    """A contestant's process, as the referee sees it."""

    def __init__(self, contestant: Contestant, threads: int) -> None:
        """Start the process.

        Raises:
            OSError: if there is no such interpreter.
        """
        self._complaints: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        job = json.dumps(dict(contestant.job))
        try:
            self._process = subprocess.Popen(
                [contestant.python, "-m", "benchmarks.worker", contestant.entry, job, str(threads)],
                cwd=ROOT,
                env=environment(threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                text=True,
            )
        except OSError:
            self._complaints.close()
            raise
        self.busy: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The end of its input is the end of its work."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it never came to its first turn
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._complaints.close()

    def ready(self) -> dict[str, str]:
        """Wait until it is built and compiled; the versions of what it imported."""
        return dict(self._answer()["versions"])

    def turn(self, unmeasured: int, measured: int) -> float:
        """Let it make some steps; seconds for each of the measured ones."""
        assert self._process.stdin is not None
        turn = json.dumps({"unmeasured": unmeasured, "measured": measured})
        try:
            print(turn, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise LeftOutError(self._last_words()) from None
        answer = self._answer()
        self.busy.append(answer["busy_while_waiting"])
        return float(answer["seconds"]) / measured

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"left_out": self._last_words()}
        if "left_out" in answer:
            raise LeftOutError(answer["left_out"])
        return dict(answer)

    def _last_words(self) -> str:
        code = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        return f"its process ended with code {code}" + (f" ({lines[-1][:200]})" if lines else "")


def environment(threads: int) -> dict[str, str]:
    """A contestant's environment: as many threads as it may use, and no chatter."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu"}
    # A GPU that sits beside the processor takes no part: it has a section of its own.
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    return os.environ | dict.fromkeys(names, str(threads)) | quiet | hidden


def compete(
    contestants: Mapping[str, Contestant],
    *,
    threads: int,
    rounds: int,
    unmeasured: int = 2,
    measured: int = 10,
    rehearse: bool = True,
) -> Outcome:
    """Start everybody, play a round that does not count, then `rounds` that do.

    Args:
        contestants: by the name that the tables use.
        threads: how many each may use; it is kept on as many cores.
        rounds: turns for each.
        unmeasured: steps at the start of a turn that are not timed.
        measured: steps in a turn that are timed together.
        rehearse: whether to play the round that does not count.
    """
    samples: dict[str, list[float]] = {}
    left_out: dict[str, str] = {}
    found: dict[str, str] = {}
    with ExitStack() as stack:
        seats = {}
        for name, contestant in contestants.items():
            try:
                seats[name] = stack.enter_context(_Seat(contestant, threads))
            except OSError as error:
                left_out[name] = f"{contestant.python}: {error.strerror}"
        for name, seat in seats.items():
            try:
                found |= seat.ready()
                samples[name] = []
            except LeftOutError as reason:
                left_out[name] = str(reason)
        for number in range(-1 if rehearse else 0, rounds):
            for name in list(samples):
                steps = contestants[name].measured or measured
                try:
                    seconds = seats[name].turn(unmeasured, steps)
                except LeftOutError as reason:
                    left_out[name] = str(reason)
                    del samples[name]
                    continue
                if number >= 0:
                    samples[name].append(seconds)
        notes = _restless({name: seats[name].busy[2:] for name in samples})
    return Outcome(samples, left_out, found, notes)


def _restless(busy: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Who computed while it waited, and so disturbed the others."""
    return tuple(
        f"{name} kept {100 * median(shares):.0f} % of a core busy while it waited for a turn."
        for name, shares in busy.items()
        if shares and median(shares) > SPINNING
    )
