"""From studies whose truth is known to rows: what was planted is found, and nothing else."""

import math

import numpy as np
import pytest

from normscope.records import Estimate, Reading
from normscope.studies._evidence import _judged, _Measure
from normscope.studies._explanations import PREDICTIONS
from normscope.studies._readings_of import READINGS
from normscope.studies._seed_numbers import SeedNumbers
from tests.studies.evidence import BEST, Truth, evidence, made_up

GAIN = {"none": Truth(70, 88), "batch": Truth(80, 90)}
DRIFTING = {
    "none": Truth(70, 88, readings={"drift": 1.0}),
    "batch": Truth(80, 90, readings={"drift": 0.5}),
}


def test_a_gain_that_is_there_is_found_and_one_that_is_not_is_not() -> None:
    assert evidence(GAIN)["gain"].judgement == "survives"
    worse = {"none": Truth(80), "batch": Truth(70)}
    assert evidence(worse)["gain"].judgement == "contradicted"
    same = evidence({"none": Truth(80), "batch": Truth(80)})["gain"]
    assert same.judgement == "not decided"
    assert "threshold" in same.why


@pytest.mark.parametrize(
    ("key", "arm", "survives_where"),
    [
        ("noisy", "noisy", "lost"),
        ("detached", "detached", "lost"),
        ("variance-only", "variance", "kept"),
        ("mean-only", "mean", "lost"),
        ("weight-norm", "weight", "kept"),
        ("one-shot", "one-shot", "kept"),
        ("last", "last", "kept"),
    ],
)
def test_an_arm_that_keeps_the_gain_and_one_that_loses_it_are_told_apart(
    key: str, arm: str, survives_where: str
) -> None:
    noise = {"drift": 2.0}
    kept = evidence({**DRIFTING, arm: Truth(79, 90, readings=noise)})[key]
    lost = evidence({**DRIFTING, arm: Truth(71, 88, readings=noise)})[key]
    half = evidence({**DRIFTING, arm: Truth(75, 89, readings=noise)})[key]
    seen = {"kept": kept.judgement, "lost": lost.judgement}
    opposite = {"kept": "lost", "lost": "kept"}[survives_where]
    assert seen == {survives_where: "survives", opposite: "contradicted"}
    assert half.judgement == "not decided"
    assert kept.effect.value == pytest.approx(4, abs=0.5), "79 is 4 above the middle"


def test_a_row_says_whether_a_threshold_is_in_its_interval_or_the_interval_in_a_gap() -> None:
    whys = {
        drift: evidence({"none": Truth(70, readings={"drift": 1.0}),
                         "batch": Truth(80, readings={"drift": drift})})["drift"].why
        for drift in (0.8, 0.9, 1.0)
    }  # fmt: skip
    assert whys[0.8] == whys[1.0] == "the interval reaches across a threshold"
    assert whys[0.9] == "the interval lies where x is neither as predicted nor against it"


def test_too_few_seeds_decide_nothing() -> None:
    row = evidence(GAIN, seeds=2, noise=0.001)["gain"]
    assert row.judgement == "not decided"
    assert row.why == "2 seeds of 2; at least 3 have to have a number"
    assert evidence(GAIN, seeds=3, noise=0.001)["gain"].judgement == "survives"


def test_without_a_gain_nothing_explains_it() -> None:
    row = evidence({"none": Truth(80), "batch": Truth(80), "weight": Truth(90)})["weight-norm"]
    assert row.judgement == "not decided"
    assert "no gain to explain" in row.why
    assert not row.premises[0].holds


def test_noise_that_brings_no_drift_back_says_nothing_of_drift() -> None:
    weak = evidence({**DRIFTING, "noisy": Truth(79, readings={"drift": 0.6})})["noisy"]
    assert weak.judgement == "not decided"
    assert "drift" in weak.why


def test_an_arm_that_was_left_out_and_a_reading_that_is_missing_are_named() -> None:
    rows = evidence(GAIN)
    assert rows["detached"].why == "left out: batch norm, no gradient through statistics"
    assert rows["drift"].why.startswith("what it is about was not read")
    assert rows["drift"].effect.n == 0


