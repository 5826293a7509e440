"""A hundred epochs on a GPU, where there is one."""

import json
import subprocess
import sys
from argparse import Namespace

from benchmarks.contest import ROOT
from benchmarks.tables import Section, Table, Target

NAME = "normscope.train, 50,000 steps"


def measure(options: Namespace) -> list[Table]:
    """In a process that may see the device."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contestants.cuda"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    if "left_out" in answer:
        return [Table("cuda", "s", {}, left_out={NAME: answer["left_out"]})]
    options.versions["torch"] = answer["torch"]
    return [Table(answer["device"], "s", {NAME: answer["seconds"]}, targets=(Target(NAME, 10.0),))]


SECTION = Section(
    "cuda",
    "100 epochs of the default recipe on 60,000 images, batches of 120: 50,000 steps, with\n"
    "validation and the final test, on one GPU that an epoch has started.",
    measure,
)
