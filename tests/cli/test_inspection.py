"""`normscope train` looks inside the network, and `normscope.inspect` does so for a run folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import normscope
from normscope._errors import DataError, RunFolderError, StorageError
from normscope.data import Dataset
from normscope.records import Inspection, Run
from tests.cli.test_commands import SMALL, Answer, assert_one_sentence, normscope_
from tests.conftest import bars, write_npz

__all__ = ["normscope_"]  # a fixture

RECIPE = normscope.Recipe(hidden=(12, 8), epochs=3, batch_size=20)


def run_files(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_train_leaves_an_inspection(
    tiny_file: Path, normscope_: Callable[..., Answer], norm: str
) -> None:
    answer = normscope_(
        "train", "--data", tiny_file, *SMALL, "--norm", norm, "--out", "r", "--quiet"
    )
    assert (answer.code, answer.out) == (0, "r\n")
    seen, run = Inspection.load("r"), Run.load("r")
    assert [layer.norm for layer in seen.layers] == [norm] * 3
    assert seen.history.steps == tuple(range(19))
    right = sum(row[label] for label, row in enumerate(seen.confusion))
    assert 100 * right / 60 == pytest.approx(run.test.running.accuracy)


def test_without_a_look_there_is_nothing_and_the_bits_are_the_same(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    for folder, words in (("with", []), ("without", ["--no-inspect"])):
        answer = normscope_("train", "--data", tiny_file, *SMALL, "--out", folder, "-q", *words)
        assert answer.code == 0, answer
    assert run_files("with") - run_files("without") == {"inspection.json", "history.jsonl"}
    one, other = (
        (sorted(Path(folder, "checkpoints").iterdir())[-1] / "network.safetensors").read_bytes()
        for folder in ("with", "without")
    )
    assert one == other


def test_an_interrupted_run_is_inspected_when_it_is_complete(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    """A real Ctrl-C, sent when the first epoch's line has been printed."""
    words = ["train", "--data", tiny_file, "--hidden", "12,8", "--epochs", 80, "--batch-size", 20]
    command = [sys.executable, "-m", "normscope", *map(str, words), "--out", "r"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stdout:
            if line.split()[:1] == [b"1"]:
                process.send_signal(signal.SIGINT)
                break
        process.communicate()
    assert process.returncode == 130
    assert Inspection.load("r") is None
    assert normscope_("train", "--resume", "r", "-q").code == 0
    assert normscope_(*words, "--out", "whole", "-q").code == 0
    assert Inspection.load("r") == Inspection.load("whole")


def test_no_inspect_goes_with_resume(tiny_file: Path, normscope_: Callable[..., Answer]) -> None:
    Path("r").mkdir()
    answer = normscope_("train", "--resume", "r", "--no-inspect")
    assert_one_sentence(answer, 2, "no run here")


def test_a_run_that_diverges_has_a_history_and_no_inspection(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    words = [*SMALL, "--norm", "none", "--lr", "1e30", "--out", "r", "-q"]
    assert normscope_("train", "--data", tiny_file, *words).code != 0
    assert Run.load("r").status == "diverged"
    assert "history.jsonl" in run_files("r")
    assert Inspection.load("r") is None
    with pytest.raises(RunFolderError, match="no checkpoint yet"):
        normscope.inspect("r")


def test_a_disk_that_is_full_at_the_end_costs_the_inspection_and_not_the_result(
    tiny_file: Path, normscope_: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("normscope.records._inspection.write_atomically", full)
    answer = normscope_("train", "--data", tiny_file, *SMALL, "--out", "r", "-q")
    assert_one_sentence(answer, 1, r"inspection\.json.*No space left")
    assert answer.out == "r\n"
    assert Run.load("r").status == "complete"


def test_inspect_makes_it_again(tiny: Dataset, tiny_file: Path) -> None:
    normscope.train(RECIPE, tiny_file, out="r")
    assert run_files("r") & {"inspection.json", "history.jsonl"} == set()
    seen = normscope.inspect("r")
    assert seen.history is None
    assert Inspection.load("r") == seen
    tiny_file.rename("moved.npz")
    with pytest.raises(DataError, match="does not exist"):
        normscope.inspect("r")
    assert normscope.inspect("r", "moved.npz") == normscope.inspect("r", tiny) == seen


def test_inspect_refuses_other_data_and_keeps_the_old_file(
    tiny: Dataset, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    normscope.train(RECIPE, tiny_file, out="r")
    seen = normscope.inspect("r")
    other = Dataset("x", "x", tiny.classes, bars(130, 7), tiny.valid, tiny.test)
    with pytest.raises(DataError, match="not the data that the run was trained on"):
        normscope.inspect("r", write_npz(Path("other.npz"), other))
    with pytest.raises(RunFolderError, match="no run here"):
        normscope.inspect("nowhere")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(StorageError, match="full"):
        normscope.inspect("r")
    monkeypatch.undo()
    assert Inspection.load(tiny_file.parent / "r") == seen