@pytest.mark.parametrize(
    ("key", "reading", "borne_out", "against", "between"),
    [
        ("drift", "drift", 0.5, 1.6, 0.9),
        ("gradient-shift", "gradient-shift", 0.5, 1.6, 0.9),
        ("smoothness", "smoothness", 0.5, 1.6, 0.9),
        ("scale-free-smoothness", "scale-free-smoothness", 0.5, 1.6, 0.9),
        ("safe-step", "safe-step", 2.0, 0.6, 1.1),
        ("rank", "rank", 2.0, 0.6, 1.1),
        ("growth", "growth", 1.3, 0.8, 1.05),
    ],
)
def test_a_ratio_of_readings_is_held_against_both_thresholds(
    key: str, reading: str, borne_out: float, against: float, between: float
) -> None:
    seen = []
    for ratio in (borne_out, against, between):
        truths = {
            "none": Truth(readings={reading: 1.0}),
            "batch": Truth(readings={reading: ratio}),
        }
        row = evidence(truths)[key]
        assert row.effect.value == pytest.approx(ratio, rel=0.15)
        seen.append(row.judgement)
    assert seen == ["survives", "contradicted", "not decided"]


def test_a_run_that_diverged_has_no_readings_and_its_seed_is_left_out() -> None:
    truths = {
        "none": Truth(diverged=(1,), readings={"drift": 1.0}),
        "batch": Truth(readings={"drift": 0.5}),
    }
    row = evidence(truths)["drift"]
    assert row.effect.n == 5
    assert [value.seed for value in row.values] == [0, 2, 3, 4, 5]


def test_a_diverged_run_counts_with_the_accuracy_of_guessing() -> None:
    study, names = made_up({"none": Truth(diverged=(0,)), "batch": Truth()}, seeds=3, noise=0.1)
    seed = SeedNumbers(study, 0, names, {})
    assert (seed.ended("none"), seed.learned("none"), seed.early("none")) == (10, 10, 10)
    assert seed.ended("batch") > 80


def test_what_the_choice_of_a_rate_costs() -> None:
    steep, level = (9.0, 0.0, 9.0), (1.0, 0.0, 1.0)
    flat = {"none": Truth(elsewhere=steep), "batch": Truth(elsewhere=level)}
    row = evidence(flat)["flat"]
    assert row.judgement == "survives"
    assert row.effect.value == pytest.approx(2 / 3 - 6 / 2, abs=0.3)
    alike = {"none": Truth(elsewhere=steep), "batch": Truth(elsewhere=steep)}
    assert evidence(alike)["flat"].judgement == "contradicted"
    idle = {"none": Truth(elsewhere=level), "batch": Truth(elsewhere=level)}
    assert "not found to matter" in evidence(idle)["flat"].why
    weight = {**flat, "weight": Truth(elsewhere=level)}
    assert evidence(weight)["weight-norm-flat"].judgement == "survives"
    weight = {**flat, "weight": Truth(elsewhere=steep)}
    assert evidence(weight)["weight-norm-flat"].judgement == "contradicted"


def test_a_gap_at_the_smallest_rate_goes_against_larger_rates() -> None:
    equal_there = {"none": Truth(70), "batch": Truth(80, elsewhere=(15.0, 0.0, 5.0))}
    assert evidence(equal_there)["small-rate"].judgement == "survives"
    assert evidence(GAIN)["small-rate"].judgement == "contradicted"


def test_one_rate_alone_says_nothing_of_larger_ones() -> None:
    study, names = made_up(GAIN, seeds=1, noise=0.1)
    assert math.isfinite(SeedNumbers(study, 0, names, {}).gap_at_the_smallest_rate("batch", "none"))
    design = study.design.model_copy(update={"learning_rates": (BEST,)})
    alone = SeedNumbers(study.model_copy(update={"design": design}), 0, names, {})
    assert math.isnan(alone.gap_at_the_smallest_rate("batch", "none"))


def test_a_dose_of_noise_has_a_slope() -> None:
    def ghosts(slope: float) -> dict[str, Truth]:
        parts = {"ghost-2": 1, "ghost-8": 3, "ghost-4": 2}
        arms = {key: Truth(80, 90 + slope * number) for key, number in parts.items()}
        return {"none": Truth(), "batch": Truth(80, 90), **arms}

    row = evidence(ghosts(0.8))["dose"]
    assert row.judgement == "survives"
    assert row.effect.value == pytest.approx(0.8, abs=0.15)
    assert evidence(ghosts(-0.8))["dose"].judgement == "contradicted"
    assert evidence(ghosts(0.05), noise=0.05)["dose"].judgement == "not decided"


