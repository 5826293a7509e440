"""Diagnoses: faithful, ordered, and readable."""

import json
import math

import pytest

from normscope.records import Diagnosis, Finding


def finding(**evidence: float | str) -> Finding:
    return Finding(
        code="NS302", rule="nonfinite-stats", severity="error", module="bn1",
        message="The running variance is NaN.", fix="Recalibrate.", evidence=evidence,
    )  # fmt: skip


def test_numbers_that_are_not_finite_survive_as_numbers() -> None:
    evidence = {"nan": math.nan, "up": math.inf, "down": -math.inf, "n": 3, "share": 0.5, "w": "so"}
    text = Diagnosis(model="Net", findings=(finding(**evidence),)).model_dump_json()
    spelled = json.loads(text, parse_constant=pytest.fail)["findings"][0]["evidence"]
    assert spelled["nan"] == "NaN"
    back = Diagnosis.model_validate_json(text).findings[0].evidence
    assert {name: type(value) for name, value in back.items()} == {
        "nan": float, "up": float, "down": float, "n": int, "share": float, "w": str,
    }  # fmt: skip
    assert math.isnan(float(back["nan"]))
    assert (back["up"], back["down"]) == (math.inf, -math.inf)


def test_print_says_what_to_do_and_what_had_no_effect() -> None:
    lines = str(Diagnosis(model="Net", findings=(finding(),), notes=("So.",))).splitlines()
    assert lines == [
        "error: NS302 nonfinite-stats: bn1: The running variance is NaN.",
        "    Fix: Recalibrate.",
        "Note: So.",
    ]
    assert str(Diagnosis(model="Net")) == "Net: nothing found"
