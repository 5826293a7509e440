"""Batch norms of one model that add different eps to the variance.

## What it finds

Batch norms whose eps is not what most of the model's batch norms have. It says by how much the gain
gamma / sqrt(var + eps) of a channel would change, at most, if they had the others' eps.

## Why it matters

TensorFlow and Keras add 1e-3, PyTorch 1e-5. A network that was ported layer by layer and got one of
them wrong is off in the channels with a small variance, a little more with every layer: at a
variance of 1e-3 the two gains differ by a factor of 1.4, at a variance of 1 by 1.0005.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> from torch import nn
    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.BatchNorm1d(2, eps=1e-3))
    >>> model[2].running_var[0] = 1e-3
    >>> finding = check(model).of("NS102")[0]
    >>> finding.module, round(finding.evidence["largest change of gain"], 2)
    ('2', 0.41)

## Fix

If the network was ported or copied together, give the layer the eps that it was trained with:
`layer.eps = 1e-3`. If it was trained as it is, leave it: its weights know.

## On purpose

Often: a backbone and a head of different origin. So it is a note, and a warning only where a
quarter of a layer's channels or more would change their gain by more than 10 %.

## Symptoms

- ported network deviates more with every layer
- outputs differ slightly from TensorFlow or Keras
- eps 1e-3 or 1e-5

## References

- gzuidhof/nn-transfer#3: Keras to PyTorch
- huggingface/transformers#18597, #19454: ported models with another eps than the original
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._counted import percent
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import and_more, stored

_CHANGED = 0.1
_SHARE = 0.25


@dataclass(frozen=True)
class _Odd:
    """A layer with another eps than most: what the others' would do to its gains.

    Attributes:
        largest: relative change of a channel's gain, at most.
        share: of channels whose gain changes by more than 10 %.
    """

    norm: RunningNorm
    largest: float
    share: float


def find(case: Case) -> Iterator[Found]:
    """Yield one finding if eps differ."""
    norms = [norm for norm in case.batch_norms.values() if norm.eps >= 0]
    counts = Counter(norm.eps for norm in norms)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    odd = [_odd(norm, usual) for norm in norms if norm.eps != usual]
    worst = max(odd, key=lambda each: (each.share, each.largest))
    told = ", ".join(f"{eps:g} in {count}" for eps, count in counts.most_common())
    yield Found(
        severity="warning" if worst.share >= _SHARE else "info",
        module=worst.norm.path,
        message=(
            f"eps differs inside the model ({told} batch norms). With {usual:g} instead of "
            f"{worst.norm.eps:g} a channel's gain would change by {worst.largest:.2g} of itself at "
            f"most, and by more than {percent(_CHANGED)} in {percent(worst.share)} of its channels"
            f"{and_more([each.norm.path for each in odd])}."
        ),
        fix=(
            "If the network was ported or copied together, set the eps that each layer was "
            f"trained with, as in model.get_submodule({worst.norm.path!r}).eps = {usual:g}; if it "
            "was trained as it is, leave it."
        ),
        evidence={
            "usual eps": usual,
            "eps": worst.norm.eps,
            "largest change of gain": worst.largest,
            "share of channels changed": worst.share,
            "layers": len(odd),
        },
    )


def _odd(norm: RunningNorm, usual: float) -> _Odd:
    layer = stored(norm)
    if layer is None or not layer.is_sound:
        return _Odd(norm, 0.0, 0.0)
    smallest = 1e-300  # keeps a variance and an eps of zero from a division by zero
    ratio = (layer.variance + norm.eps).clamp(min=smallest) / (layer.variance + usual).clamp(
        min=smallest
    )
    change = (ratio.sqrt() - 1).abs()
    return _Odd(norm, float(change.max()), float((change > _CHANGED).double().mean()))
