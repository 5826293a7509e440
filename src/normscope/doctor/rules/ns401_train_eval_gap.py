"""Good in train(), bad in eval(): which layer, why, and how much each layer costs.

## What it finds

The same batches go through the model twice: in eval mode, and with every batch norm normalizing
by the batch, dropout off. Where the answers in eval mode are worse, by more than the luck of the
draw (three standard errors over rows, and at least one point of accuracy, 5 % of the targets'
variance, or, where nothing says what is right, half a deviation), it names the first layer
whose running statistics do not describe its input, in deviations and against the sampling noise of
such batches; swaps one layer's running statistics at a time into the model with exact ones, to say
what each costs, and how much of the gap exact statistics would leave; and tells the causes apart.

Of a model that returns its loss, one number for a batch, the losses are compared: three standard
errors over batches, and a tenth of it. A swap takes a batch of its own. Where there are fewer than
layers, halves of them are swapped, and the half that costs more is halved again; the message says
how many were swapped alone.

## Why it matters

Running statistics are collected beside the training and are used nowhere but in eval mode, so
nothing in training notices that they are wrong. "Eval is broken" has a dozen causes, and setting
`model.train()` for the evaluation hides every one of them.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8))
    >>> rows = torch.randn(256, 2, generator=torch.manual_seed(0))
    >>> for batch in rows.split(64) * 50:
    ...     _ = model(batch)
    >>> model[1].running_mean += 3
    >>> finding = check(model, rows.split(64)).of("NS401")[0]
    >>> finding.module, finding.severity, finding.evidence["cause"]
    ('1', 'warning', 'stale')

## Fix

It depends on the cause, which the finding names. `normscope.recalibrate(model, loader)` cures
statistics that were never collected, are stale or were poisoned. It does not cure batches that are
not alike, several distributions in one layer, or inputs that are scaled differently: it hides the
last. (Where the training had batches of one class each, and these are mixed, it shows by running
variances that are too small under means that fit.)

## On purpose

A model whose statistics are its batch's at test time as well (pix2pix, few-shot episodes): suppress
the rule with that reason. Models that were just built are at info. So are those in training mode
whose statistics are wrong by what is left in them of the initial mean 0 and variance 1: the counter
says how much that is, and the statistics whether it is true, which after a recalibration it is not.
So are models in training mode that have counted at most ten times 1 / momentum batches, and in
which all layers lag: none is off by half a deviation, and none by more than five times as much as
every other. A small gap to which no layer's statistics can be held, as where a network has learned
its training batches by heart, is at info as well; a large one is a warning.

## Symptoms

- accuracy is 98 % in train() and 31 % in eval()
- good in train mode, bad in eval mode
- accuracy drops when I set model.eval()
- eval accuracy is low, bad in eval
- eval is much worse than train on the same data
- model.eval() gives bad or constant predictions
- validation loss explodes while training loss is fine
- test accuracy at chance, training accuracy high

## References

- pytorch/pytorch#4741, #5406: eval mode much worse than train mode
- layumi/Person_reID_baseline_pytorch#218, ultralytics/ultralytics#5891, keras-team/keras#7265
- Ioffe & Szegedy 2015 (arXiv 1502.03167), section 3.1
"""

import math
from collections.abc import Iterator, Sequence

from normscope.doctor._attribution import Attribution, attribution_of
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._causes import LAG, MANY_SMALL, UNKNOWN, Cause, many_small
from normscope.doctor._counted import counted, percent
from normscope.doctor._gap import Gap, why_no_gap
from normscope.doctor._layer_fit import LayerFit
from normscope.doctor._rules import Found
from normscope.doctor._swaps import Swap, Swaps, swaps
from normscope.doctor._ways import listed
from normscope.records import Evidence, Severity

_TOLD = 3
_NEARLY = 0.95
_ONE_LOSS = "needs two batches or more: the model returns one number for each, taken for its loss"


