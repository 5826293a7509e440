"""A diagnosis as SARIF 2.1.0, which services that show findings beside the code read."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import nn

from normscope._version import __version__
from normscope.doctor._rules import Rule, all_rules
from normscope.records import Diagnosis, Finding, Skipped

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}

Json = dict[str, Any]


def sarif(
    diagnosis: Diagnosis,
    model: nn.Module | None = None,
    *,
    built_by: Callable[..., object] | None = None,
    root: Path | None = None,
) -> str:
    """Write a diagnosis as a SARIF 2.1.0 log of one run.

    A result lies at a module's path (its logical location) and, so that it can be shown beside the
    code, at the class of the module: the innermost around it whose source lies under `root`, else
    at the function that built the model. Paths are relative to ``%SRCROOT%``; none of this machine
    is written. Described are the rules that have results, each with its page.

    Args:
        diagnosis: of `check`.
        model: that was looked at; without it nothing lies at a file.
        built_by: the function that built it.
        root: the folder of the repository; by default the current one.

    Example:
        >>> log = json.loads(sarif(Diagnosis(model="Net")))
        >>> log["version"], log["runs"][0]["results"]
        ('2.1.0', [])
    """
    findings = [*diagnosis.findings, *(each.finding for each in diagnosis.suppressed)]
    rules = tuple(rule for rule in all_rules() if any(f.code == rule.code for f in findings))
    places = _Places(model, built_by, (root or Path.cwd()).resolve())
    # A record's own JSON spells numbers that are not finite as JSON can.
    evidence = json.loads(diagnosis.model_dump_json())
    results = [
        _result(finding, rules, places, raw["evidence"])
        for finding, raw in zip(diagnosis.findings, evidence["findings"], strict=True)
    ]
    for each, raw in zip(diagnosis.suppressed, evidence["suppressed"], strict=True):
        result = _result(each.finding, rules, places, raw["finding"]["evidence"])
        result["suppressions"] = [{"kind": "external", "justification": each.reason}]
        results.append(result)
    run = {
        "tool": {"driver": _driver(rules)},
        "invocations": [
            {
                "executionSuccessful": True,
                "toolConfigurationNotifications": [
                    *(_notification(each) for each in diagnosis.skipped),
                    *({"level": "note", "message": {"text": note}} for note in diagnosis.notes),
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {"model": diagnosis.model, "conditions": evidence["conditions"]},
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False)


def _driver(rules: tuple[Rule, ...]) -> Json:
    return {
        "name": "Normscope",
        "semanticVersion": __version__,
        "rules": [
            {
                "id": rule.code,
                "name": "".join(part.capitalize() for part in rule.name.split("-")),
                "shortDescription": {"text": rule.summary},
                "fullDescription": {"text": " ".join(rule.section("What it finds").split())},
                "help": {"text": rule.section("Fix"), "markdown": rule.page},
            }
            for rule in rules
        ],
    }


def _result(finding: Finding, rules: tuple[Rule, ...], places: "_Places", evidence: Json) -> Json:
    return {
        "ruleId": finding.code,
        "ruleIndex": [rule.code for rule in rules].index(finding.code),
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message} {finding.fix}"},
        "locations": [places.of(finding.module)],
        "partialFingerprints": {"rule:module/v1": f"{finding.code}:{finding.module}"},
        "properties": {"evidence": evidence, "fix": finding.fix},
    }


def _notification(skipped: Skipped) -> Json:
    return {
        "level": "note",
        "associatedRule": {"id": skipped.code},
        "message": {"text": f"{skipped.code} {skipped.rule} did not look: {skipped.reason}"},
    }


class _Places:
    """Where in a repository the modules of a model are written."""

    def __init__(
        self, model: nn.Module | None, built_by: Callable[..., object] | None, root: Path
    ) -> None:
        self._model, self._built_by, self._root = model, built_by, root

    def of(self, module: str) -> Json:
        """A module's, or a parameter's, location."""
        location: Json = {}
        if physical := self._physical(module):
            location["physicalLocation"] = physical
        name = module or type(self._model).__name__
        return location | {"logicalLocations": [{"fullyQualifiedName": name, "kind": "module"}]}

    def _physical(self, module: str) -> Json | None:
        """At the innermost class around it that is the repository's own."""
        if self._model is None:
            return None
        modules = dict(self._model.named_modules())
        names = module.split(".") if module else []
        paths = [".".join(names[:length]) for length in range(len(names), -1, -1)]
        around: list[Any] = [type(modules[path]) for path in paths if path in modules]
        found = (self._source(each) for each in [*around, self._built_by])
        return next(filter(None, found), None)

    def _source(self, written: Any) -> Json | None:
        """Where a class or a function begins, if that is under the root."""
        try:
            file = Path(inspect.getsourcefile(written) or "").resolve()
            line = inspect.getsourcelines(written)[1]
        except (TypeError, OSError):
            return None
        if not file.is_relative_to(self._root) or "site-packages" in file.parts:
            return None
        return {
            "artifactLocation": {
                "uri": quote(file.relative_to(self._root).as_posix()),
                "uriBaseId": "%SRCROOT%",
            },
            "region": {"startLine": max(line, 1)},
        }
