"""The real command, killed again and again: the study ends in the values it would have had."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from normscope.records import Study
from tests.studies.test_compare import untimed

COMMAND = [
    sys.executable, "-m", "normscope", "compare", "--vary", "norm=batch,none",
    "--vary", "learning_rate=0.01,0.03", "--seeds", "2", "--hidden", "12,8", "--epochs", "6",
    "--batch-size", "10", "--constant-epochs", "2", "--workers", "2", "--quiet",
]  # fmt: skip
RUNS = 8


def begun(out: Path, data: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, "--data", str(data), "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def lines_of_curves(out: Path) -> int:
    """How much has been validated: it grows all the time, so a kill can fall anywhere."""
    return sum(len(file.read_bytes().splitlines()) for file in out.glob("*/curve.jsonl"))


def killed_after(out: Path, data: Path, lines: int) -> None:
    """Run the command until it has added so many lines to the curves, and kill it."""
    process, before = begun(out, data), lines_of_curves(out)
    until = time.monotonic() + 300
    while lines_of_curves(out) < before + lines:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing happens"
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()


def finished(out: Path, data: Path) -> Study:
    process = begun(out, data)
    said, errors = process.communicate(timeout=500)
    assert (process.returncode, said.strip()) == (0, str(out)), errors
    return Study.load(out)


def assert_killed_it_ends_alike(tmp_path: Path, data: Path, kills: list[int]) -> None:
    for lines in kills:
        killed_after(tmp_path / "killed", data, lines)
    assert Study.load(tmp_path / "killed").status == "running"
    study = finished(tmp_path / "killed", data)
    assert len(study.runs) == RUNS
    assert untimed(study) == untimed(finished(tmp_path / "undisturbed", data))


def test_killed_once_it_ends_in_the_same_values(tiny_file: Path, tmp_path: Path) -> None:
    assert_killed_it_ends_alike(tmp_path, tiny_file, [25])


@pytest.mark.slow
def test_killed_five_times_it_ends_in_the_same_values(tiny_file: Path, tmp_path: Path) -> None:
    assert_killed_it_ends_alike(tmp_path, tiny_file, [3, 20, 30, 1, 40])
