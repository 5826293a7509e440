"""What a time budget is spent on."""

import itertools
import math
from pathlib import Path

import pytest

from normscope.data import Dataset
from normscope.records import Recipe
from normscope.studies import _step_times
from normscope.studies._budget import (
    Cost,
    allotted,
    rates_around,
    run_seconds,
    steps_between_looks,
)
from normscope.studies._explanations import ARMS
from normscope.studies._step_times import step_times
from normscope.training import data_record

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


def test_a_run_that_probes_look_at_costs_more() -> None:
    recipe = Recipe(epochs=10)
    seen, unseen = (run_seconds(recipe, arm, step=0.01, steps=82) for arm in ("batch", "layer"))
    assert 1.05 < seen / unseen < 1.5
    assert steps_between_looks(1) == 1


def test_step_times_are_measured_once(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {"none": Recipe(norm="none", hidden=(8,), epochs=1, batch_size=10)}
    record = data_record(tiny)
    first = step_times(recipes, tiny, record, tmp_path / "study")
    assert 0 < first["none"] < 1
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["step-times.json"]
    asked = []
    monkeypatch.setattr(_step_times, "_measured", lambda recipe, *_: asked.append(recipe) or 7.0)
    recipes["layer"] = recipes["none"].model_copy(update={"norm": "layer"})
    assert step_times(recipes, tiny, record, tmp_path / "study") == {**first, "layer": 7.0}
    assert asked == [recipes["layer"]]
    (tmp_path / "study" / "step-times.json").write_text("{")
    assert step_times(recipes, tiny, record, tmp_path / "study") == {"none": 7.0, "layer": 7.0}
