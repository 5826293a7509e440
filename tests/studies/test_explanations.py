"""The list of explanations: it is what the page says, and every row can fail."""

import importlib.util
import math
from pathlib import Path

import pytest

import normscope
from normscope.studies._explanations import ARMS, PREDICTIONS, PREMISES, Prediction

ROOT = Path(normscope.__file__).parents[2]


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the docs stand in the repository")
def test_the_page_is_written_from_the_list() -> None:
    path = ROOT / "tools" / "explanations.py"
    spec = importlib.util.spec_from_file_location("explanations", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    committed = tool.PAGE.read_text(encoding="utf-8")
    assert tool.page(committed) == committed, "run ./dev docs"
    assert all(f"`{each.key}`" in committed for each in PREDICTIONS)


@pytest.mark.parametrize("each", PREDICTIONS, ids=lambda each: each.key)
def test_a_prediction_can_be_borne_out_and_can_fail(each: Prediction) -> None:
    bounds = [each.predicted.low, each.predicted.high, each.against.low, each.against.high]
    assert sum(map(math.isfinite, bounds)) >= 2, "each region has a bound"
    highest_of_one = min(each.predicted.high, each.against.high)
    assert highest_of_one <= max(each.predicted.low, each.against.low), "they do not overlap"
    assert {"none", "batch", *each.arms} <= {arm.key for arm in ARMS}
    assert set(each.premises) <= {premise.key for premise in PREMISES}


def test_no_two_are_called_the_same() -> None:
    for named in (PREDICTIONS, PREMISES, ARMS):
        keys = [each.key for each in named]
        assert len(set(keys)) == len(keys)
