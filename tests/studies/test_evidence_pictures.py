"""What pictures of the evidence are drawn from, against readings that are known."""

from pathlib import Path
from statistics import median

import pytest

from normscope.probes._readings_file import append_readings
from normscope.records import Reading
from normscope.records._evidence_pictures import EvidencePictures
from normscope.studies._evidence_pictures import evidence_pictures, save_evidence_pictures
from normscope.studies._explanations import PROBED
from tests.report.evidence_samples import evidence, made_readings
from tests.studies.evidence import BEST, RATES, Truth, made_up

LAYERS = ("a", "b", "c", "logits")
STEPS = (10, 20)


def value(seed: int, step: int, layer: str, rate: float) -> float:
    return (1 + seed) * step * (1 + LAYERS.index(layer)) * rate


def readings(seed: int, rate: float) -> list[Reading]:
    found = [
        Reading(step=step, probe=probe, quantity=quantity, layer=layer, value=number)
        for step in STEPS
        for layer in LAYERS
        for number in [value(seed, step, layer, rate)]
        for probe, quantity in (
            ("distribution-drift", "sums-drift"),
            ("angular-update", "angle"),
            ("covariate-shift", "relative-shift"),
        )
    ]
    found += [
        Reading(step=0, probe="stable-rank", quantity="sums", layer=layer, value=number + seed)
        for number, layer in enumerate(LAYERS, 2)
    ]
    losses = tuple(float(number + seed) for number in range(8))
    found.append(Reading(step=10, probe="landscape", quantity="gradient-loss", values=losses))
    return found


@pytest.fixture(scope="module")
def made():
    truths = {"none": Truth(70, 88), "batch": Truth(80, 90), "ghost-2": Truth(diverged=(0,))}
    study, names = made_up(truths, seeds=3, noise=0.1)
    known = {
        run.folder: readings(run.seed, run.learning_rate)
        for run in study.runs
        if run.arm in (names["none"], names["batch"])
    }
    return study, names, evidence_pictures(study, names, known)


def line(pictures, quantity: str, over: str, arm: str, rate: float = BEST):
    (found,) = [
        each
        for each in pictures.lines
        if (each.quantity, each.over, each.arm, each.learning_rate) == (quantity, over, arm, rate)
    ]
    return found


def test_a_line_over_steps_is_the_median_over_hidden_layers_then_over_seeds(made) -> None:
    found = line(made[2], "drift", "steps", "batch")
    of_seeds = [
        [median(value(seed, step, layer, BEST) for layer in "abc") for seed in range(3)]
        for step in STEPS
    ]
    assert found.at == STEPS
    assert found.middle == pytest.approx([median(each) for each in of_seeds], rel=1e-4)
    assert found.low == pytest.approx([min(each) for each in of_seeds], rel=1e-4)
    assert found.high == pytest.approx([max(each) for each in of_seeds], rel=1e-4)


def test_a_line_over_layers_leaves_out_those_that_the_prediction_leaves_out(made) -> None:
    later = line(made[2], "gradient-shift", "layers", "none")
    assert later.at == (2, 3, 4)  # the first layer's inputs are moved by nothing
    expected = [median(value(1, step, layer, BEST) for step in STEPS) for layer in LAYERS[1:]]
    assert later.middle == pytest.approx(expected, rel=1e-4)
    assert line(made[2], "rank", "layers", "none").middle == (3, 4, 5)  # of seed 1; no logits


def test_angles_are_shown_at_every_rate_and_the_others_at_one(made) -> None:
    for rate in RATES:
        assert line(made[2], "angle", "steps", "batch", rate).at == STEPS
    assert {each.learning_rate for each in made[2].lines if each.quantity != "angle"} == {BEST}


def test_curves_are_of_the_first_seed(made) -> None:
    assert {(each.arm, each.seed, each.step) for each in made[2].curves} == {
        ("none", 0, 10),
        ("batch", 0, 10),
    }
    assert all(each.loss == tuple(range(8)) for each in made[2].curves)


def test_numbers_are_those_of_the_runs(made) -> None:
    study, names, pictures = made
    assert len(pictures.numbers) == 3 * len(RATES)
    for each in pictures.numbers:
        runs = [
            run
            for run in study.runs
            if (run.arm, run.learning_rate) == (names[each.arm], each.learning_rate)
        ]
        ended = [run.test.running.accuracy if run.test else 10.0 for run in runs]
        assert each.ended == pytest.approx(ended, rel=1e-4)
        assert len(each.early) == (3 if each.best else 0)
        assert each.rows == (60 if each.arm == "ghost-2" else 120)


def test_runs_without_readings_have_no_lines(made) -> None:
    study, names, _ = made
    bare = evidence_pictures(study, names, {})
    assert (bare.lines, bare.curves) == ((), ())
    assert bare.numbers == made[2].numbers


def test_they_are_written_from_the_readings_in_the_runs_folders(tmp_path: Path) -> None:
    study, table, pictures = evidence()
    looked = {arm.name for arm in table.arms if arm.key in PROBED}
    for run in study.runs:
        if run.arm in looked and run.status == "complete":
            key = next(arm.key for arm in table.arms if arm.name == run.arm)
            (tmp_path / run.folder).mkdir(parents=True)
            append_readings(tmp_path / run.folder, made_readings(key, run.learning_rate, run.seed))
    save_evidence_pictures(study, table, tmp_path)
    assert EvidencePictures.load(tmp_path) == pictures
