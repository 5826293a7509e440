"""`check`: what is wrong with a model's normalization?"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from normscope._errors import InputError
from normscope.anatomy import Forward, call, unwrapped
from normscope.doctor._case import Case
from normscope.doctor._examination import examine
from normscope.doctor._observation import Observation, observed, untouched
from normscope.doctor._program import shown
from normscope.doctor._refusals import (
    refuse_no_loader,
    refuse_no_model,
    refuse_no_optimizer,
    refuse_no_reasons,
)
from normscope.records import Diagnosis

MOST_BATCHES = 64


def check(
    model: nn.Module,
    loader: Iterable[Any] | None = None,
    *,
    optimizer: Optimizer | None = None,
    forward: Forward | None = None,
    suppress: Mapping[str, str] = MappingProxyType({}),
    most_batches: int = MOST_BATCHES,
) -> Diagnosis:
    """Look for what is wrong with the normalization of any model, and leave it as it was.

    Without a loader the modules, their settings and their stored statistics are looked at. With one
    the model is seen at work: every batch passes through it in eval mode, with batch statistics,
    and at most once more. With an optimizer its parameter groups are looked at.

    Afterwards, and if anything raises on the way, parameters, buffers, modes, hooks, gradients and
    random states are what they were; with a loader that takes a copy of the parameters. No other
    rank is waited for: one may check alone. A loader that can be gone through only once has lost
    the batches that were looked at.

    Args:
        model: any. What is wrapped around it (`torch.compile`, `DistributedDataParallel`) is left
            out, also in the paths of modules. Or a program: of TorchScript, or
            ``torch.export.load(path).module()``.
        loader: batches, best of the training data and made as in training. Of tuples the second
            part says what is right, and of mappings the first entry there is of ``labels``,
            ``label``, ``targets``, ``target`` and ``y``.
        optimizer: of the training.
        forward: ``forward(model, batch)`` calls the model. By default with the batch, a tuple's
            first part, or the entries of a mapping that the model has parameters for.
        suppress: findings that are on purpose: a reason by a rule's code or name, with a colon and
            modules where only these are meant: ``{"NS501:backbone.*": "AdaBN"}``.
        most_batches: how many batches are looked at.

    Returns:
        Findings, worst first; what was suppressed, skipped, and silent; in notes what was passed
        and had no effect: labels that do not fit, suppressions of nothing.

    Raises:
        InputError: if an argument is of another kind, the model is sharded (FSDP), the loader is
            empty or one batch, `most_batches` is below one, or `suppress` names no rule or gives no
            reason.
        OwnModelError: if the model raises on a batch, and no rule finds an error that explains it.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        >>> model[1].running_var[0] = float("nan")
        >>> print(check(model).findings[0].code)
        NS302
    """
    refuse_no_model(model)
    refuse_no_loader(loader)
    refuse_no_optimizer(optimizer)
    refuse_no_reasons(suppress)
    if most_batches < 1:
        msg = f"most_batches is {most_batches}; look at one batch or more"
        raise InputError(msg)

    def observe(case: Case) -> Observation:
        assert loader is not None
        return observed(case.model, loader, forward or call, most_batches)

    program = shown(unwrapped(model))
    case = Case(
        model if program is None else program,
        observe=observe if loader is not None else None,
        loader=loader,
        optimizer=optimizer,
        program=None if program is None else unwrapped(model),
    )
    with untouched(model, loader):
        return examine(case, suppress)
