"""A diagnosis as SARIF 2.1.0: what the standard asks for, and nothing of this machine."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft4Validator

from normscope.doctor import check, sarif
from normscope.doctor._rules import all_rules
from normscope.records import Diagnosis, Finding, Skipped, Suppressed
from tests.doctor.networks import small

SOURCE = """from torch import nn

def build():
    return Own()

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
"""


def finding(**fields: Any) -> Finding:
    known = {
        "code": "NS302", "rule": "nonfinite-stats", "severity": "error", "module": "1",
        "message": "Bad.", "fix": "Mend.", "evidence": {"rows": 3, "share": math.nan},
    }  # fmt: skip
    return Finding(**{**known, **fields})


def run_of(diagnosis: Diagnosis, *arguments: Any, **named: Any) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)  # JSON knows no NaN

    log = json.loads(sarif(diagnosis, *arguments, **named), parse_constant=refuse)
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    return log["runs"][0]


def one_of_each() -> Diagnosis:
    found = tuple(finding(code=rule.code, rule=rule.name) for rule in all_rules())
    hushed = Suppressed(finding=finding(), reason="on purpose")
    skipped = Skipped(code="NS401", rule="train-eval-gap", reason="needs data")
    return Diagnosis(
        model="Net", findings=found, suppressed=(hushed,), skipped=(skipped,), notes=("So.",)
    )


def test_the_rules_that_have_results_are_described_and_no_others() -> None:
    rules = run_of(one_of_each())["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.code for rule in all_rules()]
    for rule in rules:
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
        assert "## Fix" in rule["help"]["markdown"]
    two = Diagnosis(
        model="Net",
        findings=(finding(code="NS702", rule="exports-batch-statistics"),),
        suppressed=(Suppressed(finding=finding(), reason="on purpose"),),
    )
    run = run_of(two)
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["NS302", "NS702"]
    assert [result["ruleIndex"] for result in run["results"]] == [1, 0]
    assert len(sarif(two)) < 20_000


def complaints(log: dict[str, Any]) -> list[str]:
    """What the schema of the standard has against a log."""
    schema = json.loads((Path(__file__).parent / "sarif-schema-2.1.0.json").read_text("utf-8"))
    return [error.message for error in Draft4Validator(schema).iter_errors(log)]


def test_the_schema_of_the_standard_has_nothing_against_it(own: Any, tmp_path: Path) -> None:
    model = own.build()
    with torch.no_grad():
        model.inside[1].running_var[0] = math.nan
    placed = json.loads(sarif(check(model), model, root=tmp_path))
    assert place_of(placed["runs"][0]), "with a file and a line"
    for log in (placed, json.loads(sarif(one_of_each())), json.loads(sarif(Diagnosis(model="N")))):
        assert complaints(log) == []


def test_the_schema_does_complain() -> None:
    """The control."""
    log = json.loads(sarif(one_of_each()))
    log["runs"][0]["results"][0]["level"] = "terrible"
    del log["runs"][0]["results"][1]["message"]
    log["runs"][0]["tool"]["driver"]["stranger"] = 1
    assert len(complaints(log)) == 3


def test_levels_indices_and_evidence() -> None:
    severities = ("error", "warning", "info")
    found = tuple(finding(severity=severity) for severity in severities)
    run = run_of(Diagnosis(model="Net", findings=found))
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"] == {"text": "Bad. Mend."}
        assert result["properties"]["evidence"] == {"rows": 3, "share": "NaN"}
        assert result["locations"][0]["logicalLocations"] == [
            {"fullyQualifiedName": "1", "kind": "module"}
        ]


def test_what_was_suppressed_or_skipped_is_said() -> None:
    run = run_of(
        Diagnosis(
            model="Net",
            suppressed=(Suppressed(finding=finding(), reason="on purpose"),),
            skipped=(Skipped(code="NS401", rule="train-eval-gap", reason="needs data"),),
            notes=("So.",),
        )
    )
    assert run["results"][0]["suppressions"] == [
        {"kind": "external", "justification": "on purpose"}
    ]
    notes = run["invocations"][0]["toolConfigurationNotifications"]
    assert notes[1]["message"] == {"text": "So."}
    assert notes[0]["associatedRule"] == {"id": "NS401"}
    assert "needs data" in notes[0]["message"]["text"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of somebody's own, in a folder with a space in its name."""
    folder = tmp_path / "my code"
    folder.mkdir()
    (folder / "own_sarif.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    import own_sarif

    yield own_sarif
    del sys.modules["own_sarif"]


def place_of(run: dict[str, Any]) -> dict[str, Any] | None:
    return run["results"][0]["locations"][0].get("physicalLocation")


def test_a_finding_lies_at_the_innermost_class_of_the_repository(own: Any, tmp_path: Path) -> None:
    model = own.build()
    with torch.no_grad():
        model.inside[1].running_var[0] = math.nan
    diagnosis = check(model)
    text = sarif(diagnosis, model, root=tmp_path)
    assert str(tmp_path) not in text
    place = place_of(run_of(diagnosis, model, root=tmp_path))
    assert place == {
        "artifactLocation": {"uri": "my%20code/own_sarif.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 6},
    }


def test_without_such_a_class_it_lies_at_the_function_that_built_it(
    own: Any, tmp_path: Path
) -> None:
    diagnosis = Diagnosis(model="Sequential", findings=(finding(),))
    place = place_of(run_of(diagnosis, small(), built_by=own.build, root=tmp_path))
    assert place is not None
    assert place["region"] == {"startLine": 3}


def test_what_lies_elsewhere_is_not_named(own: Any, tmp_path: Path) -> None:
    """The control: the same class, seen from another folder."""
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    found = (finding(module="inside.1.weight"),)
    run = run_of(Diagnosis(model="Own", findings=found), own.build(), root=elsewhere)
    assert place_of(run) is None
