"""Processes or devices whose running statistics are not the same.

## What it finds

`SyncBatchNorm` on a CPU in a process group, where it raises; some batch norms synchronized and
others not; a `DataParallel` over several devices. With data, a `SyncBatchNorm` that is called more
often in one batch than in another. After a watched loop in a process group, how far the running
means of the ranks are apart, and batch norms that get two batches alike before a step, rank by
rank.

## Why it matters

Without synchronization every rank collects statistics of its own share of the data. What one rank
evaluates, and what is saved, differs from what the others have: the metric of the training is not
that of the checkpoint. `DistributedDataParallel` copies the buffers of the first rank to the others
only in the next forward. `DataParallel` keeps those of the first device, and drops the others.

In every call a `SyncBatchNorm` waits for that of all other ranks. Where a branch, or a loop over a
length, depends on the batch, ranks call it a different number of times, and the training hangs.

A contrastive loss asks which of many rows is the other view of this one. Where each rank normalizes
by its own rows, both views carry the traces of the same batch mates, which answer it: the loss
falls, and nothing worth having is learned.

## Example

    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.SyncBatchNorm(3))
    >>> check(model).of("NS504")[0].message
    '1 batch norm is synchronized over ranks, and 1 is not.'

## Fix

Convert the whole model before it is wrapped,
`torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)`, and use `DistributedDataParallel` instead of
`DataParallel`. Before the model is evaluated or saved, `normscope.recalibrate(model, loader)` on
all ranks merges the moments over them.

A synchronized norm inside a branch: call it on every rank in every step (on a batch whose output is
multiplied by 0, if need be), or do not synchronize it.

## On purpose

Statistics of its own for every client (FedBN), and shuffled batches without synchronization (MoCo):
suppress it with that reason. Where gradients are accumulated over two batches, the info on two
views means nothing.

## Symptoms

- validation during training differs from evaluating the saved checkpoint
- ranks have different running_mean
- training freezes with SyncBatchNorm, NCCL timeout
- multi-GPU accuracy is lower than single-GPU
- SyncBatchNorm expected input tensor to be on GPU
- only device 0 updates the running statistics

## References

- open-mmlab/mmdetection#4582, mmaction2#675, mmpose#998; pytorch/pytorch#13711: ranks differ
- pytorch/pytorch#1051: `DataParallel` keeps the first device's
- pytorch/pytorch#44957, horovod/horovod#2241: a rank that skips a synchronized norm
- open-mmlab/mmengine#1624, Lightning-AI/pytorch-lightning#6838: conversion
- facebookresearch/moco#137: unsynchronized statistics give the answer away
"""

from collections import Counter
from collections.abc import Iterator

import torch.distributed as dist
from torch import nn

from normscope.doctor._case import Case
from normscope.doctor._counted import counted
from normscope.doctor._rules import Found
from normscope.nn import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d

_OF_ONE_RANK = {
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d),
}
"""By exact type: subclasses of others may synchronize."""
_HARM = 0.1
"""Deviations between ranks from which it counts as harm."""

_FIX = (
    "Convert the model before it is wrapped: torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)."
)


def find(case: Case) -> Iterator[Found]:
    """Yield a finding for each way in which statistics are not shared."""
    yield from _raises_on_cpu(case)
    yield from _mixed(case)
    yield from _waits(case)
    yield from _data_parallel(case)
    yield from _apart(case)
    yield from _two_views(case)


def _synchronized(case: Case) -> list[str]:
    norms = case.batch_norms.items()
    return [path for path, norm in norms if isinstance(norm.module, nn.SyncBatchNorm)]


def _raises_on_cpu(case: Case) -> Iterator[Found]:
    if not (dist.is_available() and dist.is_initialized()):
        return
    on_cpu = [
        path
        for path in _synchronized(case)
        if case.training.get(path)
        and any(tensor.device.type == "cpu" for tensor in case.batch_norms[path].module.buffers())
    ]
    if on_cpu:
        yield Found(
            severity="error",
            module=on_cpu[0],
            message=(
                f"{counted(len(on_cpu))} synchronized over ranks, on a CPU: SyncBatchNorm raises "
                "there in training mode."
            ),
            fix=(
                "Train on GPUs, or keep plain batch norms and merge their statistics over ranks: "
                "normscope.recalibrate(model, loader)."
            ),
            evidence={"layers": len(on_cpu)},
        )


