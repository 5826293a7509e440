"""The rules: one file each, whose docstring is its page."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

from normscope.doctor import rules
from normscope.doctor._case import Case
from normscope.records import Evidence, Severity

_FILE = re.compile(r"ns(\d{3})_(\w+)")


@dataclass(frozen=True)
class Found:
    """What a rule has to say, before its code and name are put to it.

    Attributes:
        severity: ``"error"``: the model is broken, or about to raise; ``"warning"``: harm was
            measured, and the evidence has its number; ``"info"``: it may be on purpose.
        module: the dotted path of the module, or a parameter's name; empty for the whole model.
        message: what was seen, in a sentence or two; numbers with their unit.
        fix: what to do, with the call that does it where there is one.
        evidence: what was measured, by name.
    """

    severity: Severity
    module: str
    message: str
    fix: str
    evidence: dict[str, Evidence] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        code: as in ``NS301``; the hundreds are 1 configuration, 2 graph, 3 stored statistics,
            4 data, 5 training loop, 6 optimizer, 7 folding and export.
        name: as in ``default-stats``.
        page: its page, in Markdown.
        find: goes through a case.
    """

    code: str
    name: str
    page: str
    find: Callable[[Case], Iterator[Found]]

    @property
    def summary(self) -> str:
        """The first line of the page."""
        return self.page.partition("\n")[0]

    def section(self, title: str) -> str:
        """The text under one of the page's headings; empty if there is none."""
        found = re.search(rf"^## {re.escape(title)}\n+(.*?)(?=^## |\Z)", self.page, re.M | re.S)
        return found[1].strip() if found else ""


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule, by its code.

    Example:
        >>> [rule.name for rule in all_rules() if rule.code == "NS302"]
        ['nonfinite-stats']
    """
    names = [module.name for module in pkgutil.iter_modules(rules.__path__)]
    modules = [importlib.import_module(f"{rules.__name__}.{name}") for name in sorted(names)]
    return tuple(map(_rule, modules))


def _rule(module: ModuleType) -> Rule:
    """The rule that is one file.

    Raises:
        ValueError: if the file is not called as rules are.
    """
    file = module.__name__.rpartition(".")[2]
    named = _FILE.fullmatch(file)
    if named is None:
        msg = f"{file}.py: a rule's file is called ns301_default_stats.py"
        raise ValueError(msg)
    return Rule(
        code=f"NS{named[1]}",
        name=named[2].replace("_", "-"),
        page=inspect.cleandoc(module.__doc__ or ""),
        find=module.find,
    )
