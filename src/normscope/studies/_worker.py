"""A worker process: trains one run after another, and leaves when its employer is gone.

It starts as ``python -c "... main(HANDLE)"`` instead of through `multiprocessing`, which would
import the user's own script again, and fail where that has no ``if __name__ == "__main__":``.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue

from normscope._errors import DivergenceError, NormscopeError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.records import EpochRecord, Run
from normscope.studies._messages import RunProgress, RunStatus, Task
from normscope.studies._watched import look_back, onlookers
from normscope.training import StepView, own_model_errors, train_into


def main(handle: int) -> None:
    """Work for the process at the other end of `handle`, a socket."""
    employer = Connection(handle)
    data = [shared.open() for shared in employer.recv()]
    Worker(employer, data).work()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # everything is on the disk; to take torch apart would take a second


class Worker:
    """Says that it is free (None), trains the task that it is then given, and so on.

    It leaves when its employer says stop (None), closes the connection or dies, and on SIGTERM: a
    run under way finishes its step and saves first.

    Args:
        employer: a connection to whoever gives tasks and hears of their progress.
        data: the data sets that tasks name by number.
    """

    def __init__(self, employer: "Connection[object, object]", data: list[Dataset]) -> None:
        self._employer = employer
        self._data = data
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._stopping = False

    def work(self) -> None:
        """Train until told to stop."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the employer hears it, and says stop
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell(None)
        while not self._stopping and (task := self._tasks.get()):
            self._tell(self.train(task))
            if not self._stopping:
                self._tell(None)

    def train(self, task: Task) -> RunProgress:
        """Train one run; how it ended. Whatever goes wrong is the run's end, not the worker's."""
        progress, data = _Progress(task, self._tell), self._data[task.data]
        try:
            with own_model_errors(task.recipe):  # which those who look on call as well
                train_into(
                    task.folder,
                    task.recipe,
                    data,
                    task.record,
                    observers=[progress, *onlookers(task, data)],
                    stop=lambda: self._stopping,
                )
                look_back(task, data)
        except DivergenceError as error:
            return progress.now("diverged", str(error))
        except TrainingInterruptedError as error:
            return progress.now("interrupted", str(error))
        except NormscopeError as error:
            return progress.now("failed", str(error))
        except Exception:  # noqa: BLE001 - a fault of ours; the other runs are not to blame
            return progress.now("failed", traceback.format_exc())
        return progress.now("complete")

    def _listen(self) -> None:
        """Take in tasks, in a thread of its own, until the employer says stop or is gone."""
        try:
            while isinstance(task := self._employer.recv(), Task):
                self._tasks.put(task)
        except (EOFError, OSError):
            pass
        self._stop()

    def _stop(self) -> None:
        """Stop after the step under way."""
        self._stopping = True
        self._tasks.put(None)

    def _tell(self, message: RunProgress | None) -> None:
        """Say something to the employer, if there still is one."""
        try:
            self._employer.send(message)
        except OSError:
            self._stop()


class _Progress:
    """An observer that tells of every epoch."""

    def __init__(self, task: Task, tell: Callable[[RunProgress], None]) -> None:
        self._task, self._tell = task, tell
        self._last: EpochRecord | None = None

    def now(self, status: RunStatus, message: str = "") -> RunProgress:
        """Where the run stands."""
        return RunProgress(
            name=self._task.name,
            epoch=self._last.epoch if self._last else 0,
            epochs=self._task.recipe.epochs,
            valid_accuracy=self._last.valid_accuracy if self._last else None,
            status=status,
            message=message,
        )

    def on_start(self, run: Run, steps_per_epoch: int) -> None:  # noqa: ARG002 - the protocol's
        """Tell where the run begins, or goes on."""
        self._last = run.epochs[-1] if run.epochs else None
        self._tell(self.now("running"))

    def on_step(self, view: StepView) -> None:
        """Nothing: an epoch is soon over."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Tell how well it did."""
        self._last = record
        self._tell(self.now("running"))

    def on_end(self, run: Run) -> None:
        """Nothing: the worker tells how it ended."""
