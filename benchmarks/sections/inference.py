"""How fast a network answers, folded and not."""

from argparse import Namespace

from benchmarks.contest import Contestant, compete
from benchmarks.tables import Section, Table, Target

UNFOLDED, FOLDED, ONNX = "unfolded, eval mode", "folded", "ONNX Runtime, folded"
GAINS = {1: 1.4, 120: 1.1, 10_000: 1.2}
"""How many times faster folding shall make it, by the rows of a batch."""
CALLS = {1: (50, 300), 120: (3, 30), 10_000: (1, 1)}
"""Unmeasured and measured calls of a turn, by the rows of a batch."""
ROUNDS = 15


def measure(options: Namespace) -> list[Table]:
    """A table for every size of batch."""
    return [one_table(options, batch) for batch in GAINS]


def one_table(options: Namespace, batch: int) -> Table:
    """The three on batches of one size."""
    module, job = "benchmarks.contestants.inference", {"batch": batch}
    unmeasured, measured = CALLS[batch]
    outcome = compete(
        {
            UNFOLDED: Contestant(f"{module}:unfolded", job),
            FOLDED: Contestant(f"{module}:folded", job),
            ONNX: Contestant(f"{module}:onnx_runtime", job | {"threads": 1}),
        },
        threads=1,
        rounds=ROUNDS,
        unmeasured=unmeasured,
        measured=measured,
    )
    options.versions.update(outcome.versions)
    return Table(
        title=f"inference, {batch:,} {'row' if batch == 1 else 'rows'}",
        unit="s",
        samples=outcome.samples,
        against=FOLDED,
        targets=(Target(UNFOLDED, GAINS[batch], FOLDED, at_least=True), Target(FOLDED, 1.1, ONNX)),
        left_out=outcome.left_out,
        notes=outcome.notes,
    )


SECTION = Section(
    "inference",
    "One call of the default network, in eval mode as it was trained, after `normscope.fold`, and\n"
    "the folded one in ONNX Runtime; one thread. All three give the same outputs to 1e-5 of the\n"
    "largest, or are left out.",
    measure,
)
