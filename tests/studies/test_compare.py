"""Whole studies on small data: what they hold, how they grow, and what they refuse."""

import base64
import dataclasses
import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import normscope as ns
from normscope._errors import RunFolderError, StudyError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.records import Analysis, Recipe, Study
from normscope.studies import Plan, RunProgress, RunsFailedError, _crew, compare
from normscope.studies._analysis import analyse
from normscope.training import build_network, load
from normscope.training._loop import row_order
from tests.training.test_train import bits

SMALL = Recipe(hidden=(12, 8), epochs=3, batch_size=10, constant_epochs=1)
NORMS = {"norm": ["batch", "none"]}
SWEPT = {**NORMS, "learning_rate": [0.01, 0.03]}


@pytest.fixture(scope="module")
def whole(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    out = tmp_path_factory.mktemp("whole")
    return compare(SWEPT, SMALL, seeds=2, data=tiny, out=out), out


def untimed(study: Study) -> str:
    """All values of a study but its seconds."""
    content = study.model_dump(mode="json")
    for run in content["runs"]:
        for record in run["epochs"]:
            del record["seconds"]
    return json.dumps(content)


def test_every_run_is_there_in_the_designs_order_with_its_raw_values(
    whole: tuple[Study, Path], tiny: Dataset
) -> None:
    study, out = whole
    assert study.status == "complete"
    assert [(run.arm, run.learning_rate, run.seed) for run in study.runs] == [
        (arm, rate, seed)
        for arm in ("norm=batch", "norm=none")
        for rate in (0.01, 0.03)
        for seed in (0, 1)
    ]
    for run in study.runs:
        record = ns.Run.load(out / run.folder)
        assert (run.epochs, run.test, run.status) == (record.epochs, record.test, "complete")
        assert record.recipe.norm in run.arm
        assert len(run.curve) == 3 * 4
        right = np.unpackbits(np.frombuffer(base64.b64decode(run.right), np.uint8))
        assert 100 * right.sum() / len(tiny.test) == pytest.approx(run.test.running.accuracy)


def test_the_file_is_the_study_and_its_analysis_follows_from_the_runs(
    whole: tuple[Study, Path],
) -> None:
    study, out = whole
    assert Study.load(out) == study
    again = analyse(Study.load(out).model_copy(update={"analysis": None}))
    assert again == study.analysis
    assert isinstance(study.analysis, Analysis)


def test_every_run_is_what_train_makes_of_its_recipe(
    whole: tuple[Study, Path], tiny: Dataset
) -> None:
    study, out = whole
    run = study.runs[-1]
    recipe = Recipe.from_toml(out / run.folder / "recipe.toml")
    assert (recipe.norm, recipe.learning_rate, recipe.seed) == ("none", 0.03, 1)
    assert bits(load(out / run.folder)) == bits(ns.train(recipe, tiny).network)


def test_the_first_seeds_runs_are_looked_into_and_the_best_of_each_arm_are_in_the_study(
    whole: tuple[Study, Path],
) -> None:
    study, out = whole
    looked = {path.parent.name for path in out.glob("*/inspection.json")}
    assert looked == {run.folder for run in study.runs if run.seed == 0}
    best = study.analysis.best_learning_rates
    assert [inspected.folder for inspected in study.inspections] == [
        run.folder for run in study.runs if run.seed == 0 and run.learning_rate == best[run.arm]
    ]
    assert all(inspected.inspection.history for inspected in study.inspections)


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (0.95, "target is 0.95 %, .* Did you mean 95?"),
        (0.1, "Give a higher"),
        (33, "Give a higher"),
    ],
)
def test_a_target_that_guessing_reaches_is_refused_before_anything_is_trained(
    tiny: Dataset, tmp_path: Path, target: float, asked: str
) -> None:
    assert len(tiny.classes) == 3
    with pytest.raises(StudyError, match=asked):
        compare(NORMS, SMALL, seeds=1, data=tiny, out=tmp_path, target=target)
    assert not list(tmp_path.glob("*/run.json"))
    short = SMALL.model_copy(update={"epochs": 1})
    study = compare(NORMS, short, seeds=1, data=tiny, out=tmp_path, target=34.0, workers=1)
    assert study.design.target == 34


def test_the_same_call_trains_nothing_and_says_the_same(
    whole: tuple[Study, Path], tiny: Dataset
) -> None:
    study, out = whole
    plans: list[tuple[Study, Plan]] = []
    heard: list[RunProgress] = []
    again = compare(
        SWEPT, SMALL, seeds=2, data=tiny, out=out,
        on_plan=lambda *plan: plans.append(plan), on_progress=heard.append,
    )  # fmt: skip
    assert again == study
    ((before, plan),) = plans
    assert (plan.runs, plan.kept, plan.resumed) == (8, 8, 0)
    assert (before.status, len(before.runs)) == ("running", 8)
    assert [news.status for news in heard] == ["complete"] * 8


