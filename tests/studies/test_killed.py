"""The same call again: killed at any moment, the runs end in the bits they would have ended in."""

import subprocess
import sys
from pathlib import Path

import pytest

from normscope._errors import TrainingInterruptedError
from normscope.records import Recipe, Run
from normscope.studies import train_many
from normscope.training import load, train
from tests.training.test_train import bits

RECIPES = [
    Recipe(hidden=(12, 8), epochs=12, batch_size=30, constant_epochs=1, seed=seed)
    for seed in range(3)
]

# A script as people write them: without `if __name__ == "__main__":`.
SCRIPT = f"""
import itertools, os, signal, sys
import normscope as ns

out, data, which, event = sys.argv[1:]
heard = itertools.count(1)

def on_progress(_):
    if next(heard) == int(event):
        os.kill(os.getpid(), getattr(signal, which))

recipes = [ns.Recipe(**fields) for fields in {[recipe.model_dump() for recipe in RECIPES]}]
runs = ns.train_many(recipes, data, out=out, on_progress=on_progress)
print(*[run.run.status for run in runs])
"""


def killed(
    out: Path, data: Path, *, signal: str = "SIGKILL", at_event: int
) -> subprocess.CompletedProcess[str]:
    """Run the script, which kills itself when it hears the given event; 0 is none."""
    script = out.with_name("script.py")
    script.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, str(script), str(out), str(data), signal, str(at_event)],
        capture_output=True,
        text=True,
        check=False,
    )


def assert_same_bits_as_alone(out: Path, data: Path) -> None:
    for recipe in RECIPES:
        folder = out / f"seed-{recipe.seed}"
        assert Run.load(folder).status == "complete"
        assert bits(load(folder)) == bits(train(recipe, data).network)


def test_killed_the_same_call_goes_on(tiny_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert killed(out, tiny_file, at_event=5).returncode == -9
    assert {Run.load(folder).status for folder in out.glob("seed-*")} - {"complete"}
    train_many(RECIPES, tiny_file, out=out)
    assert_same_bits_as_alone(out, tiny_file)


@pytest.mark.slow
def test_killed_five_times_and_terminated_the_same_call_goes_on(
    tiny_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    for event in (1, 4, 6, 8, 9):
        assert killed(out, tiny_file, at_event=event).returncode == -9
    terminated = killed(out, tiny_file, signal="SIGTERM", at_event=5)
    assert TrainingInterruptedError.__name__ in terminated.stderr
    assert "of the runs in" in terminated.stderr
    assert killed(out, tiny_file, at_event=0).stdout.split() == ["complete"] * 3
    assert_same_bits_as_alone(out, tiny_file)
