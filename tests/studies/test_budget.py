"""What a time budget is spent on."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import normscope
from normscope.data import Dataset
from normscope.records import Recipe
from normscope.studies import _run_times
from normscope.studies._budget import (
    Allotment,
    Cost,
    allotted,
    rates_around,
    steps_between_looks,
)
from normscope.studies._explanations import ARMS, PREDICTIONS
from normscope.studies._intervals import mean_interval, ratio_interval
from normscope.studies._run_clock import Stamps
from normscope.studies._run_times import RunTime, RunTimes, run_times, times_of

ROOT = Path(normscope.__file__).parents[2]

KEYS = tuple(arm.key for arm in ARMS)
COST = Cost(dict.fromkeys(KEYS, 1.0), workers=1)


def test_it_never_spends_more_than_it_has_but_for_the_smallest_design() -> None:
    sizes = []
    for budget in (1, 18, 30, 100, 300, 500, 1000, 10_000):
        chosen = allotted(KEYS, COST, budget, 0.02)
        sizes.append(COST.of(chosen))
        assert sizes[-1] <= max(budget, 2 * 3 * 3)
        assert chosen.arms[:2] == ("none", "batch")
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(KEYS) * 5 * 20


def test_a_larger_design_holds_the_smaller_one() -> None:
    designs = [allotted(KEYS, COST, budget, 0.02) for budget in range(1, 2000, 50)]
    for less, more in itertools.pairwise(designs):
        assert set(less.arms) <= set(more.arms)
        assert set(less.rates) <= set(more.rates)
        assert less.seeds <= more.seeds


def test_what_somebody_decided_stays() -> None:
    chosen = allotted(KEYS, COST, math.inf, 0.02, seeds=4, rates=[0.5])
    assert (chosen.seeds, chosen.rates, chosen.arms) == (4, (0.5,), KEYS)
    asked = ("none", "batch", "layer")
    chosen = allotted(asked, COST, 1, 0.02, always=asked)
    assert (chosen.arms, chosen.seeds) == (asked, 3)


def test_workers_share_the_time() -> None:
    one = allotted(KEYS, COST, 100, 0.02)
    two = allotted(KEYS, Cost(COST.seconds, workers=2), 100, 0.02)
    assert len(two.arms) > len(one.arms)


def test_rates_are_numbers_that_a_person_would_write() -> None:
    assert rates_around(0.003, many=False) == (0.0003, 0.003, 0.03)
    assert set(rates_around(0.003, many=False)) < set(rates_around(0.003, many=True))


def test_seeds_that_can_decide_come_before_arms() -> None:
    grown = {budget: allotted(KEYS, COST, budget, 0.02) for budget in (18, 30, 48, 72)}
    assert [(len(d.arms), d.seeds) for d in grown.values()] == [(2, 3), (2, 5), (2, 8), (3, 8)]


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the docs stand in the repository")
def test_what_the_page_says_a_verdict_needs() -> None:
    words = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8").split("## What the")[1]
    table = [line.strip("| ").split(" | ") for line in words.splitlines() if line[:2] == "| "]
    seeds, needed = table[0][1:], table[2][1:]
    rows = len(PREDICTIONS)
    assert f"Of {rows} rows" in words
    for n, deviations in zip(map(int, seeds), needed, strict=True):
        sample = np.resize([-1.0, 1.0], n)
        sample = (sample - sample.mean()) / sample.std(ddof=1)
        shortest = (float(deviations) - 0.06, float(deviations) + 0.06)
        less, more = (mean_interval((sample + d).tolist(), 0.95)[1] for d in shortest)
        assert more <= 0.05 / rows < less, n
    ratio = ratio_interval((np.resize([-1.0, 1.0], 20) * 1e-3 + 5).tolist(), 0.95)[1]
    assert ratio == 0.0002


def test_looks_are_few() -> None:
    assert steps_between_looks(1) == 1


ONE = RunTime(step=0.01, validation=0.04, epoch=0.1, look=0.3, around=0.5)


class Machine:
    """A clock that stands still but for what is done, for processes that train side by side."""

    def __init__(self, times: dict[str, RunTime], workers: int, *, import_: float) -> None:
        self.times, self.free, self.import_ = times, [2.0] * workers, import_
        self.used: set[int] = set()
        self.stamps: dict[str, Stamps] = {}
        self.ended: dict[str, float] = {}

    def train(self, name: str, key: str, *, steps: int, every: int, epochs: int = 1) -> None:
        process = int(np.argmin(self.free))
        now, time = self.free[process], self.times[key]
        start = now + 0.2 * time.around
        now = ready = start + (0.0 if process in self.used else self.import_)
        self.used.add(process)
        stamps = []
        for step in range(1, steps * epochs + 1):
            now += time.step + (time.look if time.look and step % every == 0 else 0.0)
            now += time.validation + time.epoch if step % steps == 0 and step > steps else 0.0
            stamps.append(now)
        now += time.validation + time.epoch
        self.stamps[name] = Stamps(
            process=process,
            probed=time.look > 0,
            start=start,
            ready=ready,
            steps=stamps[:steps],
            validation=time.validation,
            epoch=now,
        )
        now += time.validation  # once more, for the clock
        self.free[process] = self.ended[name] = now + 0.8 * time.around


def test_what_short_runs_are_made_of_is_found() -> None:
    plain = ONE.model_copy(update={"look": 0.0, "step": 0.03})
    true = {"a": ONE, "inspected": ONE, "b": plain, "c": plain, "d": ONE, "e": plain}
    true["inspected"] = ONE.model_copy(update={"around": 0.9})
    machine = Machine(true, 2, import_=1.5)
    for key in ("b", "c", "a", "inspected", "d", "e"):
        machine.train(key, key, steps=40, every=13)
    found = times_of(machine.stamps, machine.ended, 0.0, every=13, steps_beyond=0)
    assert set(found.runs) == {"a", "b", "c", "d", "e"}
    for key, time in found.runs.items():
        assert time.model_dump() == pytest.approx(true[key].model_dump(), abs=0.05), key
    assert found.begin == pytest.approx(2.0 + 1.5, abs=0.25)
    assert found.inspection == pytest.approx(0.4, abs=0.1)
    assert found.timing == max(machine.ended.values())
    longer = times_of(machine.stamps, machine.ended, 0.0, every=13, steps_beyond=300)
    assert longer.runs["e"].around - found.runs["e"].around == pytest.approx(300 * 0.03 / 3)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_plan_comes_within_a_fifth_of_what_a_study_takes(workers: int) -> None:
    """Against a machine that knows of nothing but runs: small ones, where steps are not all."""
    slow = ONE.model_copy(update={"look": 0.0, "step": 0.02, "around": 0.8})
    true = {"none": ONE, "batch": ONE, "layer": slow, "inspected": ONE}
    short, study = Machine(true, workers, import_=0.5), Machine(true, workers, import_=0.5)
    for key in (*true,) * (3 if workers > 2 else 1):
        short.train(key, key, steps=30, every=10)
    times = times_of(short.stamps, short.ended, 0.0, every=10, steps_beyond=0)
    design = Allotment(("none", "batch", "layer"), (0.1, 1.0, 10.0), 8)
    for number in range(design.seeds * len(design.rates)):
        for arm in design.arms:
            study.train(f"{arm}-{number}", arm, steps=30, every=75, epochs=10)
    seconds = {
        arm: times.runs[arm].seconds(
            epochs=10, steps=30, validations=1, looks=4 if true[arm].look else 0
        )
        for arm in design.arms
    }
    planned = Cost(seconds, workers, once=times.begin).of(design)
    assert planned == pytest.approx(max(study.free), rel=0.1)


def test_a_first_seed_is_looked_into_and_the_timing_counts() -> None:
    cost = Cost({"none": 1.0, "batch": 2.0}, workers=2, once=10.0, inspection=0.5)
    design = Allotment(("none", "batch"), (0.1, 1.0, 10.0), 4)
    assert cost.of(design) == 10 + (4 * 3 * 3 + 2 * 3 * 0.5) / 2


def test_arms_are_timed_once(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {"none": Recipe(norm="none", hidden=(8,), epochs=3, batch_size=10)}
    out = tmp_path / "study"
    first = run_times(recipes, tiny, out, probed=["none"], workers=1)
    assert set(first.runs) == {"none"}
    known = first.runs["none"]
    assert 0 < known.step < known.look, "probes read"
    assert min(known.validation, known.epoch, known.around) > 0
    assert first.begin <= first.timing
    assert [path.name for path in out.iterdir()] == ["run-times.json"]
    asked = []
    other = RunTimes(runs={"layer": ONE}, begin=9, inspection=9, timing=7)
    monkeypatch.setattr(_run_times, "_measured", lambda new, *_: asked.append([*new]) or other)
    assert run_times(recipes, tiny, out, probed=[], workers=1) == first
    recipes["layer"] = recipes["none"].model_copy(update={"norm": "layer"})
    both = run_times(recipes, tiny, out, probed=[], workers=1)
    assert both.runs == {"none": known, "layer": ONE}
    assert both.timing == first.timing + 7
    assert asked == [["layer"]]
    (out / "run-times.json").write_text("{")
    run_times(recipes, tiny, out, probed=[], workers=1)
    assert asked[1] == ["none", "layer"]


@pytest.mark.slow
def test_an_arm_that_cannot_be_trained_is_left_for_the_study_to_tell(
    tiny: Dataset, tmp_path: Path
) -> None:
    Path("broken.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        if len(x) > 2: raise ValueError('no')\n"
        "        return super().forward(x)\n"
        "def network(inputs, classes):\n"
        "    return Net(nn.Flatten(), nn.Linear(inputs, classes))\n"
    )
    recipes = {"none": Recipe(model="broken:network", epochs=1, batch_size=10)}
    found = run_times(recipes, tiny, tmp_path / "study", probed=[], workers=1)
    assert found.runs == {}
