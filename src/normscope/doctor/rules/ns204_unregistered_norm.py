"""A norm layer that torch does not know of: in a plain list, or built inside a forward.

## What it finds

Modules with norm layers in lists, tuples, sets, dictionaries or hidden attributes of a model's
modules. With data also batch norms that are computed by no module of the model, with the line.

## Why it matters

What is not registered is not in `model.modules()`: `eval()` does not reach it, `parameters()` and
`state_dict()` leave it out. Such a batch norm normalizes by the batch when the model is in eval
mode, its gamma and beta are not trained, and a loaded checkpoint has none of it. One that is built
inside a forward is new at every call.

## Example

    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.norms = [nn.BatchNorm1d(3)]
    ...
    ...     def forward(self, x):
    ...         return self.norms[0](x)
    >>> finding = check(Net()).of("NS204")[0]
    >>> finding.severity, finding.module
    ('error', 'norms[0]')

## Fix

`nn.ModuleList` or `nn.ModuleDict` in the place of the list or dictionary; what is built in a
forward is built in `__init__`. Checkpoints from before have no entries for it.

## On purpose

A teacher or a perceptual network is sometimes hidden in a list so that it is not saved: while it is
in eval mode and has nothing to train, it is an info.

## Symptoms

- model.eval() does not work
- results depend on the batch size in eval mode
- batch norm parameters are not trained
- missing keys for batch norm in a state dict

## References

- pytorch/pytorch#46818, pytorch/pytorch#20875
"""

from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.doctor._batch_mates import dependence_on_batch_mates
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._functional_calls import FunctionalCall
from normscope.doctor._rules import Found
from normscope.doctor._sights import NORM_CLASSES
from normscope.doctor._unregistered import Unregistered, unregistered_modules
from normscope.doctor._ways import listed

_NOT_INSTALLED = "not installed as a submodule"
"""What torch.fx says of a forward that calls a module which is not registered."""


def find(case: Case) -> Iterator[Found]:
    """Yield at most one finding for norm layers that are held, and one for those that are built."""
    held = [found for found in unregistered_modules(case.model) if _norms_in(found.module)]
    calls = case.answers.functional_calls if case.has_data else []
    by_batch = [call for call in calls if call.module and call.by_batch]
    evidence: dict[str, int | float] = {}
    if by_batch:
        evidence["calls with batch statistics in eval mode"] = len(by_batch)
        if (moved := dependence_on_batch_mates(case)) is not None:
            evidence["change by other rows in the batch, in deviations"] = moved
    if held:
        called = any(call.module for call in calls) or _calls_strangers(case)
        yield _held(held, evidence, called=called)
    elif by_batch:
        yield _built(by_batch, evidence)
    elif _is_built_unseen(case):
        yield Found(
            severity="info",
            module="",
            message=(
                "The forward calls a module that is no submodule of the model: eval() does not "
                "reach it and state_dict() leaves it out, should it be a norm layer."
            ),
            fix="Build it in __init__ as an attribute; pass a loader to see what it does.",
        )


def _norms_in(module: nn.Module) -> list[nn.Module]:
    return [inner for inner in module.modules() if isinstance(inner, NORM_CLASSES)]


def _held(held: Sequence[Unregistered], evidence: dict[str, int | float], *, called: bool) -> Found:
    norms = [norm for found in held for norm in _norms_in(found.module)]
    parameters = sum(p.numel() for found in held for p in found.module.parameters())
    live = [found for found in held if found.contained and _is_live(found.module)]
    return Found(
        severity="error" if evidence or (live and called) else "info",
        module=(live or held)[0].path,
        message=(
            f"{listed([found.path for found in held])}: not registered, so that eval(), "
            f"parameters() and state_dict() leave them out: norm layers: {len(norms)}, parameters: "
            f"{parameters}.{_cost(evidence)}"
        ),
        fix="Put them into an nn.ModuleList or nn.ModuleDict, and train again.",
        evidence={"norm layers": len(norms), "parameters": parameters, **evidence},
    )


def _is_live(module: nn.Module) -> bool:
    """Whether it would be trained, or normalizes by the batch."""
    batch_norms = [inner for inner in module.modules() if isinstance(inner, _BatchNorm)]
    trains = any(parameter.requires_grad for parameter in module.parameters())
    return any(norm.training for norm in batch_norms) or trains


def _built(by_batch: Sequence[FunctionalCall], evidence: dict[str, int | float]) -> Found:
    first = by_batch[0]
    return Found(
        severity="error",
        module=first.caller,
        message=(
            f"A {first.module} that is no submodule of the model normalizes by the batch in eval "
            f"mode too ({first.line}, input {list(first.shape)}): eval() does not reach it, and it "
            f"is not saved.{_cost(evidence)}"
        ),
        fix="Build it in __init__ as an attribute, and train again.",
        evidence={**evidence, "line": first.line},
    )


def _cost(evidence: dict[str, int | float]) -> str:
    moved = evidence.get("change by other rows in the batch, in deviations")
    if moved is None:
        return ""
    return (
        f" In eval mode answers move by {moved:.2g} of their deviation when half of the batch are "
        "other rows."
    )


def _calls_strangers(case: Case) -> bool:
    """Whether torch.fx met a call of a module that is not registered."""
    try:
        _ = case.graph
    except UnknownError as unknown:
        return _NOT_INSTALLED in str(unknown)
    return False


def _is_built_unseen(case: Case) -> bool:
    return not case.has_data and _calls_strangers(case)
