"""A running mean or variance that is not a number, infinite, or below zero.

## What it finds

Running statistics with a NaN, an infinity or a negative variance. It says whether the parameters
are finite, and names first the layer that a pass reaches first, where that can be told.

## Why it matters

In training the batch's own statistics are used, so the curve looks normal; in eval mode every
output is NaN or constant. One bad batch is enough: running statistics are moved in the forward,
before a gradient scaler decides to skip the step, and `running += momentum * (NaN - running)` stays
NaN for ever.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> _ = model(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]))
    >>> check(model).of("NS302")[0].message
    'The running mean has 3 and the running variance 3 of 3 channels that are not finite; ...'

## Fix

`normscope.recalibrate(model, loader)` computes the statistics anew from data, exactly, and refuses
a batch that is not finite by name. It is safe: with finite parameters the model in training mode
computes what it did. Then find the batch: `normscope.watch` names the first.

## On purpose

Never.

## Symptoms

- evaluation is all NaN, training is fine
- validation loss is NaN
- GradScaler skipped a step and then eval gives nan
- constant predictions in eval mode

## References

- pytorch/pytorch#88474, #90342, #96798: batch norm keeps the inf of a step that was skipped
- pytorch/pytorch#1206: one value per channel, unbiased variance
- facebookresearch/SparseConvNet#190; pytorch/pytorch#60624: negative variance after surgery
"""

from collections.abc import Iterator

from torch import nn

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._rules import Found

_FIX = (
    "Recompute the statistics from data: normscope.recalibrate(model, loader); then look for the "
    "batch that did it (normscope.watch names it)."
)


def find(case: Case) -> Iterator[Found]:
    """Yield a finding for each module whose statistics are not finite, or negative."""
    for path, norm in case.norms.items():
        means, variances = _bad_channels(norm)
        if means or variances:
            channels = 0 if norm.variance is None else norm.variance.numel()
            yield Found(
                severity="error",
                module=path,
                message=(
                    f"The running mean has {means} and the running variance {variances} of "
                    f"{channels} channels that are not finite; {_parameters_told(norm.module)}."
                ),
                fix=_FIX,
                evidence={"bad means": means, "bad variances": variances, "channels": channels},
            )


def _bad_channels(norm: RunningNorm) -> tuple[int, int]:
    """How many channels have a bad mean, and how many a bad variance."""
    mean, variance = norm.mean, norm.variance
    means = 0 if mean is None else int((~mean.isfinite()).sum())
    variances = 0 if variance is None else int((~variance.isfinite() | (variance < 0)).sum())
    return means, variances


def _parameters_told(module: nn.Module) -> str:
    finite = all(bool(parameter.isfinite().all()) for parameter in module.parameters())
    return "its parameters are finite" if finite else "its parameters are not finite either"
