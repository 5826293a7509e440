"""How long one training step takes, us and our peers, in multiples of the floor."""

from argparse import Namespace
from dataclasses import asdict

from benchmarks.contest import Contestant, compete
from benchmarks.steps import CONTESTANTS
from benchmarks.steps.task import Task
from benchmarks.tables import Section, Table, Target

LIMITS = {1: 1.10, 2: 1.25}
"""What our step may take, in floors, by threads."""


def measure(options: Namespace) -> list[Table]:
    """A table for every normalization and number of threads."""
    return [
        one_table(options, Task(hidden=tuple(options.hidden), norm=norm), threads)
        for threads in options.threads
        for norm in options.norm
    ]


def one_table(options: Namespace, task: Task, threads: int) -> Table:
    """All contestants under one set of conditions."""
    chosen = [name for name in CONTESTANTS if name == "floor" or name in options.contestants]
    outcome = compete(
        {
            CONTESTANTS[name]: Contestant(
                f"benchmarks.steps.{name}:run", asdict(task), python=options.python[name]
            )
            for name in chosen
        },
        threads=threads,
        rounds=max(1, options.steps // task.measured),
        unmeasured=task.unmeasured,
        measured=task.measured,
    )
    options.versions.update(outcome.versions)
    limit = LIMITS.get(threads)
    return Table(
        title=f"norm = {task.norm}, {threads} {'thread' if threads == 1 else 'threads'}",
        unit="s",
        samples=outcome.samples,
        against="floor",
        targets=(Target("normscope", limit, "floor"),) if limit else (),
        left_out=outcome.left_out,
        notes=outcome.notes,
    )


SECTION = Section(
    "training",
    "One training step: gather a batch of 120 rows of 784 columns, forward, backward, Adam. The\n"
    "floor is what no step can do without: the network's matrix products, forward and both\n"
    "backward, by PyTorch's own matrix library into buffers that are made once, and one fused\n"
    "pass of Adam over all parameters. It computes nothing useful. Ratios are taken within rounds\n"
    "of ten steps for each contestant.",
    measure,
)
