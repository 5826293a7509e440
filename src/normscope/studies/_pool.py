"""Worker processes: who gets which run, and what is heard of them."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait

from normscope._errors import NormscopeError
from normscope.studies._messages import RunProgress, Task
from normscope.studies._shared_data import SharedDataset

_CODE = "from normscope.studies._worker import main; main({})"
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_SAVE = 30.0


class WorkerError(NormscopeError):
    """A worker process could not even start: the message says how it died."""


def train_in_workers(
    tasks: Sequence[Task],
    data: Sequence[SharedDataset],
    *,
    workers: int,
    inherited: Sequence[int],
    stop: Callable[[], bool],
) -> Generator[RunProgress]:
    """Train every task in one of `workers` processes; what is heard of them, as it comes.

    The next task goes to whoever is free first. A worker that dies takes its run with it, which is
    reported as ``failed``, and another takes its place. However the iteration ends, no process is
    left when it has.

    Args:
        tasks: in the order in which they are to begin.
        data: the data sets that the tasks name by number.
        workers: how many processes.
        inherited: file descriptors that live as long as the workers do.
        stop: once it says True, runs under way finish their step and save, and none begins.

    Raises:
        WorkerError: if a process dies before it is ready for its first run.
    """
    waiting = deque(tasks)
    hired: list[_Hired] = []

    def hire() -> None:
        hired.append(_Hired(data, inherited))

    try:
        for _ in range(min(workers, len(tasks))):
            hire()
        stopping = False
        while present := [worker for worker in hired if worker.present]:
            if not stopping and stop():
                stopping = True
                waiting.clear()
                for worker in present:
                    worker.say_stop()
            for worker in _those_with_news(present):
                yield from worker.news(waiting)
                if not worker.present and waiting:
                    hire()
    finally:
        _dismiss(hired)


class _Hired:
    """One worker process, seen from outside.

    Attributes:
        connection: closed once there is nothing more to say or hear.
        present: whether anything more will be heard.
    """

    def __init__(self, data: Sequence[SharedDataset], inherited: Sequence[int]) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            handles = [theirs.fileno(), *inherited, *(shared.handle for shared in data)]
            self.process = _started(theirs.fileno(), handles)
        self.present = True
        self._ready = False
        self._task: Task | None = None
        self._last: RunProgress | None = None
        self._say(data)

    def news(self, waiting: "deque[Task]") -> Iterator[RunProgress]:
        """Hear one message, and answer it: a free worker gets the next task, or may leave.

        Raises:
            WorkerError: if the process died before it was ready.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            yield from self._lost()
            return
        if message is None:
            self._ready, self._task = True, None
            if waiting:
                self._task, self._last = waiting.popleft(), None
                self._say(self._task)
            else:
                self.leave()
        else:
            self._last = message
            yield message

    def say_stop(self) -> None:
        """Ask it to finish its step, save, and leave."""
        self._say(None)

    def leave(self) -> None:
        """Close the connection, whereupon the process ends: nothing more will be heard."""
        self.present = False
        self.connection.close()

    def _say(self, message: object) -> None:
        """Send, unless nobody is there; that will be heard as the end of the connection."""
        with suppress(OSError):
            self.connection.send(message)

    def _lost(self) -> Iterator[RunProgress]:
        """The process is gone, or about to be."""
        self.leave()
        how = _ending(_awaited(self.process))
        if not self._ready:
            msg = f"A worker process {how} before it was ready, so no run was begun there."
            raise WorkerError(msg)
        if self._task is None or (self._last and self._last.finished):
            return
        epoch, accuracy = 0, None
        if self._last:
            epoch, accuracy = self._last.epoch, self._last.valid_accuracy
        yield RunProgress(
            name=self._task.name,
            epoch=epoch,
            epochs=self._task.recipe.epochs,
            valid_accuracy=accuracy,
            status="failed",
            message=f"its process {how}; whatever it had saved is kept.",
        )


def _started(handle: int, handles: Sequence[int]) -> "subprocess.Popen[bytes]":
    """A new worker process, which listens at `handle` and inherits all `handles`.

    Raises:
        WorkerError: if the system refuses.
    """
    search_path = os.pathsep.join(map(os.path.abspath, sys.path))
    try:
        return subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-P", "-c", _CODE.format(handle)],
            pass_fds=handles,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search_path},
            process_group=0,  # Ctrl-C in a terminal is the employer's to hear
        )
    except OSError as error:
        msg = f"The system refused to start a worker process ({error.strerror}). Use fewer workers."
        raise WorkerError(msg) from error


def _those_with_news(workers: "list[_Hired]") -> "list[_Hired]":
    """Wait a moment for a message from any of them."""
    ready = wait([worker.connection for worker in workers], _SECONDS_BETWEEN_LOOKS)
    return [worker for worker in workers if worker.connection in ready]


def _ending(code: int) -> str:
    """How a process ended, as a predicate."""
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL: often the system's answer when memory runs out)"
    if code < 0:
        names = {member.value: member.name for member in signal.Signals}
        return f"was ended by {names.get(-code, f'signal {-code}')}"
    return f"ended with status {code} (what it printed says why)"


def _awaited(process: "subprocess.Popen[bytes]") -> int:
    """A leaving process's exit status; after half a minute it is killed."""
    try:
        return process.wait(_SECONDS_TO_SAVE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
    return process.wait()


def _dismiss(workers: "list[_Hired]") -> None:
    """Let all of them go, and wait until they have: what was under way is saved first."""
    for worker in workers:
        worker.leave()
    try:
        for worker in workers:
            _awaited(worker.process)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
