"""Statistics that move several times before one step.

## What it finds

In a watched loop: batch norms that several batches go through before a step. It compares these: the
same batch again (activation checkpointing), batches of different distributions (source and target,
real and fake, the steps of a recurrent network), or batches that are alike (accumulated gradients,
two views).

## Why it matters

The same batch twice makes of a momentum m one of 1 − (1 − m)²: 0.19 where 0.1 was meant. Batches of
different distributions are each normalized by statistics of their own in training; the running
statistics are a mixture that describes none of them, and in eval mode the model sees inputs that it
was never trained on.

## Example

    >>> import torch
    >>> from normscope.doctor import watch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with watch(model, optimizer) as loop:
    ...     source, target = torch.randn(32, 4), torch.randn(32, 4) + 5
    ...     (model(source).square().sum() + model(target).square().sum()).backward()
    ...     optimizer.step()
    >>> print(loop.diagnosis().of("NS503")[0].message)
    1 batch norm got 2 batches before a step that are not of one distribution: ...

## Fix

Recomputed batches: `normscope.nn.BatchNorm` spares a batch that it has counted; or
`normscope.set_momentum(model, 1 - (1 - m) ** 0.5)`. Different distributions: pass them through the
model together, as one batch, or give each a batch norm of its own. `normscope.recalibrate` mends
the running statistics, and does not cure this.

## On purpose

Gradient accumulation, two views of one batch (SimCLR, BYOL) and siamese towers: as long as the
batches are alike, info. A discriminator that sees real and generated batches apart is common; the
finding says how far apart they are.

## Symptoms

- training loss falls, validation is random
- domain adaptation fails in eval mode
- one batch norm shared by two towers
- a GAN's discriminator sees real and fake batches separately
- gradient checkpointing changes running statistics
- gradient accumulation trains worse than a large batch

## References

- pytorch/pytorch#96136, #62471; deepinsight/insightface#2053: recomputed forwards
- keras-team/keras#8794: one layer, two towers
- warpem/miss-alignment#6, scikit-adaptation/skada#252, adapt-python/adapt#92: two domains
- HorizonRobotics/alf#1112, OlavHN/bnlstm#7: the steps of a recurrent network
- giotto-ai/giotto-deep#75, pytorch/pytorch#46516: accumulated gradients
"""

from collections.abc import Iterator, Mapping

from normscope.doctor._case import Case
from normscope.doctor._counted import counted
from normscope.doctor._loop_log import Groups, LayerLog
from normscope.doctor._rules import Found

_FAR = 0.75
"""Deviations between the batches of one step from which it counts as harm."""


def find(case: Case) -> Iterator[Found]:
    """Yield a finding for each kind of repetition, over the layers that have it in most steps."""
    layers = {path: layer for path, layer in case.log.stepped().items() if layer.groups.count}
    again = {p: la for p, la in layers.items() if 2 * la.groups.repeats >= la.groups.count}
    if again := {path: layer for path, layer in again.items() if layer.momentum is not None}:
        yield _recomputed(again)
    several = {p: la for p, la in layers.items() if 2 * la.groups.several >= la.groups.count}
    apart = {path: layer for path, layer in several.items() if _is_apart(layer)}
    if apart:
        yield _different(apart)
    if alike := {path: layer for path, layer in several.items() if path not in apart}:
        yield _alike(alike)


def _is_apart(layer: LayerLog) -> bool:
    groups = layer.groups
    return 2 * groups.apart >= groups.several and groups.deviations >= _FAR


def _batches(groups: Groups) -> str:
    """How many came before a step; not of all steps as many, where a GAN's nets take turns."""
    mean = groups.per_step
    return f"{mean:.0f} batches" if mean.is_integer() else f"{mean:.3g} batches on average"


def _recomputed(layers: Mapping[str, LayerLog]) -> Found:
    first, layer = next(iter(layers.items()))
    times = 1 + layer.groups.repeats / layer.groups.count
    momentum = layer.momentum or 0.0
    effective = 1 - (1 - momentum) ** times
    return Found(
        severity="warning",
        module=first,
        message=(
            f"{counted(len(layers))} got the same batch {times:.3g} times before a step, as "
            f"activation checkpointing does: their momentum of {momentum:.3g} acts as "
            f"{effective:.3g}."
        ),
        fix=(
            "Use normscope.nn.BatchNorm, which counts a recomputed batch once, or "
            f"normscope.set_momentum(model, {1 - (1 - momentum) ** (1 / times):.3g})."
        ),
        evidence={
            "layers": len(layers),
            "times": times,
            "momentum": momentum,
            "effective momentum": effective,
        },
    )


def _different(layers: Mapping[str, LayerLog]) -> Found:
    worst = max(layers, key=lambda path: layers[path].groups.deviations)
    first, groups = next(iter(layers)), layers[worst].groups
    where = "in one pass" if groups.passes < groups.updates else "in passes of their own"
    return Found(
        severity="warning",
        module=first,
        message=(
            f"{counted(len(layers))} got {_batches(groups)} before a step that are "
            f"not of one distribution: {where}, with means {groups.deviations:.2g} deviations "
            f"apart in {worst!r}. One running mean cannot describe them."
        ),
        fix=(
            "Pass them through the model together, as one batch, or give each distribution a batch "
            "norm of its own. Recalibrating does not cure this."
        ),
        evidence={
            "layers": len(layers),
            "deviations": groups.deviations,
            "batches per step": groups.per_step,
            "steps": groups.several,
            "steps apart": groups.apart,
        },
    )


def _alike(layers: Mapping[str, LayerLog]) -> Found:
    first, layer = next(iter(layers.items()))
    groups, momentum = layer.groups, layer.momentum
    acts = ""
    if momentum is not None:
        effective = 1 - (1 - momentum) ** groups.per_step
        acts = f" Per step their momentum of {momentum:.3g} acts as {effective:.3g}."
    return Found(
        severity="info",
        module=first,
        message=(
            f"{counted(len(layers))} got {_batches(groups)} before a step, which are "
            f"alike (means {groups.deviations:.2g} deviations apart).{acts}"
        ),
        fix=(
            "Nothing, if gradients are accumulated or one batch has several views. Otherwise pass "
            "the batches through the model together."
        ),
        evidence={
            "layers": len(layers),
            "deviations": groups.deviations,
            "batches per step": groups.per_step,
        },
    )
