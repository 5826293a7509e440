"""Flags and buffers that let training and evaluation normalize by different things.

## What it finds

Batch norms whose `track_running_stats` and running statistics contradict each other. What such a
layer normalizes by, and whether it collects statistics:

| flag  | buffers | training mode          | eval mode          |                               |
|-------|---------|------------------------|--------------------|-------------------------------|
| True  | there   | the batch, collects    | running statistics | as it should be               |
| False | there   | the batch, no trace    | running statistics | half frozen                   |
| False | None    | the batch              | the batch          | depends on the batch, a note  |
| True  | None    | the batch              | the batch          | the same, and the flag lies   |
| any   | one     | may raise              | raises             | an error                      |

An instance norm with the flag and without buffers raises in eval mode; without both it is as built.

## Why it matters

Setting `track_running_stats = False` on a layer that keeps its buffers does not freeze it: training
goes on by the batch's own statistics, and evaluation uses those from before. Without buffers, an
answer depends on what else is in the batch, and one row alone raises or becomes a constant.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> model[1].track_running_stats = False
    >>> finding = check(model).of("NS303")[0]
    >>> finding.severity, finding.module
    ('warning', '1')

## Fix

To freeze: `normscope.freeze(model)`, which sets the flag back and stays through `model.train()`.
To train: set the flag to True again and `normscope.recalibrate(model, loader)`. Where buffers are
missing, build the layer with `track_running_stats=True`, load the parameters and recalibrate.

## On purpose

Normalizing evaluation by its own batch, as some clustering and style networks do: a note. Half
frozen layers in eval mode do no harm until somebody calls `train()`: a note.

## Symptoms

- froze batch norm and validation loss explodes
- track_running_stats=False made evaluation worse
- predictions depend on batch size or on the other rows of the batch
- model.eval() raises: expected more than 1 value per channel
- running_mean must be defined in evaluation mode
- ONNX export warns that batch_norm is set to train=True

## References

- pytorch/pytorch#38084: the flag is not a freeze
- Lightning-AI/pytorch-lightning#15063, speediedan/finetuning-scheduler#13: freezing by the flag
- pytorch/pytorch#156051, #16793, #30294; xu-ji/IIC#49: no running statistics
- microsoft/onnxruntime#3873, open-edge-platform/anomalib#2909: exported without statistics
"""

from collections.abc import Iterator

from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import and_more, was_training

_FREEZE = (
    "To freeze them: normscope.freeze(model), which stays through model.train(). To train them: "
    "track_running_stats = True, then normscope.recalibrate(model, loader)."
)
_BUILD = (
    "Build them with track_running_stats=True, load the parameters, and "
    "normscope.recalibrate(model, loader)."
)


def find(case: Case) -> Iterator[Found]:
    """Yield at most one finding for each row of the table that is not as it should be."""
    norms = [norm for norm in case.norms.values() if isinstance(norm.module, _NormBase)]
    if broken := [norm for norm in norms if _raises(norm)]:
        yield _of_broken(broken)
    flags = [norm for norm in norms if norm.is_batch_norm and norm not in broken]
    half = [norm for norm in flags if _buffers(norm) == 2 and not _flag(norm)]
    if half:
        yield _of_half(case, half)
    if without := [norm for norm in flags if _buffers(norm) == 0]:
        yield _of_without(without, len(norms))


def _flag(norm: RunningNorm) -> bool:
    return bool(getattr(norm.module, "track_running_stats", False))


def _buffers(norm: RunningNorm) -> int:
    """How many of the two there are; also such as hold no numbers yet."""
    names = ("running_mean", "running_var")
    return sum(isinstance(getattr(norm.module, name, None), Tensor) for name in names)


def _raises(norm: RunningNorm) -> bool:
    """Whether torch refuses the layer in eval mode."""
    buffers = _buffers(norm)
    return buffers == 1 or (buffers == 0 and _flag(norm) and not norm.is_batch_norm)


def _of_broken(norms: list[RunningNorm]) -> Found:
    buffers = _buffers(norms[0])
    kind = type(norms[0].module).__name__
    return Found(
        severity="error",
        module=norms[0].path,
        message=(
            f"{kind} has {'one' if buffers else 'none'} of running_mean and running_var, and "
            f"raises in eval mode{and_more([norm.path for norm in norms])}."
        ),
        fix=_BUILD,
        evidence={"layers": len(norms), "buffers of two": buffers},
    )


def _of_half(case: Case, norms: list[RunningNorm]) -> Found:
    training = [norm for norm in norms if was_training(case, norm)]
    told = training or norms
    now = "normalizes by the batch now" if training else "is in eval mode now"
    return Found(
        severity="warning" if training else "info",
        module=told[0].path,
        message=(
            "track_running_stats is False while the running statistics are there: in training "
            "mode the layer normalizes by the batch and leaves no trace, in eval mode by the old "
            f"statistics; it {now}{and_more([norm.path for norm in told])}."
        ),
        fix=_FREEZE,
        evidence={
            "layers": len(norms),
            "in training mode": len(training),
            "channels": sum(int(getattr(norm.module, "num_features", 0)) for norm in norms),
        },
    )


def _of_without(norms: list[RunningNorm], total: int) -> Found:
    lying = sum(map(_flag, norms))
    flag = f", although track_running_stats is True in {lying}" if lying else ""
    return Found(
        severity="info",
        module=norms[0].path,
        message=(
            f"{len(norms)} of {total} norm layers have no running statistics{flag}: in eval mode "
            "too they normalize by the batch, so a row's answer depends on the rows beside it, and "
            "one value per channel raises."
        ),
        fix=_BUILD,
        evidence={"layers": len(norms), "norm layers": total, "flag is True": lying},
    )
