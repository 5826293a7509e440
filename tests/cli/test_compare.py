"""`normscope compare` as a person types it: what it prints, how it exits, and what it refuses."""

import csv
import io
import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from normscope._errors import StudyError
from normscope.cli import _console, _study_display, _study_result
from normscope.cli._vary import seeds, varied
from normscope.records import Recipe, Study
from normscope.studies import Plan, RunProgress
from normscope.studies._design import designed
from tests.cli.test_commands import Answer, assert_one_sentence, normscope_
from tests.report import samples

__all__ = ["normscope_"]  # a fixture

SMALL = ["--hidden", "12,8", "--epochs", "2", "--batch-size", "10", "--seeds", "2"]
NORMS = ["--vary", "norm=batch,none"]


def test_it_says_n_first_then_a_table_a_verdict_and_where_to_go(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    command = ["compare", *NORMS, "--vary", "learning-rate=0.01,0.03", "--data", tiny_file, *SMALL]
    answer = normscope_(*command, "--csv", "runs.csv")
    assert answer.code == 0, answer
    lines = answer.out.splitlines()
    assert lines[0] == "Does it help? norm=batch against norm=none, on bars.npz."
    text = " ".join(answer.out.split())
    assert "8 runs: 2 arms × 2 learning rates × 2 seeds. Network 36 → 12 → 8 → 3; " in text
    assert "rates 0.01, 0.03; seeds 0, 1; 2 epochs each; 130 training images." in text
    assert "8 to train; " in text
    assert text.index("8 to train") < text.index("1 of 8 runs"), "n is stated before the first run"
    assert "8 of 8 runs" in text
    assert len(re.findall(r"^(norm=\w+)? +0\.0[13][* ].* %", answer.out, re.MULTILINE)) == 4
    assert answer.out.count("*") == 3, "a best rate for each arm, and the legend"
    assert "• " in answer.out
    assert "normscope report studies/bars-norm-learning-rate" in answer.out
    study = Study.load(Path("studies/bars-norm-learning-rate"))
    assert study.status == "complete"
    rows = list(csv.DictReader(io.StringIO(Path("runs.csv").read_text())))
    assert [row["folder"] for row in rows] == [run.folder for run in study.runs]
    again = normscope_(*command, "--json")
    assert again.out.strip() == study.model_dump_json(indent=2)
    more = normscope_(*command[:-1], "3", "--quiet")
    assert more.out.strip() == "studies/bars-norm-learning-rate"
    assert len(Study.load(Path(more.out.strip())).runs) == 12


def test_recipe_file_flags_target_and_reference_reach_the_design(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    Path("r.toml").write_text("epochs = 9\nhidden = [12, 8]\nbatch_size = 10\nnorm = 'layer'\n")
    answer = normscope_(
        "compare", *NORMS, "--recipe", "r.toml", "--epochs", 1, "--data", tiny_file, "--seeds",
        "3,1", "--target", 60, "--reference", "norm=batch", "--confidence", 0.9, "--json",
    )  # fmt: skip
    assert answer.code == 0, answer
    design = Study.model_validate_json(answer.out).design
    assert (design.recipe.epochs, design.recipe.hidden) == (1, (12, 8))
    assert (design.seeds, design.target, design.reference) == ((3, 1), 60.0, "norm=batch")
    assert design.confidence == 0.9


def test_values_are_read_by_the_recipes_own_types() -> None:
    assert varied(
        ["batch_size=10,20", "eps=1e-5,1", "warm-up=true,false", "hidden=9x8,7,none", "data=a,b"]
    ) == {
        "batch_size": [10, 20],
        "eps": [1e-5, 1.0],
        "warm_up": [True, False],
        "hidden": [(9, 8), (7,), ()],
        "data": ["a", "b"],
    }
    assert varied(["depth=2,3", "gain=0.5,x", "skip=true,false"]) == {
        "depth": [2, 3],
        "gain": [0.5, "x"],
        "skip": [True, False],
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Nothing is varied"),
        (["--vary", "norm"], "--vary norm: write a field and its values"),
        (["--vary", "=batch,none"], "--vary =batch,none: write a field"),
        ([*NORMS, *NORMS], "--vary norm is there twice; give all of its values at once"),
        (["--vary", "norm=batch"], "norm has 1 value to compare"),
        (["--vary", "norm=batch,nun"], "--vary norm has to be batch, none, .*, got 'nun'"),
        (["--vary", "norm=bach,none"], "--vary norm has to be .* got 'bach'. Did you mean batch"),
        (["--vary", "lr=0.1,fast"], "--vary learning_rate has to be a number"),
        (["--vary", "lr=0.1,0.2", "--lr", "0.1"], "learning_rate is varied, so --learning-rate"),
        (["--vary", "learning_rate=0.1,fast"], "--vary learning_rate has to be a number"),
        (["--vary", "epochs=2,2.5"], "--vary epochs has to be a whole number, got '2.5'"),
        (
            ["--vary", "hidden=10x,5"],
            "--vary hidden has to be a whole number, .* written 1000x500",
        ),
        (["--vary", "nrom=batch,none"], "no field nrom .did you mean norm"),
        (["--vary", "model_options=a,b"], "vary an option of your model by its own name"),
        (["--vary", "seed=1,2"], r"seed cannot be varied; .*give seeds \(--seeds\)"),
        ([*NORMS, "--norm", "batch"], "norm is varied, so --norm cannot set it as well"),
        ([*NORMS, "--seeds", "many"], "--seeds: give how many .* got 'many'"),
        ([*NORMS, "--reference", "norm=layer"], "none of the arms: norm=batch; norm=none"),
        ([*NORMS, "--reference", "layer"], "'layer' is none of the arms: norm=batch; norm=none"),
        (
            ["--vary", "hidden=9,none", *NORMS, "--reference", "none"],
            "'none' may be hidden=none and norm=none; write which",
        ),
        ([*NORMS, "--workers", "0"], "workers is 0"),
        ([*NORMS, "--csv", "no/where.csv"], "--csv no/where.csv: there is no folder no"),
        ([*NORMS, "--csv", "."], "--csv .: this is a folder. Name a file in it"),
        ([*NORMS, "--data", "no.npz"], "no.npz does not exist"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    normscope_: Callable[..., Answer], words: list[str], says: str
) -> None:
    assert_one_sentence(normscope_("compare", *words), 2, says)
    assert not Path("studies").exists()


def test_seeds_are_a_number_or_a_list() -> None:
    assert (seeds("5"), seeds("4,2"), seeds("7,")) == (5, [4, 2], [7])
    with pytest.raises(StudyError, match="got '1-5'"):
        seeds("1-5")


def test_after_ctrl_c_it_says_that_the_same_command_goes_on(
    tiny_file: Path, tmp_path: Path
) -> None:
    words = ["compare", *NORMS, "--data", str(tiny_file), *SMALL, "--epochs", "500", "--out", "s"]
    process = subprocess.Popen(
        [sys.executable, "-m", "normscope", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    while "to train" not in process.stdout.readline():
        assert process.poll() is None
    while not list(Path("s").glob("*/curve.jsonl")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert re.search(r"Stopped: 0 of 4 runs in s are finished and [1-4] begun;", said)
    assert "the same command goes on from there" in said
    assert said.strip().endswith("--epochs 500 --out s")
    assert "Traceback" not in said
    assert Study.load(Path("s")).status == "running"


@pytest.mark.parametrize("width", [50, 60, 80, 120])
def test_the_result_fits_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setattr(_console.out, "width", width)
    _study_result.say_study(samples.study(), "studies/x")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert any("norm=batch" in line and "%" in line for line in lines)
    assert any("±" in line for line in lines) == (width > 60)


@pytest.mark.parametrize("target", [90.0, math.nan])
def test_without_a_target_the_table_says_nothing_of_speed(
    capsys: pytest.CaptureFixture[str], target: float
) -> None:
    study = samples.study()
    analysis = study.analysis.model_copy(update={"target": target})
    _study_result.say_study(study.model_copy(update={"analysis": analysis}), "studies/x")
    table = capsys.readouterr().out.split("•")[0]
    assert ("reached" in table) == ("steps to 90.0 %" in table) == (target == 90)
    assert "nan" not in table
    assert "diverged" in table


@pytest.mark.parametrize(
    ("arrive", "seen"),
    [
        ((300, 200, None), "300"),
        ((300, None, None), "> 1,640"),
        ((None, None, None), "never"),
        ((300, 400, None, None), "> 1,020"),  # half way from 400 to all 1,640 steps
    ],
)
def test_the_middle_of_the_steps_where_some_runs_never_arrive(
    capsys: pytest.CaptureFixture[str], arrive: tuple[int | None, ...], seen: str
) -> None:
    study = samples.study()
    cell = study.analysis.cells[0].model_copy(update={"steps": arrive, "n": len(arrive)})
    analysis = study.analysis.model_copy(update={"cells": (cell, *study.analysis.cells[1:])})
    _study_result.say_study(study.model_copy(update={"analysis": analysis}), "studies/x")
    table = capsys.readouterr().out.split("•")[0]
    (row,) = [line for line in table.splitlines() if line.startswith("norm=batch")]
    assert f"{seen}    " in row
    assert "steps: the median of 5 seeds" in " ".join(table.split())


def shown(width: int, news: list[RunProgress], kept: int = 0) -> str:
    """What a person sees while a study trains, after some news."""
    study = samples.study().model_copy(update={"status": "running", "runs": ()})
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = _study_display.StudyDisplay(console)
    runs = len(_study_display.planned_runs(study.design))
    with display:
        display.plan(study, Plan(runs=runs, kept=kept, resumed=0, workers=2, cores=2))
        for each in news:
            display.heard(each)
        with console.capture() as seen:
            console.print(display._shown())
    return seen.get()


def news(name: str, epoch: int, status: str = "running") -> RunProgress:
    return RunProgress(name, epoch, samples.study().design.recipe.epochs, 91.5, status)


@pytest.mark.parametrize("width", [60, 80])
def test_one_display_for_all_runs_with_the_time_left(width: int) -> None:
    first, second = (run.name for run in _study_display.planned_runs(samples.study().design)[:2])
    begun = [news(first, 0), news(second, 0), news(first, 1), news(second, 1)]
    text = shown(width, begun)
    assert "0 of " in text
    assert "left" in text
    assert text.count("epoch 2 of") == 2
    assert max(map(len, text.splitlines())) <= width
    done = shown(width, [*begun, news(first, 2, "diverged")])
    assert "1 of " in done
    assert done.count("epoch 2 of") == 1


@pytest.mark.parametrize(
    ("status", "ended"), [("complete", 1), ("diverged", 1), ("interrupted", 0)]
)
def test_an_interrupted_run_is_not_counted_as_done(status: str, ended: int) -> None:
    name = _study_display.planned_runs(samples.study().design)[0].name
    assert f"{ended} of " in shown(80, [news(name, 0), news(name, 1, status)]).splitlines()[0]


@pytest.mark.parametrize(
    ("widths", "hinted"), [("60,30", True), ("60x30,30", False), ("60,none", False)]
)
def test_it_says_how_one_network_of_two_layers_is_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    widths: str,
    hinted: bool,
) -> None:
    monkeypatch.setattr(_console.out, "width", 200)
    study = samples.study()
    design = designed(varied([f"hidden={widths}"]), study.design.recipe, seeds=1)
    study = study.model_copy(update={"design": design, "runs": ()})
    _study_display._say_plan(study, Plan(runs=2, kept=0, resumed=0, workers=2, cores=2))
    said = capsys.readouterr().out
    assert ("one of 2 layers is written 60x30." in said) == hinted
    assert "Network 784 → … → 10" in said


def test_another_length_is_refused_as_another_study(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    command = ["compare", *NORMS, "--data", tiny_file, *SMALL, "--seeds", 1, "--out", "s"]
    assert normscope_(*command, "--quiet").code == 0
    says = "s: this folder holds another study: epochs is 2 there and 3 here. Choose another out."
    assert_one_sentence(normscope_(*command, "--epochs", 3), 2, says)


def test_what_is_spared_does_not_count_as_speed() -> None:
    """A run that goes on at its fifth epoch, or ends early, leaves less to do: it was not fast."""
    study = samples.study().model_copy(update={"status": "running", "runs": ()})
    display = _study_display.StudyDisplay(Console(file=io.StringIO()))
    planned = _study_display.planned_runs(study.design)
    display.plan(study, Plan(runs=len(planned), kept=0, resumed=1, workers=2, cores=2))
    (task,) = display._progress.tasks
    epochs = Recipe.model_validate(study.design.recipe).epochs
    assert task.total == epochs * len(planned)
    display.heard(news(planned[0].name, 5))
    assert (task.completed, task.total) == (0, epochs * len(planned) - 5)
    display.heard(news(planned[0].name, 7))
    display.heard(news(planned[0].name, 7, "diverged"))
    assert (task.completed, task.total) == (2, epochs * len(planned) - epochs + 2)


def test_the_file_is_json_that_other_programs_read(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_("compare", *NORMS, "--data", tiny_file, *SMALL, "--seeds", 1, "--quiet")
    content = json.loads((Path(answer.out.strip()) / "study.json").read_text())
    assert content["format_version"] == 1
    assert [arm["name"] for arm in content["design"]["arms"]] == ["norm=batch", "norm=none"]