def find(case: Case) -> Iterator[Found]:
    """Yield a finding if running statistics are worse than those of the batch.

    Raises:
        UnknownError: if answers cannot be compared.
    """
    seen = case.once(attribution_of)
    gap, off, cause = seen.gap, seen.off, seen.cause
    if seen.fits and gap is None:
        raise UnknownError(why_no_gap(case.observation))
    if gap is not None and gap.measure == "loss" and gap.rows < 2:
        raise UnknownError(_ONE_LOSS)
    if gap is None or cause is None or not gap.is_harm:
        return
    if gap.measure in {"loss", "output"} and not off:  # which may wander for other reasons
        return
    costs = swaps(case.observation, off, gap.size)
    if cause.name == UNKNOWN and costs.left is not None and costs.left < gap.size / 2:
        cause = many_small(seen.fits)
    passes = seen.passes or (seen.lags if cause.name in {LAG, MANY_SMALL} else "")
    yield Found(
        severity=_severity(gap, cause, passes=bool(passes)),
        module=off[0].path if off else "",
        message=_message(seen, gap, costs, cause, passes),
        fix=cause.fix,
        evidence=_evidence(gap, off, costs, cause),
    )


def _severity(gap: Gap, cause: Cause, *, passes: bool) -> Severity:
    if passes:
        return "info"
    nothing_is_off = cause.name in {MANY_SMALL, UNKNOWN}
    if gap.is_broken:
        return "warning" if nothing_is_off else "error"
    return "info" if nothing_is_off else "warning"


def _message(seen: Attribution, gap: Gap, costs: Swaps, cause: Cause, passes: str) -> str:
    parts = [f"{gap.told()} Cause: {cause.name}. {cause.why}"]
    if passes:
        parts.append(passes)
    if off := seen.off:
        parts.append(
            f"The first layer whose running statistics do not describe its input is "
            f"{off[0].path!r}: {off[0].told()}."
        )
    parts += _costs_told(costs, len(seen.off), gap)
    if costs.left is not None:
        parts.append(f"Exact statistics in every layer would close {_closed(costs.left, gap)}.")
    return " ".join(parts)


def _costs_told(costs: Swaps, off: int, gap: Gap) -> Iterator[str]:
    """What was swapped, on how many rows, and what was not."""
    if costs.of:
        told = [f"{listed(swap.paths)} {_amount(swap.cost, gap)}" for swap in costs.of[:_TOLD]]
        more = len(costs.of) - _TOLD
        rest = f"; {more} other{'s cost' if more > 1 else ' costs'} less" if more > 0 else ""
        few = ", or of a few together," if costs.alone < len(costs.of) else ""
        yield (
            f"The running statistics of one layer alone{few} cost, each measured on "
            f"{gap.over(costs.of[0].rows)} of its own: {', '.join(told)}{rest}."
        )
    if costs.alone < off:
        are = "is" if off == 1 else "are"
        yield (
            f"{costs.alone or 'None'} of {counted(off, 'layer')} that {are} off could be swapped "
            "alone: each takes a batch of its own, and all of them together need about "
            f"{costs.batches:,} batches."
        )


def _closed(left: float, gap: Gap) -> str:
    """How much of the gap is closed where that much is left."""
    share = 1.0 if not gap.finite or left <= 0 else max(0.0, 1 - left / gap.size)
    if share > _NEARLY:
        return "all of it"
    return f"{percent(share)} of it" if share > 1 - _NEARLY else "nothing of it"


def _amount(cost: float, gap: Gap) -> str:
    if math.isinf(cost):
        return "every answer"
    if gap.measure == "accuracy":
        return f"{100 * cost:.1f} points"
    units = {"squared error": "of the variance", "loss": "of the loss"}
    return f"{cost:.2g} {units.get(gap.measure, 'deviations')}"


def _evidence(gap: Gap, off: Sequence[LayerFit], costs: Swaps, cause: Cause) -> dict[str, Evidence]:
    evidence = gap.evidence() | {"cause": cause.name, "layers that are off": len(off)}
    if off:
        evidence |= {
            "shift, deviations": off[0].shift,
            "spread, logarithm": off[0].spread,
            "noise, deviations": off[0].noise,
        }
    if costs.left is not None:
        evidence["left by exact statistics"] = costs.left
    if off:
        evidence["layers swapped alone"] = costs.alone
    if costs.of:
        unit = "batches" if gap.measure == "loss" else "rows"
        evidence[f"{unit} of each swap"] = costs.of[0].rows
    return evidence | cause.evidence | {_key(swap): swap.cost for swap in costs.of}


def _key(swap: Swap) -> str:
    more = len(swap.paths) - 1
    return f"cost of {swap.paths[0]}" + (f" and {more} more" if more else "")
