"""`./dev bench`: measure us, our peers and the floor side by side, and print ratios."""

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions, cores
from benchmarks.contest import ROOT
from benchmarks.printing import in_readme, on_terminal
from benchmarks.sections import (
    cuda,
    inference,
    many_runs,
    population,
    starting,
    training,
    whole_run,
)
from benchmarks.steps import CONTESTANTS
from benchmarks.steps.task import Task
from benchmarks.tables import Section

SECTIONS: dict[str, Section] = {
    module.SECTION.name: module.SECTION
    for module in (training, whole_run, many_runs, inference, population, starting, cuda)
}
LATEST = ROOT / "benchmarks" / "latest.json"
RECORD = ROOT / "docs" / "benchmarks.json"


def options(arguments: list[str]) -> Namespace:
    """What the command line asks for."""
    peers = [name for name in CONTESTANTS if name != "floor"]
    parser = ArgumentParser(
        prog="./dev bench",
        description=__doc__,
        epilog=f"Contestants of a training step:\n  {', '.join(peers)}.\n"
        "Those whose framework is not installed are named and left out.\n"
        "What is compared: docs/benchmarks.md.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "action", nargs="?", choices=["run", "print"], default="run",
        help="run: measure (the default); print: the README's section, from the recorded figures",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS),
                        metavar="SECTION", help=f"of {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--contestants", nargs="+", choices=peers, default=peers,
                        metavar="NAME", help="of a training step, beside the floor")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2][: cores()],
                        help="of a training step; everything else uses one")  # fmt: skip
    parser.add_argument("--norm", nargs="+", choices=["batch", "none"], default=["batch", "none"])
    parser.add_argument("--hidden", nargs="+", type=int, default=list(Task().hidden),
                        metavar="WIDTH", help="hidden layers of a training step")  # fmt: skip
    parser.add_argument("--steps", type=int, default=200, help="timed training steps for each")
    parser.add_argument("--python", nargs="+", default=[], metavar="NAME=PATH",
                        help="another interpreter for a contestant")  # fmt: skip
    parser.add_argument("--json", type=Path, default=LATEST, help="where the raw samples go")
    parser.add_argument("--record", action="store_true",
                        help="into docs/benchmarks.json, for the README; "
                             "sections that are not measured now stay there")  # fmt: skip
    chosen = parser.parse_args(arguments)
    pythons = dict(pair.split("=", 1) for pair in chosen.python)
    chosen.python = dict.fromkeys(CONTESTANTS, sys.executable) | pythons
    return chosen


def measure(chosen: Namespace) -> dict[str, Any]:
    """Run the sections, printing as they come; for each, all that was measured, as plain values."""
    where = conditions()
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    sections = {}
    for name in chosen.only:
        print(f"\n== {name} ==\n{SECTIONS[name].explained}", flush=True)
        chosen.versions = {}
        tables = SECTIONS[name].measure(chosen)
        for table in tables:
            print(f"\n{on_terminal(table)}", flush=True)
        with_what = ", ".join(f"{what} {number}" for what, number in chosen.versions.items())
        if with_what:
            print(f"\nwith {with_what}")
        sections[name] = {
            "conditions": where,
            "versions": chosen.versions,
            "tables": [table.to_json() for table in tables],
        }
    return {"sections": sections}


def keep(document: dict[str, Any], path: Path) -> None:
    """Write what was measured; sections that the file has and this run did not measure stay."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sections": {}}
    merged = before["sections"] | document["sections"]
    ordered = {name: merged[name] for name in SECTIONS if name in merged}
    path.write_text(json.dumps({"sections": ordered}) + "\n", encoding="utf-8")
    print(f"raw samples: {path}")


def main(arguments: list[str]) -> None:
    """Measure, print and keep; or print what is kept."""
    chosen = options(arguments)
    if chosen.action == "print":
        print(in_readme(json.loads(RECORD.read_text(encoding="utf-8"))))
    elif chosen.record:
        keep(measure(chosen), RECORD)
    else:
        chosen.json.unlink(missing_ok=True)
        keep(measure(chosen), chosen.json)


if __name__ == "__main__":
    main(sys.argv[1:])
