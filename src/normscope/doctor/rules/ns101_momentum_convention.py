"""A momentum that means the opposite elsewhere, never moves the statistics, or hardly does.

## What it finds

Batch norms whose momentum is 0.5 or more and below 1; whose momentum is 0 in training mode; and
those whose counter says that more than 5 % of the initial values (mean 0, variance 1) are still in
their running statistics: (1 − momentum)ⁿ after n batches.

## Why it matters

PyTorch's momentum is the weight of the new, Keras' and TensorFlow's the weight of the old: 0.99
there is 0.01 here. An average with momentum m scatters by m / (2 − m) of the variance of a single
batch's statistics: 5 % at 0.1, but 98 % at 0.99, where evaluation depends on whichever batch came
last. With momentum 0 training goes on and evaluation uses what was stored before it; with a tiny
one a short training ends before its statistics begin.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3, momentum=0.99))
    >>> finding = check(model).of("NS101")[0]
    >>> round(finding.evidence["share of one batch's sampling variance"], 3)
    0.98

## Fix

`normscope.set_momentum(model, "keras")` makes 0.01 of a 0.99 that came from Keras; then
`normscope.recalibrate(model, loader)` for the statistics that are there already. Both leave what
the model computes in training mode as it is.

## On purpose

Momentum 1 takes the statistics of one large batch and is no more than a note; None averages all
batches equally and is fine. In layers that are in eval mode and have nothing to train, momentum is
not used. Leftover initial values are a note, and a warning where data show that they are the cause.

## Symptoms

- validation accuracy jumps from epoch to epoch
- validation loss oscillates
- running statistics equal the last batch
- ported from TensorFlow or Keras and evaluation is unstable
- running_mean and running_var never change in training
- first epochs validate at chance while training is fine
- large gap between train and eval after a short fine-tuning

## References

- pytorch/vision#8250: MaxViT was shipped with momentum 0.99
- kazuto1011/deeplab-pytorch#79, ludwig-ai/ludwig#2100, huggingface/transformers#19454: the same
- Cadene/pretrained-models.pytorch#5: a ported model with momentum 0
- vacancy/Synchronized-BatchNorm-PyTorch#5, tensorflow/tensorflow#1122: too slow
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._counted import percent
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import (
    and_more,
    collects,
    given,
    given_together,
    is_trained,
    stored,
    was_training,
)

if TYPE_CHECKING:
    from normscope.records import Evidence, Severity

_MUCH = 0.5
_KERAS = 0.9
_SENSELESS = 2.0
"""From here on the average does not settle at all."""
_LEFT = 0.05
_OFF = 0.2
"""Statistics are off from here on, in deviations or as the logarithm of their factor."""


def find(case: Case) -> Iterator[Found]:
    """Yield at most one finding for each of the three troubles."""
    collecting = [norm for norm in case.norms.values() if collects(norm)]
    much = [n for n in collecting if n.momentum is not None and _MUCH <= n.momentum < _SENSELESS]
    if much := [norm for norm in much if is_trained(case, norm)]:
        yield _of_much(case, much)
    still = [norm for norm in collecting if norm.momentum == 0 and was_training(case, norm)]
    if still:
        yield _of_zero(case, still)
    if left := _left(collecting):
        yield from _of_left(case, left)


def _of_much(case: Case, norms: list[RunningNorm]) -> Found:
    worst = max((n for n in norms if n.momentum != 1), key=_momentum, default=norms[0])
    momentum = _momentum(worst)
    share = momentum / (2 - momentum)
    severity: Severity = "warning" if _KERAS <= momentum != 1 else "info"
    evidence: dict[str, Evidence] = {
        "momentum": momentum,
        "share of one batch's sampling variance": share,
        "layers": len(norms),
    }
    message = (
        f"Momentum is {momentum:g}, in PyTorch the weight of the new: the running statistics "
        f"scatter by {percent(share)} of the variance of a single batch's"
    )
    scatter = _scatter(case, worst.path)
    if scatter is not None:
        noise = evidence["sampling error in deviations"] = share**0.5 * scatter
        message += f", here {noise:.2g} deviations"
    return Found(
        severity=severity,
        module=worst.path,
        message=f"{message}{and_more([norm.path for norm in norms])}.",
        fix=(
            'If it is Keras\' momentum: normscope.set_momentum(model, "keras"), which makes it '
            f"{1 - momentum:.3g}; then "
            "normscope.recalibrate(model, loader)."
            if momentum < 1
            else "Before a training: normscope.set_momentum(model, 0.1)."
        ),
        evidence=evidence,
    )


def _momentum(norm: RunningNorm) -> float:
    assert norm.momentum is not None
    return norm.momentum


def _scatter(case: Case, path: str) -> float | None:
    """How far batches' means scatter, in deviations of the input (root mean square)."""
    batches, together = given(case, path), given_together(case, path)
    if together is None or len(batches) < 2:
        return None
    means = torch.stack([batch.mean for batch in batches])
    alive = together.population_variance > 0
    if not bool(alive.any()):
        return None
    ratio = means.var(dim=0)[alive] / together.population_variance[alive]
    return float(ratio.mean().sqrt())