def test_noise_and_the_rival_are_held_to_what_matters() -> None:
    arms = {**GAIN, "layer": Truth(80, 89), "rival": Truth(80, 89.9)}
    rows = evidence(arms)
    assert rows["layer"].judgement == "survives"
    assert rows["rival"].judgement == "survives", "within half a point"
    worse = evidence({**GAIN, "layer": Truth(80, 91), "rival": Truth(80, 88)})
    assert (worse["layer"].judgement, worse["rival"].judgement) == ("contradicted", "contradicted")


def test_what_the_interval_alone_would_say_has_to_survive_the_many_rows() -> None:
    for noise in np.geomspace(0.5, 10, 40):
        row = evidence(GAIN, noise=float(noise))["gain"]
        if row.effect.low > 0 and row.p_holm > 0.05:
            break
    else:
        pytest.fail("no noise lies between the two")
    assert row.p < 0.05
    assert row.judgement == "not decided"
    assert "Holm" in row.why
    assert "survives" in row.why


def test_readings_are_taken_of_the_layers_and_the_steps_that_are_named() -> None:
    study, names = made_up({"none": Truth(), "batch": Truth()}, seeds=1, noise=0.0)
    run = next(r for r in study.runs if (r.arm, r.learning_rate) == (names["batch"], BEST))

    def read(name: str, values: dict[tuple[int, str], float]) -> float:
        of = READINGS[name]
        quantity = of.quantities[0]
        found = [
            Reading(step=step, probe=of.probe, quantity=quantity, layer=layer, value=value)
            for (step, layer), value in values.items()
        ]
        noise = Reading(step=0, probe=of.probe, quantity="failed")
        seed = SeedNumbers(study, 0, names, {run.folder: [noise, *found]})
        return math.exp(seed.log_reading("batch", name))

    layers = {(0, "a"): 2.0, (0, "b"): 3.0, (0, "c"): 5.0}
    assert read("rank", {**layers, (9, "b"): 70.0}) == pytest.approx(3), "the last hidden, first"
    assert math.isnan(read("rank", {(9, "a"): 1.0, (9, "b"): 1.0})), "nothing before the first step"
    assert read("growth", layers) == pytest.approx(2.5), "without the last"
    later = {(5, layer): value for (_, layer), value in layers.items()}
    assert read("gradient-shift", {**later, (0, "c"): 70.0}) == pytest.approx(4), "no first layer"
    assert math.isnan(read("gradient-shift", layers)), "nothing after a step"
    assert read("smoothness", {(10, ""): 4.0, (20, ""): 6.0}) == pytest.approx(5)
    late = {(10, "a"): 1.0, (79, "a"): 1.0, (90, "a"): 3.0, (100, "a"): 5.0, (100, "b"): 99.0}
    assert read("angle", late) == pytest.approx(4), "of the last fifth, without the logits"
    some = [("a", "normalized-drift", 1.0), ("a", "sums-drift", 9.0), ("b", "sums-drift", 3.0)]
    mixed = [
        Reading(step=5, probe="distribution-drift", quantity=quantity, layer=layer, value=value)
        for layer, quantity, value in [*some, ("logits", "sums-drift", 99.0)]
    ]
    drift = SeedNumbers(study, 0, names, {run.folder: mixed}).log_reading("batch", "drift")
    assert math.exp(drift) == pytest.approx(2), (
        "what the norm makes of the sums, where there is one"
    )
    assert math.isnan(read("safe-step", {(10, ""): 0.0})), "a ratio to nothing"


def test_nothing_is_found_where_nothing_is() -> None:
    """At the very threshold, either verdict is an error: of 5 in a hundred in all."""
    gain = next(each for each in PREDICTIONS if each.key == "gain")
    measure = _Measure("points", 0.95, 0.0)
    random = np.random.default_rng(3)
    decided = 0
    for _ in range(1000):
        numbers = random.normal(0, 1, 5).tolist()
        judgement, p = _judged(gain, numbers, measure.interval(numbers)[0], measure)
        assert (judgement != "not decided") == (p <= 0.05), "the p inverts the interval"
        decided += judgement != "not decided"
    assert 25 <= decided <= 80


