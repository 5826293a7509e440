"""Exact population statistics against PyTorch's averaged ones."""

from argparse import Namespace

from benchmarks.contest import Contestant, compete
from benchmarks.tables import Section, Table, Target

ROWS, ROUNDS = 60_000, 4
OURS, THEIRS = "set_population_statistics", "update_bn, slices"
CONTESTANTS = {OURS: "exact", THEIRS: "averaged", "update_bn, DataLoader": "averaged_from_loader"}


def measure(options: Namespace) -> list[Table]:
    """One pass over all rows for each."""
    outcome = compete(
        {
            name: Contestant(f"benchmarks.contestants.population:{function}", {"rows": ROWS})
            for name, function in CONTESTANTS.items()
        },
        threads=1,
        rounds=ROUNDS,
        unmeasured=0,
        measured=1,
    )
    options.versions.update(outcome.versions)
    return [
        Table(
            title=f"population statistics of {ROWS:,} rows",
            unit="s",
            samples=outcome.samples,
            against=THEIRS,
            targets=tuple(Target(OURS, 0.7, peer) for peer in CONTESTANTS if peer != OURS),
            left_out=outcome.left_out,
            notes=outcome.notes,
        )
    ]


SECTION = Section(
    "population",
    f"The statistics of {ROWS:,} rows for every batch norm of the default network: ours are\n"
    "exact, layer after layer; `torch.optim.swa_utils.update_bn` averages those of batches of 120.",
    measure,
)
