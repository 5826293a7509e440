"""The first batch, of a loop or of the data, that was not finite, and the layer that met it.

## What it finds

In a watched loop: the first call of a batch norm in training mode whose batch mean or variance is
NaN or infinite, with the number of the pass and of the step. With data: the first batch of the
loader that is not finite where it reaches the first batch norm.

## Why it matters

Running statistics take such a batch up in the forward. A gradient scaler that then skips the step
saves the parameters and not the statistics, which stay NaN, and nobody sees it before the next
evaluation. Knowing the batch is knowing whether the data, the learning rate or half precision did
it.

## Example

    >>> import torch
    >>> from normscope.doctor import watch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> with watch(model) as loop:
    ...     _ = model(torch.randn(8, 2))
    ...     _ = model(torch.full((8, 2), torch.inf))
    >>> loop.diagnosis().of("NS507")[0].message
    'The batch of pass 1 (counted from 0), before step 1, was not finite where it reached ...'

## Fix

Look at that batch of the loader. Then `normscope.recalibrate(model, loader)` collects the
statistics anew.

## On purpose

Never; where the statistics are finite all the same (a guard put them back) it is said to be info.

## Symptoms

- loss is NaN once and validation is NaN ever after
- GradScaler skipped a step and then eval gives nan
- which batch made running_mean NaN
- the data have NaN in them

## References

- pytorch/pytorch#88474, #90342, #96798: batch norm keeps the inf of a step that was skipped
- facebookresearch/SparseConvNet#190
"""

from collections.abc import Iterator

from torch import Tensor, nn

from normscope.anatomy import readable
from normscope.doctor._case import Case
from normscope.doctor._rules import Found


def find(case: Case) -> Iterator[Found]:
    """Yield a finding for the first bad batch, of the data or of a training loop."""
    if case.has_data:
        yield from _in_data(case)
    if case.has_log or not case.has_data:
        yield from _in_loop(case)


def _in_data(case: Case) -> Iterator[Found]:
    """The first batch that is not finite where the first batch norm is given it."""
    seen = case.observation
    path = next((path for path in seen.eval_sights.of if path in seen.norms), None)
    if path is None:
        return
    bad = sorted({sight.batch for sight in seen.eval_sights.of[path] if not sight.finite})
    if not bad:
        return
    weights = all(bool(parameter.isfinite().all()) for parameter in _dense(case.model))
    whose = "the data or what is computed of them" if weights else "the weights before it"
    yield Found(
        severity="error",
        module=path,
        message=(
            f"Batch {bad[0]} of the loader (counted from 0) is not finite where it reaches the "
            f"first batch norm, and so are {len(bad)} of {len(seen.batches)} batches: NaN or "
            f"infinity is in {whose}. Such batches are left out of every comparison."
        ),
        fix="Find the rows: ~torch.isfinite(inputs); one such batch in training ruins statistics.",
        evidence={"first bad batch": bad[0], "bad batches": len(bad)},
    )


def _dense(model: nn.Module) -> Iterator[Tensor]:
    """The parameters whose numbers can be looked at."""
    values = (readable(parameter) for parameter in model.parameters())
    return (value for value in values if value is not None)


def _in_loop(case: Case) -> Iterator[Found]:
    log = case.log
    log.seen()
    if (bad := log.bad) is None:
        return
    norm = case.batch_norms.get(bad.module)
    stored = [] if norm is None else [t for t in (norm.mean, norm.variance) if t is not None]
    poisoned = not all(bool(tensor.isfinite().all()) for tensor in stored)
    skipped = " No step followed before the next pass." if bad.skipped else ""
    left = "are not finite since" if poisoned else "are finite all the same"
    yield Found(
        severity="error" if poisoned else "info",
        module=bad.module,
        message=(
            f"The batch of pass {bad.passed} (counted from 0), before step {bad.step + 1}, was not "
            f"finite where it reached this layer.{skipped} Its running statistics {left}."
        ),
        fix=(
            "Look at that batch, or at the learning rate and half precision where the data are "
            "finite; then normscope.recalibrate(model, loader)."
        ),
        evidence={
            "pass": bad.passed,
            "step": bad.step,
            "calls of batch norms that were not finite": log.bad_batches,
        },
    )
