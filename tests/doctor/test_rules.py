"""Every rule has its page and its cases, and says what they say."""

import dataclasses
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from normscope.doctor import _examination
from normscope.doctor._case import Case
from normscope.doctor._rules import Rule, all_rules
from normscope.records import Diagnosis
from tests.doctor import cases
from tests.doctor.networks import small

CASES = Path(cases.__file__).parent
HEADINGS = [
    "What it finds", "Why it matters", "Example", "Fix", "On purpose", "Symptoms", "References",
]  # fmt: skip


def file_of(rule: Rule) -> str:
    return f"{rule.code.lower()}_{rule.name.replace('-', '_')}"


def module_of(rule: Rule) -> ModuleType:
    return importlib.import_module(f"{cases.__name__}.{file_of(rule)}")


def functions(kind: str) -> list[object]:
    """The cases of one kind, of every rule."""
    return [
        pytest.param(rule, function, id=f"{rule.code}-{name}")
        for rule in all_rules()
        if (CASES / f"{file_of(rule)}.py").exists()  # or else the first test tells
        for name, function in vars(module_of(rule)).items()
        if name.startswith(f"{kind}_")
    ]


def test_every_rule_has_its_cases_and_every_case_its_rule() -> None:
    files = {path.stem for path in CASES.glob("ns*.py")}
    assert files == {file_of(rule) for rule in all_rules()}


def test_codes_and_names_are_unique() -> None:
    assert len({rule.code for rule in all_rules()}) == len(all_rules())
    assert len({rule.name for rule in all_rules()}) == len(all_rules())


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_a_page_has_every_section(rule: Rule) -> None:
    assert re.findall(r"^## (.*)$", rule.page, re.MULTILINE) == HEADINGS
    assert all(rule.section(heading) for heading in HEADINGS)
    assert rule.summary.endswith(".")
    assert ">>> " in rule.section("Example")
    assert all(line.startswith(("- ", "  ")) for line in rule.section("Symptoms").splitlines())


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_a_rule_has_bad_cases_with_repaired_twins_and_silent_ones(rule: Rule) -> None:
    names = {
        kind: {name[len(kind) :] for name in vars(module_of(rule)) if name.startswith(kind)}
        for kind in ("bad", "good", "silent")
    }
    assert names["bad"]
    assert names["bad"] == names["good"]
    assert names["silent"]


@pytest.mark.parametrize(("rule", "diagnose"), functions("bad"))
def test_bad(rule: Rule, diagnose: Callable[[], Diagnosis]) -> None:
    found = diagnose().of(rule.code)
    assert found
    assert all(finding.fix for finding in found)
    assert all(finding.evidence for finding in found if finding.severity != "info")


@pytest.mark.parametrize(("rule", "diagnose"), functions("good"))
def test_good(rule: Rule, diagnose: Callable[[], Diagnosis]) -> None:
    """The repaired twin: the rule looked, and found nothing."""
    diagnosis = diagnose()
    assert not diagnosis.of(rule.code)
    assert rule.code in diagnosis.silent


@pytest.mark.parametrize(("rule", "diagnose"), functions("silent"))
def test_silent(rule: Rule, diagnose: Callable[[], Diagnosis]) -> None:
    """Looks similar, and is fine or on purpose: nothing above info."""
    assert all(finding.severity == "info" for finding in diagnose().of(rule.code))


@pytest.mark.rules_may_raise
def test_a_rule_that_raises_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: object) -> list[object]:
        raise IndexError("of ours")

    rules = [
        dataclasses.replace(rule, find=broken) if rule.code == "NS201" else rule
        for rule in all_rules()
    ]
    monkeypatch.setattr(_examination, "all_rules", lambda: tuple(rules))
    model = small()
    model[1].running_var[0] = torch.nan
    diagnosis = _examination.examine(Case(model), {})
    assert diagnosis.of("NS302")
    (reason,) = [s.reason for s in diagnosis.skipped if s.code == "NS201"]
    assert "the rule itself failed (IndexError: of ours" in reason
