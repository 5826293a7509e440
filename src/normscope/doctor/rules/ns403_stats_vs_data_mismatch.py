"""Running statistics that do not describe these data.

## What it finds

For every batch norm, the mean and variance of what it is given by these batches (the layers
before it normalizing by batch statistics) against its running statistics: off by more than 0.25
deviations, or a factor of 1.28, and by more than five times the sampling noise. Where only the
first layer is off, the inputs are on another scale than in training, and it says by which factor;
where most are, the weights have changed, or the data have.

## Why it matters

A model in eval mode computes something else than it learned. Where the first layer alone is off,
the mistake is in the preprocessing (0 … 255 instead of 0 … 1), which batch statistics absorb: the
model works in training mode and nowhere else.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> nn = torch.nn
    >>> model = nn.Sequential(
    ...     nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8)
    ... )
    >>> rows = 1 + torch.rand(256, 2, generator=torch.manual_seed(0))
    >>> for batch in rows.split(64) * 50:
    ...     _ = model(batch)
    >>> finding = check(model, [255 * batch for batch in rows.split(64)]).of("NS403")[0]
    >>> finding.module, finding.evidence["layers that are off"]
    ('1', 1)

## Fix

Scale the inputs as in training where only the first layer is off. Where the weights have changed
(pruned, quantized, averaged, fine-tuned with frozen statistics), `normscope.recalibrate(model,
loader)` on training data. Never on test data: then the model has seen them.

## On purpose

Data of another domain are a fact, not a mistake: at info, unless the answers are measured to be
worse. AdaBN means to recalibrate on them.

## Symptoms

- works in train mode, garbage in eval mode after changing the preprocessing
- images are 0-255 instead of 0-1
- accuracy lost after pruning or quantization
- the running mean does not match the data
- re-evaluating a saved checkpoint gives other numbers

## References

- tensorflow/models#7604, #3111; bearpaw/pytorch-pose#4: normalization of inputs hidden
- openvinotoolkit/nncf#41, #46; mit-han-lab/once-for-all#15: weights changed, statistics did not
- open-mmlab/mmdetection#4582: statistics of one rank
"""

from collections.abc import Iterator, Sequence

from normscope.doctor._attribution import attribution_of
from normscope.doctor._case import Case
from normscope.doctor._causes import ALONE, INPUT, STALE
from normscope.doctor._layer_fit import LayerFit
from normscope.doctor._rules import Found
from normscope.records import Evidence

_MISMATCHES = {ALONE, INPUT, STALE}
"""The other causes are in the training, and have rules of their own."""


def find(case: Case) -> Iterator[Found]:
    """Yield a finding if the running statistics of some layer are not those of its input."""
    seen = case.once(attribution_of)
    off, cause, gap = seen.off, seen.cause, seen.gap
    if not off or seen.passes or cause is None or cause.name not in _MISMATCHES:
        return
    yield Found(
        severity="warning" if seen.is_harm else "info",
        module=off[0].path,
        message=(
            f"{len(off)} of {len(seen.fits)} batch norms do not describe what these batches give "
            f"them; of the first, {off[0].told()}. {cause.why}"
        ),
        fix=f"{cause.fix.rstrip('.')}. On test data, never: then the model has seen them.",
        evidence=_evidence(off) | cause.evidence | ({} if gap is None else gap.evidence()),
    )


def _evidence(off: Sequence[LayerFit]) -> dict[str, Evidence]:
    return {
        "layers that are off": len(off),
        "shift, deviations": off[0].shift,
        "spread, logarithm": off[0].spread,
        "noise, deviations": off[0].noise,
    }
