"""Train what the README reports, and print its table: `./dev results`.

The default recipe on the built-in letters, on notMNIST (100 epochs) and on MNIST (20 epochs), three
seeds each; two trainings at a time, one thread each. notMNIST and MNIST are left out, by name,
where ``NORMSCOPE_DATA`` does not point to them. Raw values go to `docs/results.json`, one terminal
picture of a real run to `docs/train.svg`. `./dev results print` prints the table again, and
`./dev results picture` draws the picture again.
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results.json"
PICTURE = ROOT / "docs" / "train.svg"
DATA = Path(os.environ.get("NORMSCOPE_DATA", ROOT.parent / "shared" / "data"))
SEEDS = (0, 1, 2)
WIDTH = 92
SETS = {
    "letters": ("letters", 100),
    "notMNIST": (str(DATA / "notmnist" / "notMNIST.pickle.gz"), 100),
    "MNIST": (str(DATA / "mnist"), 20),
}


def train(name: str, seed: int) -> dict[str, Any]:
    """One run; the figures that the table is made of."""
    import normscope as ns

    source, epochs = SETS[name]
    run = ns.train(ns.Recipe(epochs=epochs, seed=seed), source).run
    assert run.test is not None
    return {
        "data": name,
        "rows": [run.data.train_rows, run.data.valid_rows, run.data.test_rows],
        "epochs": epochs,
        "seed": seed,
        "test": run.test.model_dump(),
        "seconds": sum(epoch.seconds for epoch in run.epochs),
        "environment": run.environment.model_dump(),
    }


def table(results: dict[str, Any]) -> str:
    """The README's table, from the committed raw values."""
    lines = [
        "| data | rows (train, valid, test) | epochs | running | population | batch¹ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in SETS:
        runs = [run for run in results["runs"] if run["data"] == name]
        if not runs:
            continue
        cells = [_accuracies(runs, kind) for kind in ("running", "population", "batch")]
        rows = " + ".join(f"{count:,}" for count in runs[0]["rows"])
        lines.append(f"| {name} | {rows} | {runs[0]['epochs']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _conditions(results)])


def _accuracies(runs: list[dict[str, Any]], kind: str) -> str:
    """The median over the seeds, and every seed's value."""
    values = [run["test"][kind]["accuracy"] for run in runs]
    return f"**{median(values):.2f} %** ({', '.join(f'{value:.2f}' for value in values)})"


def _conditions(results: dict[str, Any]) -> str:
    environment = results["runs"][0]["environment"]
    return (
        f"Test accuracy: median of {len(SEEDS)} seeds, and each seed's. Measured {results['date']} "
        f"on {environment['processor']}, {environment['threads']} thread, torch "
        f"{environment['torch']}, by `./dev results`; raw values in "
        "[docs/results.json](docs/results.json)."
    )


def draw() -> None:
    """A terminal picture of `normscope train`: a real run, its middle left out."""
    from rich.console import Console

    recorder = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    for line in _terminal():
        style = "bold green" if line.startswith("$") else "dim" if "train loss" in line else ""
        recorder.print(line, style=style, soft_wrap=True)
    svg = recorder.export_svg(title="normscope train")
    # Rich names a web font; a page of ours carries what it needs, and a terminal's font will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    PICTURE.write_text(svg.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono"), "utf-8")


def _terminal() -> list[str]:
    """What a terminal shows of a run: the first epochs, the last, and everything around them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "normscope", "train"]
        environment = os.environ | {"COLUMNS": str(WIDTH)}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
    lines = done.stdout.splitlines()
    epochs = [number for number, line in enumerate(lines) if re.match(r"\s*\d+   ", line)]
    first, last = epochs[4], epochs[-4]
    return ["$ normscope train", *lines[: first + 1], "    ⋮", *lines[last:]]


def measure() -> dict[str, Any]:
    """Train every set that is here with every seed."""
    here = {name for name, (source, _) in SETS.items() if name == source or Path(source).exists()}
    for missing in SETS.keys() - here:
        print(f"left out: {missing}, which is not in NORMSCOPE_DATA ({DATA})")
    work = [(name, seed) for name in SETS if name in here for seed in SEEDS]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(train, *zip(*work, strict=True)))
    return {"date": datetime.now(UTC).date().isoformat(), "runs": runs}


def main(arguments: list[str]) -> None:
    """Measure, draw and print; with ``picture`` or ``print``, only that."""
    if not arguments:
        RESULTS.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    if not arguments or "picture" in arguments:
        draw()
    if not arguments or "print" in arguments:
        print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(sys.argv[1:])
