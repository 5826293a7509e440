"""Us: the loop of `normscope train` itself, paced at the place where it looks for Ctrl-C.

So its bookkeeping takes part: gathering the batch, keeping the losses, looking whether they are
finite. Only the validation after each epoch is cut down, to one row; `sections.whole_run` has it.
"""

from typing import Any

import torch

from benchmarks.steps._torch import set_up, tensors
from benchmarks.steps.task import CLASSES, INPUTS, LEARNING_RATE, ROWS, Task
from benchmarks.worker import Pace
from normscope.records import Recipe
from normscope.training import Rows, build_network
from normscope.training._loop import fit
from normscope.training._network import build_optimizer
from normscope.training._state import TrainingState

FOREVER = 10**9


def run(pace: Pace, **job: Any) -> None:
    """Train without end, without a folder."""
    set_up()
    task = Task(**job)
    images, labels = tensors(task)
    recipe = Recipe(
        hidden=task.hidden,
        norm="batch" if task.normalized else "none",
        batch_size=task.batch,
        learning_rate=LEARNING_RATE,
        epochs=FOREVER,
        constant_epochs=FOREVER,
    )
    network = build_network(recipe, inputs=INPUTS, classes=CLASSES)
    optimizer = build_optimizer(network, recipe)
    steps = ROWS // task.batch
    state = TrainingState.fresh(network, optimizer, steps=steps, device=torch.device("cpu"))

    def stop() -> bool:
        if state.step:  # it is asked once more after each epoch, when no step was made
            pace()
        return False

    fit(
        state,
        recipe,
        train=Rows(images, labels),
        valid=Rows(images[:1], labels[:1]),
        observers=(),
        save=lambda: None,
        stop=stop,
    )
