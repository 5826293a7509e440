"""What follows from made-up runs whose truth is known."""

import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats

from normscope._errors import StudyError
from normscope.records import Analysis
from normscope.studies._analysis import analyse
from normscope.studies._steps_to_target import reference_target, steps_to_target
from tests.studies.made_up import ALL_STEPS, DIVERGED, Ends, cell, curve, run, study

A, B, C = "norm=batch", "norm=none", "norm=layer"


def found(analysis, question="own-best", measure="test-accuracy", arm=A):
    """The comparisons of a kind, in their order."""
    return [
        c
        for c in analysis.comparisons
        if (c.question, c.measure, c.arm) == (question, measure, arm)
    ]


# --- steps to the target ---


def with_curve(*accuracies):
    return run(A, 0.01, 0, Ends()).model_copy(update={"curve": tuple(curve(accuracies))})


@pytest.mark.parametrize(
    ("accuracies", "steps"),
    [
        ((70, 81, 82, 83), 40),
        ((81, 82, 83, 84), 20),
        ((80, 80, 80, 80), 20),  # at the target is enough
        ((81, 79, 82, 83), 60),  # what is not kept does not count
        ((81, 82, 83, 79), None),
        ((70, 71, 72, 81), 80),
        ((70, 71, 72, 73), None),
        ((math.nan, 81, 82, 83), 40),
        ((81, 82, math.nan, 83), 80),
        ((), None),
    ],
)
def test_steps_are_counted_to_where_the_target_is_kept(accuracies, steps):
    assert steps_to_target(with_curve(*accuracies), 80.0) == steps


def test_a_run_that_diverges_has_kept_nothing():
    diverged = with_curve(81, 82).model_copy(update={"status": "diverged"})
    assert steps_to_target(diverged, 80.0) is None
    assert steps_to_target(with_curve(81, 82), 80.0) == 20  # the control


def test_nobody_reaches_a_target_that_is_none():
    assert steps_to_target(with_curve(81, 82), math.nan) is None


def test_the_target_is_where_the_reference_ends_within_one_standard_error():
    error = 100 * math.sqrt(0.9 * 0.1 / 900)
    assert reference_target([95.0, 90.0, 60.0], 900, 10.0) == pytest.approx(90 - error)


def test_a_reference_that_only_guesses_sets_no_target():
    assert math.isnan(reference_target([10.5, 10.0, 11.0], 900, 10.0))
    assert reference_target([20.0, 20.0, 20.0], 900, 10.0) < 20  # the control


def test_the_analysis_takes_the_target_from_the_reference_at_its_best_rate():
    cells = {
        (A, 0.1): cell([95.0, 95.0, 95.0]),
        (B, 0.1): cell([85.0, 85.0, 85.0]),
        (A, 0.2): cell([95.0, 95.0, 95.0]),
        (B, 0.2): cell([90.0, 90.0, 60.0]),
    }
    analysis = analyse(study(cells, reference=B, target=None))
    assert analysis.best_learning_rates[B] == 0.1  # 85 against a mean of 80
    assert analysis.target == pytest.approx(reference_target([85.0], 900, 10.0))
    assert analysis.target_is == "reference"
    given = analyse(study(cells, reference=B, target=80.0))
    assert (given.target, given.target_is) == (80.0, "given")


def test_no_target_no_speed():
    cells = {(A, 0.1): cell([95.0, 94.0]), (B, 0.1): [DIVERGED, DIVERGED]}
    analysis = analyse(study(cells, reference=B, target=None))
    assert math.isnan(analysis.target)
    assert {c.measure for c in analysis.comparisons} == {"test-accuracy"}
    assert Analysis.model_validate_json(analysis.model_dump_json()).best_learning_rates


# --- cells and best rates ---


def test_a_cell_counts_what_diverged_as_guessing():
    cells = {(A, 0.1): [Ends(90.0, 300), DIVERGED, Ends(92.0, None)], (B, 0.1): cell([90.0] * 3)}
    first = analyse(study(cells, reference=B)).cells[0]
    assert (first.n, first.diverged, first.steps) == (3, 1, (300, None, None))
    assert first.test_accuracy.value == pytest.approx((90 + 10 + 92) / 3)
    assert first.valid_accuracy == pytest.approx((90 + 10 + 92) / 3)


def test_the_best_rate_is_chosen_on_validation_and_the_smaller_of_equals():
    cells = {
        (A, 0.3): [Ends(80.0, 200, valid=91.0)] * 2,
        (A, 0.1): [Ends(85.0, 200, valid=91.0)] * 2,
        (A, 0.2): [Ends(99.0, 200, valid=90.0)] * 2,  # best on test: not looked at
        (B, 0.1): cell([90.0] * 2),
        (B, 0.2): cell([90.0] * 2),
        (B, 0.3): cell([90.0] * 2),
    }
    analysis = analyse(study(cells, reference=B))
    assert analysis.best_learning_rates == {A: 0.1, B: 0.1}
    assert [c.learning_rate for c in analysis.cells] == [0.3, 0.1, 0.2] * 2


