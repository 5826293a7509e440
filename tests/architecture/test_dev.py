"""The developer's one command."""

import subprocess
import sys
from pathlib import Path

import pytest

import normscope

ROOT = Path(normscope.__file__).parents[2]

pytestmark = pytest.mark.skipif(not (ROOT / "dev").exists(), reason="it stands in the repository")


def dev(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / "dev", *words], capture_output=True, text=True, check=False
    )


def test_what_a_task_prints_can_go_into_a_file() -> None:
    done = dev("bench", "print")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| one training step")
    assert done.stderr.startswith("$ ")


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    done = dev("nothing-of-the-kind")
    assert done.returncode == 2
    assert "bench" in done.stdout
    assert done.stderr == ""