def _mixed(case: Case) -> Iterator[Found]:
    synchronized = _synchronized(case)
    others = [
        path
        for path, norm in case.batch_norms.items()
        if path not in synchronized and norm.mean is not None
    ]
    if synchronized and others:
        verb = "is" if len(synchronized) == 1 else "are"
        other = "is" if len(others) == 1 else "are"
        yield Found(
            severity="info",
            module=others[0],
            message=(
                f"{counted(len(synchronized))} {verb} synchronized over ranks, and {len(others)} "
                f"{other} not."
            ),
            fix=_FIX,
            evidence={"synchronized": len(synchronized), "not synchronized": len(others)},
        )


def _waits(case: Case) -> Iterator[Found]:
    """Layers that wait for other ranks, in a part of the model that not every batch reaches."""
    synchronized = _synchronized(case)
    if not synchronized or not case.has_data:
        return
    seen = case.observation
    passed = [batch.number for batch in seen.batches if batch.running is not None]
    sights = seen.eval_sights.of
    calls = {path: Counter(s.batch for s in sights.get(path, [])) for path in synchronized}
    uneven = {path: n for path, n in calls.items() if len({n[number] for number in passed}) > 1}
    if not uneven:
        return
    first, counts = next(iter(uneven.items()))
    numbers = [counts[number] for number in passed]
    yield Found(
        severity="warning",
        module=first,
        message=(
            f"{counted(len(uneven))} synchronized over ranks, called {min(numbers)} to "
            f"{max(numbers)} times in a batch ({first!r}, {len(numbers)} batches): where ranks "
            "have different batches, one waits for a call that another never makes."
        ),
        fix=(
            "Call it in every step on every rank, also where its output is not needed; or leave it "
            "a plain batch norm, and merge statistics by normscope.recalibrate(model, loader)."
        ),
        evidence={"layers": len(uneven), "fewest calls": min(numbers), "most calls": max(numbers)},
    )


def _data_parallel(case: Case) -> Iterator[Found]:
    layers = [path for path, norm in case.batch_norms.items() if norm.mean is not None]
    if layers and case.replicas > 1:
        yield Found(
            severity="info",
            module=layers[0],
            message=(
                f"A DataParallel splits each batch over {case.replicas} devices: "
                f"{counted(len(layers))} will normalize by a share of it, and only the first "
                "device's statistics are kept."
            ),
            fix=f"Use DistributedDataParallel. {_FIX}",
            evidence={"devices": case.replicas, "layers": len(layers)},
        )


def _apart(case: Case) -> Iterator[Found]:
    distances = (case.log.ranks if case.has_log else None) or {}
    apart = {path: far for path, far in distances.items() if far > 0}
    if not apart:
        return
    worst = max(apart, key=lambda path: apart[path])
    yield Found(
        severity="warning" if apart[worst] >= _HARM else "info",
        module=next(iter(apart)),
        message=(
            f"{counted(len(apart))} (of {len(distances)}) with different running statistics on "
            f"different ranks: running means up to {apart[worst]:.2g} deviations apart ({worst!r})."
        ),
        fix=(
            "Before evaluating or saving call normscope.recalibrate(model, loader) on all ranks, "
            f"which merges their moments. {_FIX}"
        ),
        evidence={"layers": len(apart), "deviations": apart[worst]},
    )


def _two_views(case: Case) -> Iterator[Found]:
    """Layers of which every rank gave two batches to each step, normalized by its own rows."""
    if not case.has_log or case.log.ranks is None:
        return
    views = [
        path
        for path, layer in case.log.layers.items()
        if layer.groups.is_two_views and type(case.norms[path].module) in _OF_ONE_RANK
    ]
    if views:
        yield Found(
            severity="info",
            module=views[0],
            message=(
                f"{counted(len(views))} got two batches alike before a step, each normalized by "
                "the rows of one rank. If a contrastive loss compares them with those of other "
                "ranks, the statistics tell which belong together."
            ),
            fix=(
                "With such a loss: shuffle the rows of one view over the ranks (MoCo), or "
                "synchronize. "
                f"{_FIX} Nothing, if gradients are accumulated."
            ),
            evidence={"layers": len(views)},
        )
