"""The contestants of the other sections step, small, and check what they compute."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from benchmarks.contestants import inference

from tests.benchmarks.test_steps import EnoughError

ROWS = {"train": 240, "valid": 20, "test": 20}
OUT = "one folder"
"""Stands for a fresh folder in the jobs below."""


@pytest.fixture(autouse=True)
def _denormals_as_they_were() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


def step(entry: str, job: dict[str, object], steps: int = 2) -> None:
    """Let a contestant step until it has enough."""
    calls = []

    def pace() -> None:
        calls.append(1)
        if len(calls) > steps:
            raise EnoughError

    module, function = entry.split(":")
    with pytest.raises(EnoughError):
        getattr(import_module(f"benchmarks.contestants.{module}"), function)(pace, **job)


@pytest.mark.parametrize(
    ("entry", "job"),
    [
        ("population:exact", {"rows": 240}),
        ("population:averaged", {"rows": 240}),
        ("population:averaged_from_loader", {"rows": 240}),
        ("inference:unfolded", {"batch": 3}),
        ("inference:folded", {"batch": 3}),
        ("whole_run:run", {"rows": ROWS, "out": OUT, "threads": 1}),
        ("whole_run:final_test", {"rows": ROWS}),
        ("many_runs:one_by_one", {"rows": ROWS, "out": OUT, "seeds": 1, "epochs": 1}),
    ],
)
def test_it_steps_and_steps(entry: str, job: dict[str, object], tmp_path: Path) -> None:
    step(
        entry, {key: str(tmp_path / "out") if value == OUT else value for key, value in job.items()}
    )


def test_onnx_runtime_answers_as_the_network_does() -> None:
    pytest.importorskip("onnxruntime")
    step("inference:onnx_runtime", {"batch": 3, "threads": 1})


def test_who_computes_something_else_is_not_measured() -> None:
    network, images = inference._given(3)
    with pytest.raises(ArithmeticError, match="differ"):
        inference._call(lambda: None, lambda x: network(x) * 1.001, images, network)


def test_reading_takes_the_files_as_they_are(real_data: Path) -> None:
    folder = str(real_data / "mnist")
    for entry in ("ours", "unpacked", "converted"):
        step(f"reading:{entry}", {"folder": folder}, steps=1)
