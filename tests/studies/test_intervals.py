"""Intervals and p-values: against second derivations, and how often they cover."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from normscope.studies._analysis import analyse
from normscope.studies._intervals import (
    holm,
    mean_interval,
    paired_proportions,
    ratio_interval,
)
from tests.studies.made_up import cell, study

numbers = st.floats(-50, 50).map(lambda x: round(x, 3))
samples = st.lists(numbers, min_size=2, max_size=12)
ps = st.lists(st.floats(0, 1), max_size=12)


def load_coverage():
    path = Path(__file__).resolve().parents[2] / "tools" / "intervals.py"
    spec = importlib.util.spec_from_file_location("coverage_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coverage_tool = load_coverage()


# --- the mean ---


def test_the_mean_and_its_interval_are_scipys():
    values = [0.31, 0.42, -0.1, 0.77, 0.2]
    estimate, p = mean_interval(values, 0.9)
    theirs = scipy.stats.ttest_1samp(values, 0)
    low, high = theirs.confidence_interval(0.9)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-12)
    assert (estimate.value, p, estimate.n) == pytest.approx((np.mean(values), theirs.pvalue, 5))


def test_no_difference_at_all_is_no_difference():
    estimate, p = mean_interval([0.0, 0.0, 0.0], 0.95)
    assert (estimate.value, estimate.low, estimate.high, p) == (0, 0, 0, 1)
    estimate, p = mean_interval([0.0, 0.0, 0.0], 0.95, resolution=0.1)  # the control: rounded
    assert estimate.low < 0 < estimate.high
    assert p == 1


def test_two_alike_differences_prove_nothing_beyond_their_rounding():
    alike = [1.0, 1.0]
    estimate, p = mean_interval(alike, 0.95, resolution=0.4)
    assert estimate.low < 0 < estimate.high
    assert p > 0.05
    assert mean_interval(alike, 0.95)[1] == 0  # the control: without the rounding, certainty


def test_rounding_does_not_matter_where_the_spread_is_larger():
    values = [1.0, 2.0, 4.0]
    assert mean_interval(values, 0.95, resolution=0.1) == mean_interval(values, 0.95)


@pytest.mark.parametrize("interval", [mean_interval, ratio_interval])
def test_one_value_has_no_interval(interval):
    estimate, p = interval([0.7], 0.95)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert (estimate.n, p) == (1, 1.0)


def test_no_values_have_no_mean():
    estimate, p = mean_interval([], 0.95)
    assert (math.isnan(estimate.value), estimate.n, p) == (True, 0, 1.0)


@settings(deadline=None)
@given(samples)
def test_p_is_small_exactly_where_the_interval_leaves_out_zero(values):
    for interval, nothing in ((mean_interval, 0), (ratio_interval, 1)):
        estimate, p = interval(values, 0.95)
        outside = estimate.low > nothing or estimate.high < nothing
        assert outside == (p <= 0.05) or min(
            abs(estimate.low - nothing), abs(estimate.high - nothing)
        ) == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(samples)
def test_the_other_way_round_is_the_mirror_image(values):
    back = [-value for value in values]
    estimate, p = mean_interval(values, 0.95)
    mirrored, same = mean_interval(back, 0.95)
    assert (mirrored.low, mirrored.high) == pytest.approx((-estimate.high, -estimate.low))
    assert same == pytest.approx(p)


# --- the ratio ---


def by_hand(d, confidence, resamples, seed):
    """The beta bootstrap t, one resample at a time."""
    random, n = np.random.default_rng(seed), len(d)
    drawn = random.beta(0.5, 1.5, (resamples, n))
    middle, spread = np.mean(d), math.sqrt(np.mean((d - np.mean(d)) ** 2))
    ts = []
    for row in drawn:
        weights = row / row.sum()
        mean = np.average(d, weights=weights)
        deviation = math.sqrt(np.average((d - mean) ** 2, weights=weights))
        ts.append((mean - middle) / deviation)
    ts.sort()
    rank = round((1 - confidence) / 2 * (resamples + 1))
    return math.exp(middle - ts[-rank] * spread), math.exp(middle - ts[rank - 1] * spread)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_ratio_is_the_beta_bootstrap_t(confidence):
    from normscope.studies._intervals import BOOTSTRAP_SEED, RESAMPLES

    logs = np.log([0.5, 0.61, 0.42, 0.8, 0.55])
    estimate, _ = ratio_interval(logs.tolist(), confidence)
    assert estimate.value == pytest.approx(scipy.stats.gmean([0.5, 0.61, 0.42, 0.8, 0.55]))
    low, high = by_hand(logs, confidence, RESAMPLES, BOOTSTRAP_SEED)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-9)


def test_the_same_ratios_give_the_same_interval():
    logs = [0.1, 0.4, -0.2]
    assert ratio_interval(logs, 0.95) == ratio_interval(logs, 0.95)


def test_twice_the_steps_twice_the_interval():
    logs = [0.1, 0.4, -0.2, 0.3]
    once, _ = ratio_interval(logs, 0.95)
    twice, _ = ratio_interval([x + math.log(2) for x in logs], 0.95)
    assert (twice.low, twice.high) == pytest.approx((2 * once.low, 2 * once.high))


def test_equal_ratios_are_known_to_their_rounding():
    estimate, p = ratio_interval([math.log(0.5)] * 3, 0.95, resolution=0.1)
    half = scipy.stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert estimate.low == pytest.approx(0.5 * math.exp(-half))
    assert estimate.high == pytest.approx(0.5 * math.exp(half))
    assert p < 0.05
    none, p = ratio_interval([0.0, 0.0], 0.95, resolution=0.1)
    assert none.low < 1 < none.high
    assert p == 1


def test_a_ratio_too_large_for_a_number_is_infinite():
    estimate, _ = ratio_interval([700.0, -700.0], 0.95)
    assert (estimate.low, estimate.high) == (0, math.inf)


# --- two single runs ---


@pytest.mark.parametrize(("b", "c", "n"), [(31, 14, 1000), (0, 0, 50), (5, 0, 20), (50, 0, 50)])
def test_paired_proportions_against_the_table_with_half_a_row_in_every_cell(b, c, n):
    estimate, p = paired_proportions(b, c, n, 0.95)
    rest = (n - b - c) / 2
    cells = np.array([rest, b, c, rest]) + 0.5
    shares = cells / cells.sum()
    middle = shares[1] - shares[2]
    half = 1.959963984540054 * math.sqrt((shares[1] + shares[2] - middle**2) / cells.sum())
    low, high = max(-100, 100 * (middle - half)), min(100, 100 * (middle + half))
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert estimate.value == pytest.approx(100 * (b - c) / n)
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert p == pytest.approx(min(1, 2 * tail))


# --- Holm ---


@settings(deadline=None)
@given(ps)
def test_holm_is_the_step_down_procedure(values):
    adjusted = holm(values)
    for level in (0.01, 0.05, 0.3):
        order, rejected = sorted(range(len(values)), key=values.__getitem__), set()
        for before, at in enumerate(order):
            if (len(values) - before) * values[at] > level:
                break
            rejected.add(at)
        assert {at for at, p in enumerate(adjusted) if p <= level} == rejected


def test_holm_of_one_is_itself():
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


# --- how often they cover ---


def test_small_studies_from_the_runs_of_a_large_one_know_the_truth(monkeypatch):
    random = np.random.default_rng(5)
    tests = random.normal(90, 0.3, 60).round(2)
    better = (tests + 1 + random.normal(0, 0.1, 60)).round(2)
    steps = (40 * random.integers(10, 15, 60)).tolist()
    cells = {("a", 0.1): cell(better, [s // 2 for s in steps]), ("b", 0.1): cell(tests, steps)}
    large = study(cells, reference="b")
    large = large.model_copy(update={"analysis": analyse(large)})
    monkeypatch.setattr(coverage_tool, "REPEATS", 400)
    *_, itself, other = coverage_tool.real_trainings(large, sizes=(5,))
    truth, n, covered, apart = [word.strip() for word in itself.split("|")[2:6]]
    assert (truth, n) == ("0.00", "5")
    assert float(covered) > 85
    assert float(apart) < 15
    words = [word.strip() for word in other.split("|")[2:-1]]
    assert words[0] == f"{(better - tests).mean():+.2f}"
    assert (words[3], words[4]) == ("100.0", "× 0.50")  # told apart, the control


def tolerance(repeats):
    """Three standard errors of a share that should be 95 %."""
    return 3 * 100 * math.sqrt(0.95 * 0.05 / repeats)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_ours_cover_and_percentiles_do_not(n):
    ratios = coverage_tool.RATIOS[0]
    found = coverage_tool.coverage(ratios, n, ["beta bootstrap t", "percentiles"], repeats=600)
    assert abs(found["beta bootstrap t"][0] - 95) < tolerance(600) + 1
    if n < 10:
        assert found["percentiles"][0] < 90  # the control


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("population", coverage_tool.ACCURACIES[:3:2], ids=lambda p: p.name)
def test_accuracies_are_covered(population, n):
    ((covered, _),) = coverage_tool.coverage(population, n, ["Student's t"]).values()
    assert abs(covered - 95) < tolerance(coverage_tool.REPEATS) + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("population", coverage_tool.RATIOS, ids=lambda p: p.name)
def test_ratios_are_covered_no_worse_than_by_what_was_not_taken(population, n):
    found = coverage_tool.coverage(population, n, list(coverage_tool.METHODS))
    ours = found["beta bootstrap t"][0]
    slack = tolerance(coverage_tool.REPEATS)
    assert ours > max(found["percentiles"][0], found["expanded percentiles"][0]) - slack
    assert ours > found["Student's t"][0] - slack


@pytest.mark.slow
@pytest.mark.parametrize("rows", [200, 1000, 10_000])
def test_single_runs_are_covered(rows):
    covered, rejected = coverage_tool.proportions_coverage(rows, 0.03, 0.03)
    assert abs(covered - 95) < 2.5
    assert rejected < 5 + tolerance(coverage_tool.REPEATS)
