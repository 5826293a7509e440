"""Findings that somebody decided not to hear of."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import chain

from torch import nn

from normscope._errors import InputError
from normscope.doctor._rules import Rule
from normscope.records import Finding, Skipped, Suppressed

_KEY = re.compile(r"(?P<rule>[\w-]+)(:(?P<module>.*))?")


class Suppressions:
    """Which findings are on purpose, and why.

    Args:
        reasons: a reason by what it suppresses: a rule's code or name, and, where only some
            modules are meant, a colon and their path, in which ``*`` stands for anything.
        rules: those that there are.

    Raises:
        InputError: if there is no such rule, or no reason.
    """

    def __init__(self, reasons: Mapping[str, str], rules: tuple[Rule, ...]) -> None:
        known = {name for rule in rules for name in (rule.code, rule.name)}
        self._reasons: list[tuple[str, str, str]] = []
        self._unused: dict[tuple[str, str], str] = {}
        for key, reason in reasons.items():
            named = _KEY.fullmatch(key)
            if named is None or named["rule"] not in known:
                msg = (
                    f"suppress: {key!r} names no rule. Write its code or name, and a module's path "
                    'where only that is meant: "NS501", "NS501:backbone.*"'
                )
                raise InputError(msg)
            if not reason.strip():
                msg = f"suppress: {key!r} has no reason; say why it is on purpose."
                raise InputError(msg)
            self._reasons.append((named["rule"], named["module"] or "*", reason.strip()))
            self._unused[named["rule"], named["module"] or "*"] = key

    def of(self, finding: Finding) -> Suppressed | None:
        """The finding with the reason for which nobody wants to hear of it, if there is one."""
        for rule, module, reason in self._reasons:
            if rule in {finding.code, finding.rule} and fnmatchcase(finding.module, module):
                self._unused.pop((rule, module), None)
                return Suppressed(finding=finding, reason=reason)
        return None

    def notes(self, model: nn.Module, skipped: Iterable[Skipped]) -> tuple[str, ...]:
        """A sentence for each that has suppressed nothing so far: it may be misspelt, or old.

        Args:
            model: that was looked at.
            skipped: rules that did not look.
        """
        idle = {name for each in skipped for name in (each.code, each.rule)}
        return tuple(
            f"suppress: {key!r} suppressed nothing: {self._why(model, rule, module, idle)}."
            for (rule, module), key in self._unused.items()
        )

    def _why(self, model: nn.Module, rule: str, module: str, idle: set[str]) -> str:
        if rule in idle:
            return f"{rule} did not look"
        parts = chain(model.named_modules(), model.named_parameters())
        if not any(fnmatchcase(path, module) for path, _ in parts):
            return f"{type(model).__name__} has no module or parameter {module!r}"
        return f"{rule} found nothing there"
