"""What a whole run adds to its bare training steps."""

import tempfile
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from benchmarks.contest import Contestant, compete
from benchmarks.steps.task import Task
from benchmarks.tables import Section, Table, Target

ROWS = {"train": 9_880, "valid": 1_100, "test": 1_800}
"""As many as the built-in letters have."""
EPOCHS, ROUNDS = 100, 10
ADDED = "what the run adds to its steps"


def measure(options: Namespace) -> list[Table]:
    """A turn is an epoch; what a run does once is spread over the default recipe's epochs."""
    steps = ROWS["train"] // Task().batch
    job = asdict(Task())
    with tempfile.TemporaryDirectory() as folder:
        whole = {"rows": ROWS, "out": str(Path(folder, "run")), "threads": 1}
        outcome = compete(
            {
                "floor": Contestant("benchmarks.steps.floor:run", job),
                "bare steps": Contestant("benchmarks.steps.normscope:run", job),
                "normscope.train": Contestant("benchmarks.contestants.whole_run:run", whole),
                "once": Contestant(
                    "benchmarks.contestants.whole_run:final_test", {"rows": ROWS}, measured=1
                ),
            },
            threads=1,
            rounds=ROUNDS,
            measured=steps,
        )
    options.versions.update(outcome.versions)
    samples = dict(outcome.samples)
    if not outcome.left_out:
        once = [seconds / (EPOCHS * steps) for seconds in samples.pop("once")]
        samples["normscope.train"] = [
            whole + share for whole, share in zip(samples["normscope.train"], once, strict=True)
        ]
        samples[ADDED] = [
            whole - bare
            for whole, bare in zip(samples["normscope.train"], samples["bare steps"], strict=True)
        ]
    return [
        Table(
            title="whole run, 1 thread",
            unit="s",
            samples=samples,
            against="floor",
            targets=(Target(ADDED, 0.1, "floor"),),
            left_out=outcome.left_out,
            notes=outcome.notes,
        )
    ]


SECTION = Section(
    "whole-run",
    f"Seconds for each step of a whole `normscope.train` with a run folder, on {ROWS['train']:,}\n"
    "rows: validation, record and checkpoint after each epoch, and the final test under three\n"
    f"kinds of statistics, spread over {EPOCHS} epochs. Against its bare steps, and the floor.",
    measure,
)