def test_it_grows_by_seeds_rates_and_arms_and_what_is_there_is_kept(
    tiny: Dataset, tmp_path: Path
) -> None:
    plans: list[Plan] = []

    def grown(vary: dict, seeds: int) -> Study:
        return compare(
            vary, SMALL, seeds=seeds, data=tiny, out=tmp_path / "study",
            on_plan=lambda study, plan: plans.append(plan),
        )  # fmt: skip

    first = grown(NORMS, 1)
    last = grown({"norm": ["batch", "none", "layer"], "learning_rate": [0.02, 0.01]}, 2)
    assert [(plan.runs, plan.kept) for plan in plans] == [(2, 0), (12, 2)]
    assert set(first.runs) <= set(last.runs)
    assert last.design.steps_between_validations == first.design.steps_between_validations
    undisturbed = compare(
        {"norm": ["batch", "none", "layer"], "learning_rate": [0.02, 0.01]},
        SMALL, seeds=2, data=tiny, out=tmp_path / "at-once",
    )  # fmt: skip
    assert untimed(last) == untimed(undisturbed)


def test_two_identical_arms_differ_by_nothing_at_all(tiny: Dataset, tmp_path: Path) -> None:
    """Without a norm there are no running statistics whose decay could matter."""
    plain = SMALL.model_copy(update={"norm": "none"})
    study = compare({"decay": [0.9, 0.99]}, plain, seeds=3, data=tiny, out=tmp_path / "study")
    half = len(study.runs) // 2
    for one, other in zip(study.runs[:half], study.runs[half:], strict=True):
        assert (one.curve, one.test, one.right) == (other.curve, other.test, other.right)
    assert study.analysis.comparisons
    for comparison in study.analysis.comparisons:
        nothing = 0.0 if comparison.measure == "test-accuracy" else 1.0
        assert comparison.effect.value == nothing
        assert comparison.p == 1
        assert comparison.conclusion == "no-difference"


def test_runs_that_diverge_are_results(tiny: Dataset, tmp_path: Path) -> None:
    vary = {"norm": ["none", "batch"], "learning_rate": [0.01, 1e30]}
    study = compare(vary, SMALL, seeds=2, data=tiny, out=tmp_path / "study")
    assert study.status == "complete"
    diverged = [run for run in study.runs if run.status == "diverged"]
    assert {run.learning_rate for run in diverged} == {1e30}
    assert "norm=none" in {run.arm for run in diverged}
    assert {(run.test, run.right) for run in diverged} == {(None, "")}
    cell = next(c for c in study.analysis.cells if (c.arm, c.learning_rate) == ("norm=none", 1e30))
    assert (cell.n, cell.diverged) == (2, 2)
    assert cell.test_accuracy.value == pytest.approx(100 / 3), "they count with guessing"
    assert Study.load(tmp_path / "study").model_dump_json() == study.model_dump_json()


def test_rates_alone_are_compared_with_the_first(tiny: Dataset, tmp_path: Path) -> None:
    study = compare(
        {"learning_rate": [0.001, 0.03]}, SMALL, seeds=2, data=tiny, out=tmp_path / "study"
    )
    assert study.analysis.best_learning_rates == {
        "learning_rate=0.001": 0.001,
        "learning_rate=0.03": 0.03,
    }
    assert {c.other for c in study.analysis.comparisons} == {"learning_rate=0.001"}
    assert {c.question for c in study.analysis.comparisons} == {"own-best"}


@pytest.mark.parametrize("weights", ["scaled", "plain"])
def test_arms_of_one_seed_start_from_the_same_weights(weights: str) -> None:
    networks = [
        build_network(Recipe(norm=norm, weights=weights, seed=seed), inputs=49, classes=3)
        for norm, seed in (("batch", 5), ("none", 5), ("layer", 5), ("none", 6))
    ]
    batch, none, layer, another = (
        [layer.linear.weight for layer in network.layers] for network in networks
    )
    assert all(map(torch.equal, batch, none))
    assert all(map(torch.equal, batch, layer))
    assert not any(map(torch.equal, none, another))


def test_the_order_of_the_rows_follows_from_seed_and_epoch_alone() -> None:
    assert torch.equal(row_order(3, 1, 100), row_order(3, 1, 100))
    assert not torch.equal(row_order(3, 1, 100), row_order(4, 1, 100))