# --- the questions ---


def swept():
    """A better at 0.2, where B is worse; both alike at 0.1, B's best."""
    return study(
        {
            (A, 0.1): cell([90.1, 89.8, 90.3, 90.0]),
            (A, 0.2): cell([92.0, 91.9, 92.2, 92.3]),
            (B, 0.1): cell([90.0, 90.1, 90.0, 90.2]),
            (B, 0.2): cell([70.0, 71.0, 72.0, 70.0]),
        },
        reference=B,
    )


def test_three_questions_each_with_two_measures():
    analysis = analyse(swept())
    asked = [
        (c.question, c.measure, c.arm, c.learning_rate, c.other, c.other_learning_rate)
        for c in analysis.comparisons
    ]
    pairs = [
        ("own-best", A, 0.2, B, 0.1),
        ("equal-rate", A, 0.1, B, 0.1),
        ("equal-rate", A, 0.2, B, 0.2),
        ("other-rate", A, 0.2, A, 0.1),
    ]
    assert asked == [
        (question, measure, *rest)
        for question, *rest in pairs
        for measure in ("test-accuracy", "steps-to-target")
    ]


def test_the_gain_at_own_best_is_the_sum_of_its_two_parts():
    analysis = analyse(swept())
    whole, equal, moved = (
        found(analysis, question)[0].effect.value
        for question in ("own-best", "equal-rate", "other-rate")
    )
    assert whole == pytest.approx(equal + moved)


def test_differences_are_paired_by_seed():
    tests = np.array([88.0, 90.0, 92.0, 94.0, 96.0])
    better = tests + np.array([0.5, 0.6, 0.4, 0.5, 0.6])
    (one,) = found(analyse(study({(A, 0.1): cell(better), (B, 0.1): cell(tests)}, reference=B)))
    low, high = scipy.stats.ttest_rel(better, tests).confidence_interval(0.95)
    assert (one.effect.low, one.effect.high) == pytest.approx((low, high))
    assert one.conclusion == "higher"
    shuffled = better[[3, 0, 4, 1, 2]]
    (control,) = found(
        analyse(study({(A, 0.1): cell(shuffled), (B, 0.1): cell(tests)}, reference=B))
    )
    assert control.conclusion == "no-difference"


def test_where_the_rates_are_the_arms_there_is_one_question():
    names = ["learning_rate=0.1", "learning_rate=0.2"]
    cells = {(names[0], 0.1): cell([90.0, 90.1]), (names[1], 0.2): cell([91.0, 91.2])}
    analysis = analyse(study(cells, reference=names[0]))
    assert {(c.question, c.arm, c.other) for c in analysis.comparisons} == {
        ("own-best", names[1], names[0])
    }
    assert [c.learning_rate for c in analysis.cells] == [0.1, 0.2]


def test_arms_that_were_trained_for_longer_are_censored_later():
    names = ["epochs=10", "epochs=20"]
    cells = {
        (names[0], 0.1): cell([90.0] * 2, [500, 500]),
        (names[1], 0.1): cell([80.0] * 2, [None] * 2),
    }
    settings = {"epochs=10": {"epochs": 10}, "epochs=20": {"epochs": 20}}
    analysis = analyse(study(cells, reference=names[0], settings=settings))
    (steps,) = found(analysis, measure="steps-to-target", arm="epochs=20")
    assert steps.effect.value == pytest.approx(2 * ALL_STEPS / 500)


# --- Holm and conclusions ---


def test_holm_is_over_all_arms_of_a_question_and_measure():
    tests = [90.0, 90.2, 90.1, 89.9, 90.0]
    near = [t + d for t, d in zip(tests, [0.1, 0.5, 0.2, 0.5, 0.1], strict=True)]
    cells = {(A, 0.1): cell(near), (C, 0.1): cell([90.1, 90.0, 90.2, 89.8, 90.1])}
    alone = analyse(study({(A, 0.1): cell(near), (B, 0.1): cell(tests)}, reference=B))
    both = analyse(study({**cells, (B, 0.1): cell(tests)}, reference=B))
    (one,), (of_two,) = found(alone), found(both)
    assert one.p == of_two.p == one.p_holm < 0.05 < of_two.p_holm == 2 * one.p
    assert (one.conclusion, of_two.conclusion) == ("higher", "no-difference")


# --- censored ---


def steps_compared(ours, theirs):
    cells = {
        (A, 0.1): cell([90.0] * len(ours), ours),
        (B, 0.1): cell([90.0] * len(theirs), theirs),
    }
    return found(analyse(study(cells, reference=B)), measure="steps-to-target")[0]


