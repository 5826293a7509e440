"""Kill a training with a `HistoryProbe` at chosen moments, resume it, and print what is left.

As `tests/training/kill_driver.py` does, whose children and moments these are; a moment comes before
the probe's look as well as after it. Standard output is one JSON document: the reference's history
and digest, and of every killed training how it died and what the resumed one left.

Run by `test_history.py`: ``python -m tests.probes.kill_driver FOLDER DATA.npz HOW_MANY``.
"""

import importlib.util
import json
import os
import random
import signal
import sys
from pathlib import Path

import torch

from normscope.data import load
from normscope.probes import HistoryProbe, read_history
from normscope.records import Run
from normscope.training import resume, train
from tests.training.kill_driver import RECIPE, Moments, digest, in_a_child


def observers(moments: Moments, data: Path) -> list[object]:
    return [moments, HistoryProbe(load(data).valid), moments]


def trained(folder: Path, data: Path, kill_at: int | None) -> str:
    """Train, or be killed; how many moments that has, and what is left."""
    moments = Moments(folder, kill_at)
    train(RECIPE, data, out=folder, observers=observers(moments, data))
    return f"{moments.count} {left(folder)}"


def taken_up(folder: Path, data: Path) -> str:
    """What a person does next: resume what is there, or begin again where nothing is."""
    watched = observers(Moments(folder, None), data)
    if not (folder / "run.json").exists():
        train(RECIPE, data, out=folder, observers=watched)
    elif Run.load(folder).status != "complete":
        resume(folder, data, observers=watched)
    return left(folder)


def left(folder: Path) -> str:
    from normscope.training import load as load_network

    history = read_history(folder)
    assert history
    return f"{digest(load_network(folder))} {history.model_dump_json()}"


def main(folder: Path, data: Path, how_many: int) -> None:
    torch.set_num_threads(1)
    # Training imports these when it first needs them: here once, not in every child anew.
    importlib.import_module("torch._dynamo")
    if importlib.util.find_spec("tensorboard"):
        importlib.import_module("torch.utils.tensorboard")
    _, text = in_a_child(lambda: trained(folder / "reference", data, None))
    total, reference = text.split(" ", 1)
    outcomes = []
    for moment in sorted(random.Random(1).sample(range(1, int(total) + 1), how_many)):
        run = folder / f"killed-{moment}"
        status, _ = in_a_child(lambda run=run, moment=moment: trained(run, data, moment))
        _, after = in_a_child(lambda run=run: taken_up(run, data))
        by_sigkill = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        outcomes.append({"moment": moment, "by_sigkill": by_sigkill, "left": after})
    print(json.dumps({"reference": reference, "outcomes": outcomes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