@pytest.mark.parametrize(
    ("vary", "changed", "error", "says"),
    [
        ({"weights": ["scaled", "plain"]}, {}, StudyError, "it varies norm, not weights"),
        ({**NORMS, "weights": ["scaled", "plain"]}, {}, StudyError, "it varies norm, not norm and"),
        ({"learning_rate": [0.1, 0.2]}, {}, StudyError, "it varies norm, not learning_rate"),
        (NORMS, {"epochs": 4}, StudyError, "epochs is 3 there and 4 here"),
        (SWEPT, {"epochs": 4}, StudyError, "epochs is 3 there and 4 here"),
        ({"norm": ["layer", "none"], "learning_rate": [0.1, 0.2]}, {"hidden": (9, 9)}, StudyError,
         "hidden is 12x8 there and 9x9 here"),
    ],
)  # fmt: skip
def test_a_folder_with_another_study_is_refused_and_left_alone(
    whole: tuple[Study, Path], tiny: Dataset, vary: dict, changed: dict, error: type, says: str
) -> None:
    study, out = whole
    with pytest.raises(error, match=says):
        compare(vary, SMALL.model_copy(update=changed), seeds=2, data=tiny, out=out)
    assert Study.load(out) == study


def test_other_data_are_refused(whole: tuple[Study, Path], tiny: Dataset) -> None:
    study, out = whole
    other = dataclasses.replace(tiny, test=tiny.valid)
    with pytest.raises((StudyError, RunFolderError), match="fingerprints differ"):
        compare({"norm": ["layer", "none"]}, SMALL, seeds=1, data=other, out=out)
    assert Study.load(out) == study


def test_a_file_that_is_no_study_is_refused_in_a_sentence(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text('{"format_version": 99}')
    with pytest.raises(StudyError, match="not a study that this version"):
        compare(NORMS, SMALL, seeds=1, data=tiny, out=tmp_path)
    assert (tmp_path / "study.json").read_text() == '{"format_version": 99}'


def test_stopped_it_keeps_what_has_ended_and_the_same_call_goes_on(
    whole: tuple[Study, Path], tiny: Dataset, tmp_path: Path
) -> None:
    stopped: list[RunProgress] = []

    def stop(news: RunProgress) -> None:
        if news.status == "complete" and not stopped:  # a second Ctrl-C is no request
            stopped.append(news)
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "study"
    with pytest.raises(TrainingInterruptedError, match="the same call goes on"):
        compare(SWEPT, SMALL, seeds=2, data=tiny, out=out, on_progress=stop)
    half = Study.load(out)
    assert half.status == "running"
    assert 1 <= len(half.runs) < 8
    assert half.analysis is None
    study = compare(SWEPT, SMALL, seeds=2, data=tiny, out=out)
    assert untimed(study) == untimed(whole[0])


def test_what_a_kill_left_unmeasured_at_the_end_is_measured_by_the_next_call(
    tiny: Dataset, tmp_path: Path
) -> None:
    study = compare(NORMS, SMALL, seeds=1, data=tiny, out=tmp_path)
    for run in study.runs:
        (tmp_path / run.folder / "right.bin").unlink()
        (tmp_path / run.folder / "inspection.json").unlink()
    again = compare(NORMS, SMALL, seeds=1, data=tiny, out=tmp_path)
    assert again.model_dump_json() == study.model_dump_json()


FORGETFUL = """
from torch import nn

class Forgetful(nn.Linear):
    trained = False

    def forward(self, images):
        self.trained |= self.training and len(images) > 2
        if not self.trained and len(images) > 2:
            raise ValueError("loaded, not trained")
        return super().forward(images.flatten(1))

def build(inputs, classes, forgets=False):
    return Forgetful(inputs, classes) if forgets else nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, classes))
"""


def test_a_run_that_cannot_be_looked_back_at_costs_no_other(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    Path("forgetful_models.py").write_text(FORGETFUL)
    recipe = Recipe(model="forgetful_models:build", epochs=1, batch_size=10)
    vary = {"forgets": [True, False]}
    with pytest.raises(RunsFailedError, match="loaded, not trained") as caught:
        compare(vary, recipe, seeds=2, data=tiny, out="study", workers=1)
    assert len(caught.value.failures) == 2
    study = Study.load("study")
    assert {run.arm for run in study.runs} == {"forgets=false"}
    assert (len(study.runs), study.status) == (2, "running")


def test_runs_that_are_watched_never_train_as_one(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they do, nobody would be told of the steps between two epochs."""
    monkeypatch.setattr(_crew, "trains_together", lambda recipe: True)
    study = compare(NORMS, SMALL, seeds=2, data=tiny, out=tmp_path)
    assert {len(run.curve) for run in study.runs} == {12}
