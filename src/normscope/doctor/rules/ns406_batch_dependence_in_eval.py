"""In eval mode, the answer for one row depends on the rows beside it.

## What it finds

Batch norms that normalize by the batch in eval mode as well: they keep no running statistics, eval
mode does not reach them, or `F.batch_norm` is called with ``training=True``. It lets one batch
through again with other rows beside the first half, and reports how far their answers move.

## Why it matters

An answer then depends on who else is in the batch: results change with the batch size and with the
order of the data, one row by itself raises, and test accuracy uses the statistics of the test set.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.BatchNorm1d(4, track_running_stats=False)
    >>> check(model, [torch.randn(16, 4)]).of("NS406")[0].message
    "In eval mode an answer depends on the other rows of its batch: with others it moves by ...

## Fix

Keep running statistics (``track_running_stats=True``) and collect them with
`normscope.recalibrate(model, loader)`; in a module of your own pass ``training=self.training`` on
to `F.batch_norm`; register modules that are held in a list (NS204): neither `eval()` nor
`recalibrate` sees them there. The finding names what applies.

## On purpose

Some methods want the statistics of the test batch (clustering, test-time adaptation, MAML with
transduction): suppress it, with that as the reason. Where answers move and no batch norm is to
blame, as with attention over the batch, it is an info.

## Symptoms

- results in eval mode depend on the batch size or on the other rows
- the same image gets another answer with other images in its batch
- predictions for a single image are nonsense
- a single row by itself raises although the model is in eval mode
- model.eval() does not work
- shuffling the test set changes the accuracy

## References

- pytorch/pytorch#156051, #16793, #30294, xu-ji/IIC#49: no running statistics
- AntreasAntoniou/HowToTrainYourMAMLPytorch#3, #24: ``training=True`` in the code
- pytorch/pytorch#46818, #20875: not registered, so that eval mode does not reach them
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from normscope.doctor._batch_mates import dependence_on_batch_mates
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._functional_calls import FunctionalCall
from normscope.doctor._rules import Found
from normscope.doctor._ways import listed
from normscope.records import Evidence, Severity

_TOLERANCE = 1e-3
"""What rounding may do, in deviations of the answers."""
_ROUNDINGS = 32
"""And in units of the last place of the model's numbers."""

_COLLECT = (
    "Build it with track_running_stats=True and collect them with normscope.recalibrate(model, "
    "loader)."
)
_LET_EVAL_REACH_IT = "Let eval() reach it: its train(mode) has to set the mode that it is given."
_REGISTER = (
    "Register it, so that eval() reaches it (an nn.ModuleList in the place of a list; built in "
    "__init__, not in a forward), and train again; recalibrating cannot see it as it is."
)
_GIVE_IT_THE_MODE = "Call F.batch_norm with running statistics and training=self.training."
_FIX_OTHER = (
    "If rows are not meant to see each other, look for what mixes axis 0: attention with the batch "
    "second, a softmax or a mean over axis 0."
)


def find(case: Case) -> Iterator[Found]:
    """Yield one finding: the batch norms to blame, and how far answers move.

    Raises:
        UnknownError: if that cannot be measured, and nothing is to blame.
    """
    seen, suspects = case.observation, _suspects(case)
    if suspects and any(batch.running is None for batch in seen.batches):
        count = sum(batch.running is None for batch in seen.batches)
        why = "a batch with one value per channel raises"
        yield _found("error", suspects, why, {"batches that raise": count})
        return
    try:
        moved = dependence_on_batch_mates(case)
    except UnknownError as unknown:
        if not suspects:
            raise
        why = f"how far it moves could not be measured ({unknown})"
        yield _found("info", suspects, why, {})
        return
    if moved > _tolerance(case):
        yield _found(
            "warning" if suspects else "info",
            suspects,
            f"with others it moves by {moved:.2g} deviations of the answers",
            {"change by other rows in the batch, in deviations": moved},
        )


@dataclass(frozen=True)
class _Suspect:
    """What normalizes by the batch while the model is in eval mode.

    Attributes:
        path: of the module, or of the one in whose forward it is called.
        reason: why it does.
        fix: what to do.
    """

    path: str
    reason: str
    fix: str

    @property
    def named(self) -> str:
        """For a person."""
        return self.path or "the model itself"


def _suspects(case: Case) -> list[_Suspect]:
    """Each once."""
    suspects = [
        _Suspect(path, "eval mode does not reach it", _LET_EVAL_REACH_IT)
        if norm.module.training
        else _Suspect(path, "it keeps no running statistics", _COLLECT)
        for path, norm in case.batch_norms.items()
        if path in case.observation.eval_sights.of and norm.uses_batch_statistics
    ]
    for call in case.observation.functional_calls:
        if call.by_batch and not _is_of_one_row(call):
            what = f"a {call.module} that is not registered" if call.module else "F.batch_norm"
            fix = _REGISTER if call.module else _GIVE_IT_THE_MODE
            suspects.append(_Suspect(call.caller, f"{what} at {call.line} uses the batch", fix))
    return list(dict.fromkeys(suspects))


def _is_of_one_row(call: FunctionalCall) -> bool:
    """As instance norms and standardized weights call it: nothing is shared between rows."""
    return call.shape[:1] == (1,)


def _tolerance(case: Case) -> float:
    """What rounding may do, in deviations of the answers."""
    kinds = {p.dtype for p in case.model.parameters() if p.is_floating_point()}
    return max([_TOLERANCE, *(_ROUNDINGS * torch.finfo(kind).eps for kind in kinds)])


def _found(
    severity: Severity, suspects: Sequence[_Suspect], told: str, evidence: dict[str, Evidence]
) -> Found:
    reasons = sorted({suspect.reason for suspect in suspects})
    paths = dict.fromkeys(suspect.named for suspect in suspects)
    blamed = (
        f" To blame: {listed(paths)}: {'; '.join(reasons[:2])}."
        if suspects
        else " No batch norm of PyTorch is to blame."
    )
    return Found(
        severity=severity,
        module=suspects[0].path if suspects else "",
        message=f"In eval mode an answer depends on the other rows of its batch: {told}.{blamed}",
        fix=_fix(suspects) if suspects else _FIX_OTHER,
        evidence={"layers": len(paths)} | evidence,
    )


def _fix(suspects: Sequence[_Suspect]) -> str:
    """What to do; of whom, where that is not the same for all."""
    of: dict[str, list[str]] = {}
    for suspect in suspects:
        of.setdefault(suspect.fix, []).append(suspect.named)
    if len(of) == 1:
        return suspects[0].fix
    return " ".join(f"{listed(dict.fromkeys(paths))}: {fix}" for fix, paths in of.items())
