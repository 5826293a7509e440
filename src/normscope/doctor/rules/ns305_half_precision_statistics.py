"""Running statistics in float16 or bfloat16.

## What it finds

Running means and variances that are held in 16 bits. In training mode it computes how far a batch
may be from what is stored without moving it, and how near the largest variance is to the largest
number of float16.

## Why it matters

A running average moves by momentum · (batch − running), and the sum is rounded to the next number
of the format. bfloat16 has 8 significant bits: near 1 its numbers are 1/128 apart, so that at
momentum 0.1 a batch variance has to differ by 4 % to move it, at 0.01 by 39 %, and at 0.001 by
390 %: it stands still for ever. A variance above 65504 is infinite in float16, and the output 0.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.BatchNorm1d(3, momentum=0.01).bfloat16()
    >>> finding = check(model).of("NS305")[0]
    >>> finding.severity, round(finding.evidence["unmoved variance"], 2)
    ('warning', 0.39)

## Fix

Keep batch norms in float32, where torch's kernels and autocast expect them: `layer.float()` for
each of them, and autocast in place of `model.half()`. After a training in 16 bits:
`normscope.recalibrate(model, loader)`. Nothing else changes.

## On purpose

A model that was converted for inference only: in eval mode it is a note.

## Symptoms

- model.half() outputs are nan, inf or zero
- running_var is inf in fp16
- running_var does not move in bfloat16
- pure bf16 training evaluates badly

## References

- NVIDIA/apex#144, #121: why apex keeps batch norm in float32
- fastai/fastai#507, apple/coreai-torch#54: statistics in 16 bits
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import Stored, and_more, collects, stored, was_training

_HALVES = (torch.float16, torch.bfloat16)
_UNMOVED = 0.01
_FULL = 1 / 8


@dataclass(frozen=True)
class _Half:
    """A layer with statistics in 16 bits.

    Attributes:
        moves: whether it was in training mode, and collects.
        variance: how far a batch's may be from the running one, relative to it, without moving it;
            in the worst channel.
        mean: the same of the mean, in deviations.
        full: the largest running variance as a share of the largest number of the format.
    """

    norm: RunningNorm
    moves: bool
    dtype: torch.dtype
    variance: float
    mean: float
    full: float

    @property
    def harm(self) -> float:
        """For comparing layers."""
        return max(self.variance, self.mean)

    @property
    def is_harmed(self) -> bool:
        """Whether its training goes astray."""
        return self.moves and (self.harm > _UNMOVED or self.full > _FULL)


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for all layers in 16 bits."""
    halves = [half for norm in case.norms.values() if (half := _half(case, norm)) is not None]
    if not halves:
        return
    harmed = [half for half in halves if half.is_harmed]
    worst = max(harmed or halves, key=lambda half: (half.harm, half.full))
    name = str(worst.dtype).removeprefix("torch.")
    told = (
        f"; training does not move a variance that is off by less than {worst.variance:.2g} of "
        f"itself, nor a mean by {worst.mean:.2g} deviations, at momentum {worst.norm.momentum:g}"
        if worst.moves and worst.norm.momentum
        else "; that is fine for inference as long as no variance overflows"
    )
    yield Found(
        severity="warning" if harmed else "info",
        module=worst.norm.path,
        message=(
            f"The running statistics are in {name}{told}; the largest variance is "
            f"{worst.full:.1g} of what the format holds"
            f"{and_more([half.norm.path for half in harmed or halves])}."
        ),
        fix=(
            "Keep batch norms in float32 (layer.float()) and use autocast; then "
            "normscope.recalibrate(model, loader)."
        ),
        evidence={
            "dtype": name,
            "unmoved variance": worst.variance,
            "unmoved mean in deviations": worst.mean,
            "largest variance of what the format holds": worst.full,
            "layers": len(halves),
            "in training mode": sum(half.moves for half in halves),
        },
    )


def _half(case: Case, norm: RunningNorm) -> _Half | None:
    dtype = norm.variance.dtype if norm.variance is not None else None
    layer = stored(norm)
    if dtype not in _HALVES or layer is None or not layer.is_sound:
        return None
    moves = was_training(case, norm) and collects(norm)
    full = float(layer.variance.max()) / torch.finfo(dtype).max
    if not norm.momentum:
        return _Half(norm, moves, dtype, 0.0, 0.0, full)
    return _Half(
        norm,
        moves,
        dtype,
        float((_step(layer.variance, dtype) / (layer.variance + layer.eps)).max()) / norm.momentum,
        float((_step(layer.mean, dtype) / _deviation(layer)).max()) / norm.momentum,
        full,
    )


def _deviation(layer: Stored) -> Tensor:
    return (layer.variance + layer.eps).clamp(min=1e-300).sqrt()


def _step(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Half the distance from each value to its neighbour: less is rounded away."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(values.abs().clamp(min=info.tiny))
    return torch.ldexp(torch.full_like(values, info.eps / 2), exponent - 1)
