"""A running mean or variance that is not a number, infinite, or below zero.

## What it finds

Running statistics with a NaN, an infinity or a negative variance. It says which of the three, and
whether the parameters are finite. With data it names the layer that a pass reaches first.

## Why it matters

In training the batch's own statistics are used, so the curve looks normal; in eval mode every
output is NaN or constant. One bad batch is enough: running statistics are moved in the forward,
before a gradient scaler decides to skip the step, and `running += momentum * (NaN - running)` stays
NaN for ever. A negative variance comes from surgery (a mean copied where the variance belongs), or
from E[x²] − E[x]² in float32; where it is below −eps, its square root is NaN.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> _ = model(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]))
    >>> check(model).of("NS302")[0].message
    'Of 3 channels, 3 running means and 3 running variances are not finite; its parameters are ...'

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
- running_var is negative

## References

- pytorch/pytorch#88474, #90342, #96798: batch norm keeps the inf of a step that was skipped
- pytorch/pytorch#1206: one value per channel, unbiased variance
- facebookresearch/SparseConvNet#190; pytorch/pytorch#60624: negative variance after surgery
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import and_more, numbers

_FIX = (
    "Recompute the statistics from data: normscope.recalibrate(model, loader); then look for the "
    "batch that did it (normscope.watch names it)."
)
_FIX_OF_SURGERY = (
    "Recompute the statistics from data: normscope.recalibrate(model, loader); then look for the "
    "code that wrote them: no average of squares is below zero."
)


@dataclass(frozen=True)
class _Bad:
    """How many channels of a layer have which trouble."""

    means: int
    variances: int
    negative: int
    channels: int

    def told(self) -> str:
        parts = []
        if self.means or self.variances:
            parts.append(
                f"{self.means} running means and {self.variances} running variances are not finite"
            )
        if self.negative:
            parts.append(f"{self.negative} running variances are negative")
        return f"Of {self.channels} channels, {' and '.join(parts)}"


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for all modules whose statistics are not finite, or negative."""
    bad = {path: trouble for path, norm in case.norms.items() if (trouble := _trouble(norm))}
    if not bad:
        return
    path = _first(case, list(bad))
    first, parameters = bad[path], _parameters_told(case.norms[path].module)
    only_negative = not any(each.means or each.variances for each in bad.values())
    yield Found(
        severity="error",
        module=path,
        message=f"{first.told()}; {parameters}{and_more(list(bad))}.",
        fix=_FIX_OF_SURGERY if only_negative else _FIX,
        evidence={
            "layers": len(bad),
            "bad means": sum(each.means for each in bad.values()),
            "bad variances": sum(each.variances for each in bad.values()),
            "negative variances": sum(each.negative for each in bad.values()),
            "channels": sum(each.channels for each in bad.values()),
        },
    )


def _trouble(norm: RunningNorm) -> _Bad | None:
    mean, variance = norm.mean, norm.variance
    means = 0 if mean is None else _not_finite(mean)
    variances = 0 if variance is None else _not_finite(variance)
    negative = 0 if variance is None else _negative(variance)
    if not means and not variances and not negative:
        return None
    some = variance if variance is not None else mean
    return _Bad(means, variances, negative, 0 if some is None else some.numel())


def _not_finite(values: Tensor) -> int:
    finite = (values if values.is_complex() else numbers(values)).isfinite()
    return int((~finite).sum())


def _negative(values: Tensor) -> int:
    """How many are below zero, and finite."""
    if values.is_complex():
        return 0
    return int(((numbers(values) < 0) & numbers(values).isfinite()).sum())


def _first(case: Case, paths: list[str]) -> str:
    """The layer that a pass reaches first, where there are data; else the first that is defined."""
    called = case.observation.eval_sights.of if case.has_data else {}
    return next((path for path in called if path in paths), paths[0])


def _parameters_told(module: nn.Module) -> str:
    finite = all(_not_finite(each) == 0 for each in module.parameters() if not is_lazy(each))
    return "its parameters are finite" if finite else "its parameters are not finite either"
