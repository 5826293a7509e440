"""What a check found, for a person."""

import textwrap
from collections.abc import Iterable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from normscope.cli._console import counted
from normscope.cli._words import typed
from normscope.records import SEVERITIES, Diagnosis, Evidence, Finding

_FIGURES = 4
_COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
_LONG = 400
"""Letters of a note."""


def shown(diagnosis: Diagnosis, name: str) -> Group:
    """The findings, worst first; a summary; what was suppressed or unused; who could not look."""
    parts: list[Table | Text] = []
    if diagnosis.findings:
        parts += [_findings(diagnosis), Text()]
    parts.append(_summary(diagnosis, name))
    parts += [
        Text(f"suppressed: {s.finding.code} {s.finding.rule}{_at(s.finding)}: {s.reason}", "dim")
        for s in diagnosis.suppressed
    ]
    parts += [Text(f"Note: {_typed(note, _LONG)}", "yellow") for note in diagnosis.notes]
    if diagnosis.skipped:
        parts.append(Text(_skipped(diagnosis), "dim"))
    if diagnosis.findings:
        first = diagnosis.findings[0].code
        parts.append(Text(f"More about one: normscope check --explain {first}", "dim"))
    return Group(*parts)


def _findings(diagnosis: Diagnosis) -> Table:
    """Two columns: how bad, and everything else."""
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=max(len(f.severity) for f in diagnosis.findings), no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for number, finding in enumerate(diagnosis.findings):
        if number:
            table.add_row()
        table.add_row(Text(finding.severity, _COLOURS[finding.severity]), _told(finding, diagnosis))
    return table


def _told(finding: Finding, diagnosis: Diagnosis) -> Group:
    head = Text.assemble(
        (finding.module or diagnosis.model, "bold"), "  ", (f"{finding.code} {finding.rule}", "dim")
    )
    lines = [head, Text(finding.message), Text.assemble(("Fix: ", "green"), finding.fix)]
    if finding.evidence:
        lines.append(Text(_measured(finding.evidence), "dim"))
    return Group(*lines)


def _measured(evidence: dict[str, Evidence]) -> str:
    """The first figures, on a line; all of them are in the JSON."""
    told = [f"{name}: {_figure(each)}" for name, each in evidence.items()]
    more = [f"{len(told) - _FIGURES} more in --format json"] if len(told) > _FIGURES else []
    return "Measured: " + "; ".join([*told[:_FIGURES], *more])


def _figure(value: Evidence) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def _summary(diagnosis: Diagnosis, name: str) -> Text:
    """How many of each, in what; and by what that was judged."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for finding in diagnosis.findings:
        counts[finding.severity] += 1
    words = {"error": "error", "warning": "warning", "info": "note"}
    parts = [(counted(n, words[s]), _COLOURS[s]) for s, n in counts.items() if n]
    told = Text(", ").join(Text(*part) for part in parts) or Text("Nothing found", "bold green")
    return Text.assemble(told, f" in {name} ({_conditions(diagnosis)}).")


def _conditions(diagnosis: Diagnosis) -> str:
    """What the check had to go by."""
    known = diagnosis.conditions
    parts = [diagnosis.model, counted(int(known.get("batch norms", 0)), "batch norm")]
    if "batches" in known:
        number = known["batches"]
        parts.append(f"{number} batch{'es' * (number != 1)}")
        parts += [counted(int(known["rows"]), "row")] if known.get("rows") else []
    looked = len(diagnosis.silent) + len({f.code for f in _all(diagnosis)})
    return ", ".join([*parts, f"{counted(looked, 'rule')} looked"])


def _all(diagnosis: Diagnosis) -> Iterable[Finding]:
    yield from diagnosis.findings
    yield from (each.finding for each in diagnosis.suppressed)


def _at(finding: Finding) -> str:
    return f" in {finding.module}" if finding.module else ""


def _skipped(diagnosis: Diagnosis) -> str:
    """Who could not look, by what they would have needed."""
    reasons: dict[str, list[str]] = {}
    for each in diagnosis.skipped:
        reasons.setdefault(each.reason, []).append(each.code)
    told = [f"{', '.join(codes)} ({_typed(reason)})" for reason, codes in reasons.items()]
    return f"Did not look: {'; '.join(told)}."


def _typed(reason: str, width: int = 160) -> str:
    """A reason as it is told to somebody at a command line."""
    return textwrap.shorten(typed(reason), width, placeholder=" ...")