def _of_zero(case: Case, norms: list[RunningNorm]) -> Found:
    first = norms[0]
    tracked = max(norm.batches_tracked or 0 for norm in norms)
    evidence: dict[str, Evidence] = {
        "momentum": 0.0,
        "batches tracked": tracked,
        "layers": len(norms),
    }
    measured = [(off, norm) for norm in norms if (off := _off(case, norm)) is not None]
    told = ""
    if measured:
        off, first = max(measured, key=lambda pair: pair[0])
        evidence["off"] = off
        told = f", and are off by {off:.2g} on the data"
    elif tracked:
        told = f", whatever {tracked} batches were counted"
    harmful = any(off > _OFF for off, _ in measured) if measured else tracked > 0
    return Found(
        severity="warning" if harmful else "info",
        module=first.path,
        message=(
            "Momentum is 0 in training mode: training normalizes by the batch, and the running "
            f"statistics that eval mode uses do not move{told}"
            f"{and_more([norm.path for norm in norms])}."
        ),
        fix=(
            "normscope.set_momentum(model, 0.1), then normscope.recalibrate(model, loader). If "
            "the layer is meant to be frozen: normscope.freeze(model)."
        ),
        evidence=evidence,
    )


def _off(case: Case, norm: RunningNorm, left: float = 0.0) -> float | None:
    """How far running statistics are from the data's, or would be without initial values in them.

    The larger of two root mean squares over channels: of the means' distance in deviations, and of
    the logarithm of the deviations' factor. None without data.
    """
    layer, together = stored(norm), given_together(case, norm.path)
    if layer is None or together is None or not layer.is_sound:
        return None
    mean, variance = layer.mean / (1 - left), (layer.variance - left).clamp(min=0) / (1 - left)
    truth = together.bessel_variance.cpu() + layer.eps
    if len(truth) != len(mean):
        return None
    shift = (mean - together.mean.cpu()) / truth.sqrt()
    return max(_rms(shift), _rms(((variance + layer.eps) / truth).log() / 2))


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


@dataclass(frozen=True, eq=False)
class _Left:
    """A layer with this share of the initial values in its running statistics."""

    norm: RunningNorm
    share: float


def _left(norms: list[RunningNorm]) -> list[_Left]:
    """Layers whose counters say that much is left, unless statistics contradict the counters.

    Of the initial variance 1 at least the share has to be there. Where it is not, as after a
    recalibration, which averages equally and counts few batches, layers with the same counter and
    momentum are not believed either.
    """
    unsettled = [norm for norm in norms if norm.initial_share > _LEFT]
    claims = [(norm, layer) for norm in unsettled if (layer := stored(norm))]
    liars = {
        (norm.batches_tracked, norm.momentum)
        for norm, layer in claims
        if not bool((layer.variance >= norm.initial_share * (1 - 1e-3)).all())
    }
    return [
        _Left(norm, norm.initial_share)
        for norm, _ in claims
        if (norm.batches_tracked, norm.momentum) not in liars and not norm.has_initial_statistics
    ]


def _of_left(case: Case, layers: list[_Left]) -> Iterator[Found]:
    worst = max(layers, key=lambda each: each.share)
    evidence: dict[str, Evidence] = {
        "initial values left": worst.share,
        "batches tracked": worst.norm.batches_tracked or 0,
        "momentum": _momentum(worst.norm),
        "layers": len(layers),
    }
    told = ""
    severity: Severity = "info"
    off, without = _off(case, worst.norm), _off(case, worst.norm, worst.share)
    if off is not None and without is not None:
        if off <= _OFF:
            return
        evidence |= {"off": off, "off without initial values": without}
        severity = "warning" if without < off / 2 else "info"
        told = (
            f"; on the data they are off by {off:.2g}, and by {without:.2g} without the initial "
            "values in them"
        )
    yield Found(
        severity=severity,
        module=worst.norm.path,
        message=(
            f"After {worst.norm.batches_tracked} batches with momentum {worst.norm.momentum:g}, "
            f"{percent(worst.share)} of the initial values (mean 0, variance 1) are left in the "
            f"running statistics{told}{and_more([each.norm.path for each in layers])}."
        ),
        fix="Recompute them from data before evaluation: normscope.recalibrate(model, loader).",
        evidence=evidence,
    )
