"""Kill a training at chosen moments, resume it, and print what it ended in.

A moment is a training step, or any operation on a file of the run folder (a write is opened, a
name is taken, a folder is made or removed). Each killed training is a forked child that sends
itself SIGKILL at its moment: no handler runs, nothing is flushed. Standard output is one JSON
document: the reference's digest, and for every moment how the child died and what the resumed
training ended in.

Run by `test_survival.py`: ``python kill_driver.py FOLDER DATA.npz MOMENTS|all [RECIPE.toml]``.
"""

import hashlib
import importlib.util
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from normscope.records import Recipe, Run
from normscope.training import StepView, resume, train

RECIPE = Recipe(hidden=(12, 8), epochs=3, batch_size=30, constant_epochs=1, seed=5)
_OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def digest(network: torch.nn.Module) -> str:
    """SHA-256 of all weights and buffers."""
    sums = hashlib.sha256()
    for name, value in network.state_dict().items():
        sums.update(name.encode() + value.numpy().tobytes())
    return sums.hexdigest()


class Moments:
    """Counts the moments of a training; at one of them, the process is killed."""

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.folder, self.kill_at, self.count = str(folder), kill_at, 0
        sys.addaudithook(self._file_operation)

    def _moment(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _file_operation(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _OPERATIONS and str(arguments[0]).startswith(self.folder):
            self._moment()

    def on_start(self, run: Run, steps_per_epoch: int) -> None: ...

    def on_step(self, view: StepView) -> None:
        self._moment()

    def on_epoch(self, record: object) -> None: ...

    def on_end(self, run: Run) -> None: ...


def in_a_child(work: Callable[[], str]) -> tuple[int, str]:
    """Run `work` in a forked child: its wait status, and the text that it returned."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.write(write, work().encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    return os.waitpid(child, 0)[1], text


def whole(recipe: Recipe, folder: Path, data: Path) -> str:
    """Train without a kill; how many moments that has, and the digest."""
    moments = Moments(folder, None)
    result = train(recipe, data, out=folder, observers=[moments])
    return f"{moments.count} {digest(result.network)}"


def killed(recipe: Recipe, folder: Path, data: Path, moment: int) -> str:
    train(recipe, data, out=folder, observers=[Moments(folder, moment)])
    return "survived"


def taken_up(recipe: Recipe, folder: Path, data: Path) -> str:
    """What a person does next: resume what is there, or begin again where nothing is."""
    if not (folder / "run.json").exists():
        return digest(train(recipe, data, out=folder).network)
    if Run.load(folder).status == "complete":
        from normscope.training import load

        return digest(load(folder))
    return digest(resume(folder, data).network)


def main(folder: Path, data: Path, how_many: str, recipe: Recipe = RECIPE) -> None:
    torch.set_num_threads(1)
    # Training imports these when it first needs them: here once, not in every child anew.
    importlib.import_module("torch._dynamo")
    if importlib.util.find_spec("tensorboard"):
        importlib.import_module("torch.utils.tensorboard")
    _, text = in_a_child(lambda: whole(recipe, folder / "reference", data))
    total, reference = int(text.split()[0]), text.split()[1]
    moments = list(range(1, total + 1))
    if how_many != "all":
        moments = sorted(random.Random(0).sample(moments, int(how_many)))
    outcomes = []
    for moment in moments:
        run = folder / f"killed-{moment}"
        status, _ = in_a_child(lambda run=run, moment=moment: killed(recipe, run, data, moment))
        _, ended_in = in_a_child(lambda run=run: taken_up(recipe, run, data))
        outcomes.append(
            {
                "moment": moment,
                "by_sigkill": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
                "digest": ended_in,
            }
        )
    print(json.dumps({"moments": total, "reference": reference, "outcomes": outcomes}))


if __name__ == "__main__":
    recipes = map(Path, sys.argv[4:])
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(Recipe.from_toml, recipes))