def test_the_ratio_is_a_geometric_mean_of_paired_ratios():
    one = steps_compared([100, 200, 300], [200, 800, 900])
    assert one.effect.value == pytest.approx((0.5 * 0.25 / 3) ** (1 / 3))
    assert one.censored == (0, 0)


def test_who_never_arrives_counts_with_all_steps_and_is_counted():
    one = steps_compared([100, 200, 300], [200, None, 900])
    assert one.effect.value == pytest.approx((0.5 * 200 / ALL_STEPS / 3) ** (1 / 3))
    assert one.censored == (0, 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "conclusion"),
    [
        ([100] * 4, [None] * 4, "lower"),
        ([None] * 4, [100] * 4, "higher"),
        ([None] * 4, [None] * 4, "undecided"),
        ([900, 900, 900, 900], [100, 100, 100, None], "undecided"),  # at most 4 times: no claim
        ([100, 100, 100, None], [900, 900, 900, 900], "undecided"),
        ([100, 120, 140, 100], [900, 800, None, 900], "lower"),
        ([100, 120, 900, 100], [100, 140, 800, 120], "no-difference"),
        ([900, None, 900, None], [900, 950, 900, None], "no-difference"),
        ([900, None, 900, None], [None, 950, None, None], "undecided"),  # most were stopped
        ([None] * 4, [ALL_STEPS, 100, ALL_STEPS, ALL_STEPS], "undecided"),  # all of one side
        ([None, 900, 900, None], [900, 950, 900, ALL_STEPS], "no-difference"),  # the control
        ([100], [900], "undecided"),
    ],
)
def test_a_bound_is_concluded_from_on_its_own_side_alone(ours, theirs, conclusion):
    assert steps_compared(ours, theirs).conclusion == conclusion


# --- identical, and nearly ---


def test_networks_that_are_the_same_do_not_differ_at_all():
    tests = [90.0, 91.0, 89.5]
    analysis = analyse(study({(A, 0.1): cell(tests), (B, 0.1): cell(tests)}, reference=B))
    (one,) = found(analysis)
    assert (one.effect.value, one.effect.low, one.effect.high) == (0, 0, 0)
    assert (one.p, one.conclusion) == (1, "no-difference")


def test_equal_accuracies_of_networks_that_differ_are_equal_to_their_rounding():
    same = study({(A, 0.1): cell([90.0] * 2), (B, 0.1): cell([90.0] * 2)}, reference=B)
    first, *rest = same.runs
    loss = first.test.running.model_copy(update={"loss": 0.4})
    other = first.model_copy(update={"test": first.test.model_copy(update={"running": loss})})
    (one,) = found(analyse(same.model_copy(update={"runs": (other, *rest)})))
    assert one.effect.low < 0 < one.effect.high
    assert one.p == 1


def test_two_seeds_with_the_same_gain_of_one_row_prove_nothing():
    cells = {(A, 0.1): cell([91.0, 91.0]), (B, 0.1): cell([90.0, 90.0])}
    (one,) = found(analyse(study(cells, reference=B, test_rows=100)))
    assert one.conclusion == "no-difference"
    (many,) = found(analyse(study(cells, reference=B, test_rows=100_000)))
    assert many.conclusion == "higher"  # the control: a thousand rows


# --- one seed ---


def one_seed(right, other_right):
    share = [100 * sum(rows) / len(rows) for rows in (right, other_right)]
    return study(
        {
            (A, 0.1): [Ends(share[0], 200, right=right)],
            (B, 0.1): [Ends(share[1], 400, right=other_right)],
        },
        reference=B,
        test_rows=len(right),
    )


def test_one_seed_decides_nothing_but_single_runs_are_compared_row_by_row():
    right = [True] * 70 + [False] * 31
    other = [False] * 20 + [True] * 55 + [False] * 26
    analysis = analyse(one_seed(right, other))
    assert {c.conclusion for c in analysis.comparisons} == {"undecided"}
    assert {c.effect.n for c in analysis.comparisons} == {1}
    (two,) = analysis.mcnemar
    assert (two.only_arm, two.only_other, two.difference.n) == (20, 5, 101)
    assert two.p == pytest.approx(scipy.stats.binomtest(5, 25).pvalue)
    assert two.difference.low < two.difference.value < two.difference.high


def test_a_diverged_run_has_no_rows_to_compare():
    cells = {(A, 0.1): [Ends(90.0, 200, right=[True] * 8)], (B, 0.1): [DIVERGED]}
    assert analyse(study(cells, reference=B, test_rows=8)).mcnemar == ()


def test_two_seeds_have_no_mcnemar():
    assert analyse(swept()).mcnemar == ()


# --- the call ---


def test_the_same_study_gives_the_same_analysis():
    assert analyse(swept()).model_dump_json() == analyse(swept()).model_dump_json()


