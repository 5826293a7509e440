"""Who trains what: how many processes, and which run first."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from normscope._errors import InputError
from normscope.records import Recipe, Run
from normscope.studies._cores import usable_cores
from normscope.studies._messages import Task
from normscope.training import choose_device, has_written_out_step


def crew_size(recipes: Sequence[Recipe], wanted: int | None) -> int:
    """How many processes train by `recipes`: `wanted`, or one for every core that a run can have.

    This is the one place that decides it. Runs on a GPU get one process, for they would only take
    turns there, unless `batches` makes one program of them.

    Raises:
        InputError: if `wanted` is not a whole number from 1.
    """
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        msg = f"workers is {wanted!r}; give a whole number from 1, or nothing for every core."
        raise InputError(msg)
    if wanted is None and any(choose_device(recipe.device).type != "cpu" for recipe in recipes):
        wanted = 1
    threads = max((recipe.threads for recipe in recipes), default=1)
    return min(wanted or max(1, usable_cores() // threads), len(recipes))


def batches(tasks: Sequence[Task]) -> list[list[Task]]:
    """The runs that train as one program: those that differ in nothing but the seed.

    Whoever has no other to train with is in none.
    """
    alike: dict[tuple[int, Recipe], list[Task]] = {}
    for task in tasks:
        if trains_together(task.recipe):
            apart_from_the_seed = task.recipe.model_copy(update={"seed": 0})
            alike.setdefault((task.data, apart_from_the_seed), []).append(task)
    return [group for group in alike.values() if len(group) > 1]


def trains_together(recipe: Recipe) -> bool:
    """Whether several seeds of `recipe` are one program: on a GPU, where `WrittenOutStep` applies.

    On a CPU they are not: processes of one thread each keep its cores busy, and every run's bits
    are those of a training of its own.
    """
    return has_written_out_step(recipe) and choose_device(recipe.device).type != "cpu"


def work_left(task: Task, begun: Run | None) -> int:
    """How much there is to compute: epochs times rows times weights.

    Of a model of somebody's own the weights are not known; it counts as one layer.

    The longest run begins first; begun last, it would leave the other cores idle at the end.
    """
    hidden = task.recipe.hidden if task.recipe.model is None else ()
    widths = [prod(task.record.image_size), *hidden, len(task.record.classes)]
    epochs = task.recipe.epochs - (len(begun.epochs) if begun else 0)
    return epochs * task.record.train_rows * sum(a * b for a, b in pairwise(widths))
