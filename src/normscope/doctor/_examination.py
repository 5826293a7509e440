"""Every rule over one case: the diagnosis."""

from collections.abc import Mapping

from normscope._errors import NormscopeError
from normscope._factories import told
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._program import NOT_REPAIRED
from normscope.doctor._rules import Found, Rule, all_rules
from normscope.doctor._suppression import Suppressions
from normscope.records import SEVERITIES, Diagnosis, Finding, Skipped

_MEASURED = ("NS3", "NS4", "NS5")
"""Rules that look at stored statistics, at data, and at a training loop."""


def examine(case: Case, suppress: Mapping[str, str]) -> Diagnosis:
    """Let every rule look at a case.

    Raises:
        InputError: if `suppress` names no rule, or gives no reason.
        NormscopeError: what the model or its data are refused for.
        OwnModelError: if the model raised on its data, and no rule found an error.
    """
    suppressions = Suppressions(suppress, all_rules())
    findings, suppressed, skipped, silent = [], [], [], []
    for rule in all_rules():
        try:
            found = [_finding(rule, each) for each in rule.find(case)]
        except UnknownError as unknown:
            skipped.append(Skipped(code=rule.code, rule=rule.name, reason=str(unknown)))
            continue
        except NormscopeError:
            raise
        except Exception as problem:  # noqa: BLE001 - a mistake of ours in one costs no other
            skipped.append(_failed(rule, problem))
            continue
        hushed = [each for finding in found if (each := suppressions.of(finding))]
        quiet = {id(each.finding) for each in hushed}
        findings += [finding for finding in found if id(finding) not in quiet]
        suppressed += hushed
        if not found:
            silent.append(rule.code)
    if case.failure is not None and not any(f.severity == "error" for f in findings):
        raise case.failure  # and nobody has said why
    findings.sort(key=_rank)
    return Diagnosis(
        model=type(case.program or case.model).__name__,
        findings=tuple(findings),
        suppressed=tuple(suppressed),
        skipped=tuple(skipped),
        silent=tuple(silent),
        conditions=case.conditions,
        notes=(
            *case.notes,
            *([NOT_REPAIRED] if case.program is not None and findings else []),
            *suppressions.notes(case.model, skipped),
        ),
    )


def _rank(finding: Finding) -> tuple[int, bool, str]:
    """Worst first; among equals what was measured before what settings and the graph say."""
    measured = finding.code.startswith(_MEASURED)
    return SEVERITIES.index(finding.severity), not measured, finding.code


def _failed(rule: Rule, problem: Exception) -> Skipped:
    reason = f"the rule itself failed ({told(problem, _failed)}); please report it"
    return Skipped(code=rule.code, rule=rule.name, reason=reason)


def _finding(rule: Rule, found: Found) -> Finding:
    return Finding(
        code=rule.code,
        rule=rule.name,
        severity=found.severity,
        module=found.module,
        message=found.message,
        evidence=found.evidence,
        fix=found.fix,
    )
