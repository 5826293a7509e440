"""`assert_healthy`: a check as a line of somebody's test."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from normscope.anatomy import Forward
from normscope.doctor._check import check
from normscope.doctor._refusals import refuse_no_severity
from normscope.records import Diagnosis, Finding, Severity


def assert_healthy(
    model: nn.Module,
    loader: Iterable[Any] | None = None,
    *,
    optimizer: Optimizer | None = None,
    forward: Forward | None = None,
    suppress: Mapping[str, str] = MappingProxyType({}),
    at: Severity = "warning",
) -> Diagnosis:
    """Raise an `AssertionError` if `check` finds anything that bad or worse.

    Args:
        model: any.
        loader: as in `check`.
        optimizer: as in `check`.
        forward: as in `check`.
        suppress: as in `check`.
        at: how bad: ``"error"``, ``"warning"`` or ``"info"``.

    Returns:
        The diagnosis, for more asserts.

    Raises:
        AssertionError: with every such finding.
        InputError: as in `check`, or if `at` is no severity.
        OwnModelError: if the model raises on a batch.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        >>> assert_healthy(model).at_least("warning")
        ()
        >>> model[1].running_var[0] = float("nan")
        >>> assert_healthy(model)
        Traceback (most recent call last):
        ...
        AssertionError: Sequential: 1 finding:
        error NS302 nonfinite-stats in 1: ...
    """
    __tracebackhide__ = True  # pytest shows the test's line, not ours
    refuse_no_severity(at)
    diagnosis = check(model, loader, optimizer=optimizer, forward=forward, suppress=suppress)
    if found := diagnosis.at_least(at):
        raise AssertionError(_told(diagnosis, found))
    return diagnosis


def _told(diagnosis: Diagnosis, found: tuple[Finding, ...]) -> str:
    """The findings, and how one of them is declared to be on purpose."""
    lines = [
        f"{f.severity} {f.code} {f.rule} in {f.module or diagnosis.model}: {f.message}\n"
        f"  Fix: {f.fix}"
        for f in found
    ]
    first, count = found[0], f"{len(found)} finding{'s' * (len(found) > 1)}"
    key = f"{first.code}:{first.module}" if first.module else first.code
    hint = f'On purpose? suppress={{"{key}": "why"}}. More: normscope check --explain {first.code}'
    return "\n".join([f"{diagnosis.model}: {count}:", *lines, hint])