def test_an_interval_that_only_touches_a_threshold_is_not_inside() -> None:
    gain = next(each for each in PREDICTIONS if each.key == "gain")
    measure = _Measure("points", 0.95, 0.0)
    effect = Estimate(value=0.0, low=0.0, high=0.0, n=5)
    assert _judged(gain, [0.0] * 5, effect, measure) == ("not decided", 1.0)


def test_quantities_are_summed_and_shares_are_means_without_signs() -> None:
    study, names = made_up({"none": Truth(), "batch": Truth()}, seeds=1, noise=0.0)
    run = next(r for r in study.runs if (r.arm, r.learning_rate) == (names["batch"], BEST))

    def seed(probe: str, values: dict[tuple[str, str], float], step: int = 5) -> SeedNumbers:
        found = [
            Reading(step=step, probe=probe, quantity=quantity, layer=layer, value=value)
            for (quantity, layer), value in values.items()
        ]
        return SeedNumbers(study, 0, names, {run.folder: found})

    shares = {("centering", "a"): 0.01, ("projection", "a"): 0.02, ("residual", "a"): 9.0}
    shares |= {("centering", "b"): 0.5, ("projection", "b"): 0.5, ("scaling", "a"): 9.0}
    assert seed("gradient-identity", shares).percent("batch", "taken-away") == pytest.approx(3)
    dead = {("never-positive", layer): x for layer, x in zip("abcd", (0, 0, 0.3, 1), strict=True)}
    assert seed("dead-units", dead).percent("batch", "dead") == pytest.approx(10), "a mean, of 3"
    assert math.isnan(seed("dead-units", dead, step=0).percent("batch", "dead"))
    cosines = {("cosine-gradient", layer): x for layer, x in (("a", -0.2), ("b", 0.2), ("c", 9.0))}
    assert seed("angular-update", cosines).reading("batch", "orthogonality") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("key", "readings", "expected"),
    [
        ("identity", {"identity": 1e-6, "taken-away": 0.1}, "survives"),
        ("identity", {"identity": 0.1, "taken-away": 0.1}, "contradicted"),  # no gradient through
        ("taken-away", {"taken-away": 0.2}, "survives"),
        ("taken-away", {"taken-away": 0.02}, "contradicted"),
        ("orthogonal", {"orthogonality": 1e-7}, "survives"),
        ("orthogonal", {"orthogonality": 0.009}, "contradicted"),
        ("orthogonal", {"orthogonality": 0.0005}, "not decided"),
        ("radial", {"radial": 0.001}, "survives"),
        ("radial", {"radial": 0.02}, "contradicted"),
        ("independent", {"input-independence": 0.2}, "survives"),
        ("independent", {"input-independence": 0.9}, "contradicted"),
        ("dead", {"dead": 0.01}, "survives"),
        ("dead", {"dead": 0.3}, "contradicted"),
        ("two-sided", {"one-sided": 0.1}, "survives"),
        ("two-sided", {"one-sided": 0.3}, "contradicted"),
        ("noise-falls", {"noise": 0.01, "noise-of-a-quarter": 0.038}, "survives"),
        ("noise-falls", {"noise": 0.01, "noise-of-a-quarter": 0.012}, "contradicted"),
        ("stale", {"lag": 0.2}, "survives"),
        ("stale", {"lag": 0.05}, "contradicted"),
        ("stale", {"lag": 0.0728}, "not decided"),  # what the choice of 120 rows makes: 1
    ],
)
def test_what_is_read_of_batch_norm_is_held_against_its_thresholds(
    key: str, readings: dict[str, float], expected: str
) -> None:
    plain = {
        "orthogonality": 0.01, "radial": 0.01, "input-independence": 0.5, "dead": 0.2,
        "one-sided": 0.2,
    }  # fmt: skip
    row = evidence({"none": Truth(readings=plain), "batch": Truth(readings=readings)})[key]
    assert row.judgement == expected, row


def test_a_calm_batch_norm_is_held_to_what_noise_is_said_to_bring() -> None:
    assert evidence({**GAIN, "calm": Truth(80, 89)})["calm"].judgement == "survives"
    assert evidence({**GAIN, "calm": Truth(80, 91)})["calm"].judgement == "contradicted"
    assert evidence(GAIN)["stale-end"].judgement == "survives", "both statistics score alike"
