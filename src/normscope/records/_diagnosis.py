"""What a check found wrong with a model, worst first."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from normscope.records._base import Record

DIAGNOSIS_FORMAT: Literal[1] = 1

Severity = Literal["error", "warning", "info"]
"""How bad: an error breaks the model, a warning has measured harm, an info may be on purpose."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Worst first."""

_SPELLED = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""Numbers that JSON has no word for."""


def _read(value: object) -> object:
    """A number that a record's own JSON had to spell."""
    return _SPELLED.get(value, value) if isinstance(value, str) else value


Evidence = Annotated[
    int | Annotated[float, Field(strict=False)] | str,
    BeforeValidator(_read),
]
"""A count, a number, or a few words."""


class Finding(Record):
    """One thing that is wrong, or may be."""

    code: str
    """The rule's code, as in ``NS301``."""
    rule: str
    """The rule's name, as in ``default-stats``."""
    severity: Severity
    """Error, warning or info."""
    module: str
    """The dotted path of the module, or a parameter's name; empty for the model itself."""
    message: str
    """What was seen, in a sentence or two."""
    evidence: dict[str, Evidence] = Field(default_factory=dict)
    """What was measured, by name."""
    fix: str
    """What to do."""


class Suppressed(Record):
    """One finding that somebody decided not to hear of."""

    finding: Finding
    """What was found."""
    reason: str
    """Why it is on purpose, in that person's words."""


class Skipped(Record):
    """One rule that could not look."""

    code: str
    """The rule's code."""
    rule: str
    """The rule's name."""
    reason: str
    """What it would have needed."""


class Diagnosis(Record):
    """What a check found.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or of the wrong type.

    Example:
        >>> finding = Finding(
        ...     code="NS302", rule="nonfinite-stats", severity="error", module="bn1",
        ...     message="The running variance is NaN.", fix="Recalibrate.",
        ... )
        >>> diagnosis = Diagnosis(model="Net", findings=(finding,))
        >>> diagnosis.worst, diagnosis.of("NS302")[0].module, diagnosis.of("nonfinite-stats") == ()
        ('error', 'bn1', False)
    """

    format_version: Literal[1] = DIAGNOSIS_FORMAT
    """The version of this format."""
    model: str
    """The class of the model that was looked at."""
    findings: tuple[Finding, ...] = Field((), strict=False)
    """What is wrong, worst first. Among equals, what was measured in stored statistics, in data or
    in a loop (NS3, NS4, NS5) comes first; then by the codes."""
    suppressed: tuple[Suppressed, ...] = Field((), strict=False)
    """What was found and suppressed."""
    skipped: tuple[Skipped, ...] = Field((), strict=False)
    """The rules that could not look, each with what it would have needed."""
    silent: tuple[str, ...] = Field((), strict=False)
    """The codes of the rules that looked and found nothing."""
    conditions: dict[str, Evidence] = Field(default_factory=dict)
    """What the check had to go by: batches, rows, forward passes."""
    notes: tuple[str, ...] = Field((), strict=False)
    """What was passed and had no effect: labels that do not fit, suppressions of nothing."""

    @property
    def worst(self) -> Severity | None:
        """The worst severity among the findings, if there are any."""
        return self.findings[0].severity if self.findings else None

    def of(self, rule: str) -> tuple[Finding, ...]:
        """The findings of one rule, by its code or its name."""
        return tuple(f for f in self.findings if rule in {f.code, f.rule})

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings that are as bad as that, or worse."""
        limit = SEVERITIES.index(severity)
        return tuple(f for f in self.findings if SEVERITIES.index(f.severity) <= limit)

    def __str__(self) -> str:
        """A line for each finding, with a line below it that says what to do."""
        lines = [
            f"{f.severity}: {f.code} {f.rule}: {f.module or self.model}: {f.message}\n"
            f"    Fix: {f.fix}"
            for f in self.findings
        ] or [f"{self.model}: nothing found"]
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])
