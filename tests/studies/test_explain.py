"""`explain` from end to end: runs with readings, kept and extended, and the evidence in a file."""

import json
from pathlib import Path

import pytest

from normscope._errors import InputError, RecipeError, StudyError
from normscope.data import Dataset
from normscope.probes import read_readings
from normscope.records import EvidenceTable, Recipe, Study
from normscope.studies import Explaining, explain
from normscope.studies._explain import _asked
from normscope.studies._explanations import ARMS, PREDICTIONS
from normscope.studies._readings_of import READINGS
from normscope.training import train

SMALL = Recipe(hidden=(12, 8), epochs=2, batch_size=20)
RATES = (0.05,)
OF_BATCH_NORM = {"identity", "taken-away", "noise", "noise-of-a-quarter", "lag"}
ASKED = {"arms": ["detached"], "learning_rates": RATES, "workers": 1}


@pytest.fixture(scope="module")
def folder(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three arms at one rate with two seeds."""
    out = tmp_path_factory.mktemp("explain") / "study"
    plans: list[Explaining] = []
    explain(SMALL, data=tiny, out=out, seeds=2, **ASKED, on_plan=plans.append)
    (plan,) = plans
    assert (plan.plan.runs, plan.plan.kept) == (6, 0)
    assert [arm.key for arm in plan.arms] == ["none", "batch", "detached"]
    assert {each.why for each in plan.left_out} == {"it was not asked for"}
    assert len(plan.arms) + len(plan.left_out) == len(ARMS)
    return out


def test_every_prediction_has_a_row_and_two_seeds_decide_nothing(folder: Path) -> None:
    table = EvidenceTable.load(folder)
    assert [row.key for row in table.rows] == [each.key for each in PREDICTIONS]
    assert {row.judgement for row in table.rows} == {"not decided"}
    assert all(row.why for row in table.rows)
    assert (table.learning_rates, table.seeds) == (RATES, (0, 1))
    assert all(arm.best_learning_rate in RATES for arm in table.arms)
    assert json.loads((folder / "evidence.json").read_text())["format_version"] == 1


def test_probes_read_where_predictions_are_about_them(folder: Path) -> None:
    study = Study.load(folder)
    for run in study.runs:
        readings = read_readings(folder / run.folder)
        if run.arm == "norm=detached":
            assert not readings
            continue
        steps = {reading.step for reading in readings}
        assert len(steps) == 4, "before the first step, and three times"
        assert 0 in steps
        for name, of in READINGS.items():
            found = [r for r in readings if r.probe == of.probe and r.quantity in of.quantities]
            assert bool(found) == (run.arm == "norm=batch" or name not in OF_BATCH_NORM), name
            steps = {r.step for r in found}
            assert not found or (0 in steps if of.when == "first" else steps - {0}), name
    rows = {row.key: row for row in EvidenceTable.load(folder).rows}
    of_readings = {
        "drift", "gradient-shift", "smoothness", "rank", "growth", "safe-step", "dead",
        "two-sided", "identity", "taken-away", "orthogonal", "radial", "independent", "stale",
        "noise-falls", "stale-end",
    }  # fmt: skip
    for key in of_readings:
        assert rows[key].effect.n == 2, key


def test_looking_changes_nothing(folder: Path, tiny: Dataset) -> None:
    run = next(r for r in Study.load(folder).runs if (r.arm, r.seed) == ("norm=batch", 1))
    alone = train(SMALL.with_settings({"seed": 1, "learning_rate": run.learning_rate}), tiny).run
    assert alone.test == run.test
    assert [e.train_loss for e in alone.epochs] == [e.train_loss for e in run.epochs]


def test_the_same_call_keeps_all_and_says_the_same(folder: Path, tiny: Dataset) -> None:
    before = (folder / "evidence.json").read_bytes()
    plans: list[Explaining] = []
    explain(SMALL, data=tiny, out=folder, seeds=2, **ASKED, on_plan=plans.append)
    assert plans[0].plan.kept == plans[0].plan.runs == 6
    assert (folder / "evidence.json").read_bytes() == before


def test_more_seeds_are_added_and_can_decide(folder: Path, tiny: Dataset) -> None:
    plans: list[Explaining] = []
    table = explain(SMALL, data=tiny, out=folder, seeds=3, **ASKED, on_plan=plans.append)
    assert (plans[0].plan.kept, plans[0].plan.runs) == (6, 9)
    assert all("2 seeds" not in row.why for row in table.rows)
    assert {row.effect.n for row in table.rows if row.key in {"gain", "drift"}} == {3}


def test_another_recipe_is_another_study(folder: Path, tiny: Dataset) -> None:
    other = SMALL.model_copy(update={"epochs": 3})
    with pytest.raises(StudyError, match="epochs is 2 there and 3 here"):
        explain(other, data=tiny, out=folder, seeds=2, **ASKED)


def test_what_cannot_be_is_refused_before_anything_is_written(tiny: Dataset) -> None:
    refused = {
        "budget": (InputError, {"budget": 0.0}),
        "seeds": (InputError, {"seeds": 0}),
        "learning_rates": (InputError, {"learning_rates": [0.1, 0.1]}),
        "confidence": (StudyError, {"confidence": 5.0}),
        "no arm": (StudyError, {"arms": ["lost"]}),
    }
    for words, (error, options) in refused.items():
        with pytest.raises(error, match=words):
            explain(SMALL, data=tiny, out="nowhere", **options)
    with pytest.raises(RecipeError, match="training rows"):
        explain(SMALL.model_copy(update={"batch_size": 500}), data=tiny, out="nowhere")
    assert not Path("nowhere").exists()


def test_a_model_of_ones_own_is_asked_for_what_it_may_know() -> None:
    own = Recipe(model="mine:network")
    assert [arm.key for arm in _asked(own, None)] == ["none", "batch", "layer"]
    assert [arm.key for arm in _asked(own, ["noisy"])] == ["none", "batch", "noisy"]
    assert len(_asked(Recipe(), None)) == len(ARMS)


def test_every_arm_is_a_recipe() -> None:
    recipes = [Recipe().with_settings(arm.settings(Recipe())) for arm in ARMS]
    assert len(set(recipes)) == len(ARMS)


def test_evidence_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no evidence here"):
        EvidenceTable.load(tmp_path)
    (tmp_path / "evidence.json").write_text('{"format_version": 2}')
    with pytest.raises(StudyError, match="format_version"):
        EvidenceTable.load(tmp_path)
