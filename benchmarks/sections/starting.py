"""How long a person waits before anything trains, and how much memory a run takes."""

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.contest import ROOT, Contestant, compete, environment
from benchmarks.tables import Section, Table, Target

TIMES = 5
DATA = Path(os.environ.get("NORMSCOPE_DATA", ROOT.parent / "shared" / "data"))
IMPORTED = (
    "import sys, normscope; print(sum(name.split('.')[0] == 'torch' for name in sys.modules))"
)


def measure(options: Namespace) -> list[Table]:
    """Starting, importing, reading, memory."""
    return [version(), imports(), *reading(options), memory()]


def version() -> Table:
    """`normscope --version`, process and all."""
    seconds = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        _python("-m", "normscope", "--version")
        seconds.append(time.perf_counter() - started)
    name = "normscope --version"  # the first one fills the disk's cache
    return Table("starting", "s", {name: seconds[1:]}, targets=(Target(name, 1.0),))


def imports() -> Table:
    """How much of torch `import normscope` brings along."""
    count = int(_python("-c", IMPORTED))
    name = "torch's modules after import normscope"
    return Table("importing", "modules", {name: [count]}, targets=(Target(name, 0),))


def reading(options: Namespace) -> list[Table]:
    """MNIST, where it is."""
    folder = DATA / "mnist"
    if not folder.is_dir():
        print(f"left out: reading MNIST, which is not in NORMSCOPE_DATA ({DATA})")
        return []
    entries = {"normscope.load_data": "ours", "gzip and NumPy": "unpacked",
               "gzip and NumPy, to float32": "converted"}  # fmt: skip
    outcome = compete(
        {
            name: Contestant(f"benchmarks.contestants.reading:{entry}", {"folder": str(folder)})
            for name, entry in entries.items()
        },
        threads=1,
        rounds=TIMES,
        unmeasured=0,
        measured=1,
    )
    options.versions.update(outcome.versions)
    ours, theirs, *_ = entries
    return [
        Table(
            title="reading MNIST from gz",
            unit="s",
            samples=outcome.samples,
            against=theirs,
            targets=(Target(ours, 1.0, theirs),),
            left_out=outcome.left_out,
            notes=outcome.notes,
        )
    ]


def memory() -> Table:
    """The most that the default run holds, beyond what PyTorch takes by itself."""
    pairs = [(_peak("torch"), _peak("run")) for _ in range(3)]
    held, beyond = "data, weights, optimizer's state", "the default run beyond PyTorch"
    return Table(
        title="peak memory",
        unit="MB",
        samples={
            "PyTorch alone": [alone["peak"] for alone, _ in pairs],
            "the default run": [run["peak"] for _, run in pairs],
            held: [run["held"] for _, run in pairs],
            beyond: [run["peak"] - alone["peak"] for alone, run in pairs],
        },
        against=held,
        targets=(Target(beyond, 1.5, held),),
    )


def _peak(what: str) -> dict[str, Any]:
    return dict(json.loads(_python("-m", "benchmarks.contestants.memory", what)))


def _python(*words: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment(1),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


SECTION = Section(
    "starting",
    "From the first key to the first epoch: `normscope --version` with its process, what `import\n"
    "normscope` imports, reading MNIST's gz files (ours unpacks, checks, splits and converts;\n"
    "NumPy only unpacks), and the most memory that the default run ever holds.",
    measure,
)