def test_the_order_of_the_runs_does_not_matter():
    made = swept()
    assert analyse(made.model_copy(update={"runs": made.runs[::-1]})) == analyse(made)


def test_a_missing_run_is_named():
    made = swept()
    with pytest.raises(StudyError, match=r"1 of 16 runs .* norm=batch at learning rate 0.2 with"):
        analyse(made.model_copy(update={"runs": made.runs[:5] + made.runs[6:]}))


def test_a_run_of_an_older_design_is_not_looked_at():
    made = swept()
    extra = run(A, 0.2, 17, Ends(10.0, None))
    assert analyse(made.model_copy(update={"runs": (*made.runs, extra)})) == analyse(made)


# --- studies whose truth is known: repeats, and how often we are right ---

REPEATS = 300
SEEDS = 5


def simulated(random, gain=0.0, speed=1.0, arms=(A,)):
    """A study in which seeds matter to both arms, and each run has luck of its own."""
    shared = random.normal(91, 0.3, SEEDS)
    pace = random.lognormal(6, 0.15, SEEDS)

    def arm(gain, speed):
        tests = shared + gain + random.normal(0, 0.15, SEEDS)
        steps = pace * speed * random.lognormal(0, 0.1, SEEDS)
        return cell(np.round(tests, 2).tolist(), (np.ceil(steps / 20) * 20).astype(int).tolist())

    cells = {(name, 0.1): arm(gain, speed) for name in arms}
    return study({**cells, (B, 0.1): arm(0, 1)}, reference=B)


def within(count, share, repeats=REPEATS):
    """Whether a count is what a share gives, to four standard errors."""
    return abs(count - share * repeats) <= 4 * math.sqrt(repeats * share * (1 - share))


def test_two_arms_alike_are_told_apart_in_one_of_twenty():
    random, covered, concluded = np.random.default_rng(11), Counter(), Counter()
    for _ in range(REPEATS):
        analysis = analyse(simulated(random))
        for measure, nothing in (("test-accuracy", 0), ("steps-to-target", 1)):
            (one,) = found(analysis, measure=measure)
            covered[measure] += one.effect.low <= nothing <= one.effect.high
            concluded[measure] += one.conclusion != "no-difference"
    for measure in covered:
        assert within(covered[measure], 0.95), covered
        assert within(concluded[measure], 0.05), concluded


def test_an_arm_that_is_better_by_a_known_amount_is_measured_right():
    random, covered, said = np.random.default_rng(12), Counter(), Counter()
    for _ in range(REPEATS):
        analysis = analyse(simulated(random, gain=0.4, speed=0.6))
        (accuracy,), (steps,) = found(analysis), found(analysis, measure="steps-to-target")
        covered["accuracy"] += accuracy.effect.low <= 0.4 <= accuracy.effect.high
        # known on a grid of 20 steps: about 400 and 240 are ceiled by 10 on average
        truth = (0.6 * 403 + 10) / (403 + 10)
        covered["steps"] += steps.effect.low <= truth <= steps.effect.high
        said[accuracy.conclusion] += 1
        said[f"{steps.conclusion} steps"] += 1
    assert within(covered["accuracy"], 0.95), covered
    assert within(covered["steps"], 0.95), covered
    assert said["higher"] > 0.8 * REPEATS
    assert said["lower steps"] > 0.8 * REPEATS
    assert said["lower"] == said["higher steps"] == 0


def test_an_arm_that_is_broken_is_worse_every_time():
    random = np.random.default_rng(13)
    for _ in range(50):
        made = simulated(random)
        broken = tuple(
            run(A, 0.1, r.seed, DIVERGED if r.seed < 4 else Ends(45.0, None)) if r.arm == A else r
            for r in made.runs
        )
        analysis = analyse(made.model_copy(update={"runs": broken}))
        (accuracy,), (steps,) = found(analysis), found(analysis, measure="steps-to-target")
        assert (accuracy.conclusion, steps.conclusion) == ("lower", "higher")
        assert steps.censored == (5, 0)


def test_of_many_arms_alike_any_is_told_apart_in_one_of_twenty():
    names = tuple(f"decay={number}" for number in range(5))
    random, false, by_themselves = np.random.default_rng(14), 0, 0
    for _ in range(REPEATS):
        compared = [
            c
            for c in analyse(simulated(random, arms=names)).comparisons
            if (c.question, c.measure) == ("own-best", "test-accuracy")
        ]
        assert len(compared) == 5
        false += any(c.conclusion != "no-difference" for c in compared)
        by_themselves += any(c.p <= 0.05 for c in compared)
    assert false <= 0.05 * REPEATS + 4 * math.sqrt(REPEATS * 0.05 * 0.95)
    assert by_themselves > 0.1 * REPEATS  # the control: without Holm
