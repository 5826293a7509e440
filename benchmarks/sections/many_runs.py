"""Ten seeds at once against ten runs one after another."""

import tempfile
from argparse import Namespace

from benchmarks.conditions import cores
from benchmarks.contest import Contestant, compete
from benchmarks.tables import Section, Table, Target

SEEDS, EPOCHS, ROUNDS = 10, 6, 2
ROWS = {"train": 9_880, "valid": 1_100, "test": 1_800}
ALONE, TOGETHER = "one after another", "train_many"


def measure(options: Namespace) -> list[Table]:
    """Both on all cores, with default settings but for the epochs."""
    job = {"seeds": SEEDS, "epochs": EPOCHS, "rows": ROWS}
    with tempfile.TemporaryDirectory() as alone, tempfile.TemporaryDirectory() as together:
        outcome = compete(
            {
                ALONE: Contestant(
                    "benchmarks.contestants.many_runs:one_by_one", job | {"out": alone}
                ),
                TOGETHER: Contestant(
                    "benchmarks.contestants.many_runs:at_once", job | {"out": together}
                ),
            },
            threads=cores(),
            rounds=ROUNDS,
            unmeasured=0,
            measured=1,
            rehearse=False,
        )
    options.versions.update(outcome.versions)
    return [
        Table(
            title=f"{SEEDS} seeds of {EPOCHS} epochs, {cores()} cores",
            unit="s",
            samples=outcome.samples,
            against=ALONE,
            targets=(Target(TOGETHER, 0.6, ALONE),),
            left_out=outcome.left_out,
            notes=outcome.notes,
        )
    ]


SECTION = Section(
    "many-runs",
    f"{SEEDS} seeds of the default recipe, {EPOCHS} epochs each on {ROWS['train']:,} rows (100\n"
    "would take half an hour; in short runs the workers' start weighs more): `normscope.train` in\n"
    "a loop, and `normscope.train_many`, which has a worker of one thread for every core.",
    measure,
)
