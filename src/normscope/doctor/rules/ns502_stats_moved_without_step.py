"""Running statistics that moved on batches from which nothing was learned.

## What it finds

In a watched loop: batch norms in training mode in passes that no backward followed, between passes
that were trained on. It says what weight these batches had in the running statistics.

## Why it matters

A validation in training mode measures something else than the model that will be used, since every
sample is normalized by its batch mates; and the statistics of the validation set enter the running
statistics that are saved. A pass of random numbers, to count operations or to find a shape, does so
too. With a momentum of 0.1, ten such batches are 65 % of the running statistics.

## Example

    >>> import torch
    >>> from normscope.doctor import watch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with watch(model, optimizer) as loop:
    ...     for epoch in range(2):
    ...         model(torch.randn(8, 4)).square().sum().backward()
    ...         optimizer.step()
    ...         with torch.no_grad():
    ...             _ = model(torch.randn(8, 4))
    >>> loop.diagnosis().of("NS502")[0].severity
    'warning'

## Fix

Call `model.eval()` before such passes, and afterwards put back the mode that every module had. To
have dropout at work in a prediction, put the dropout modules alone into training mode. Statistics
that were spoilt are collected anew by `normscope.recalibrate(model, loader)`.

## On purpose

Statistics collected anew with a momentum of None or 1 (`torch.optim.swa_utils.update_bn`) do not
count. A warm-up at the very end (AdaBN, averaged weights), and a pass without gradient in every
step (a generator that draws for its discriminator), are said to be info. Gradient accumulation
learns from every pass.

## Symptoms

- test accuracy depends on the batch size or on the order
- accuracy is too good to be true, model.eval() missing
- predictions for an image differ from batch to batch, as nobody called model.eval()
- somebody forgot to call model.eval(), or called model.train() in the validation loop
- results differ each time and are not deterministic: the model was left in training mode
- running statistics change during validation
- pretrained statistics change after counting FLOPs or printing a summary
- Monte Carlo dropout changes batch norm

## References

- milesial/Pytorch-UNet#31, fxia22/pointnet.pytorch#19: nobody called eval()
- floodsung/LearningToCompare_FSL#48, samet-akcay/ganomaly#83: validation in training mode
- torch/torch7#707, nelson1425/EfficientAD#13, pytorch/vision#2079: a pass that only looks
- lightning-uq-box/lightning-uq-box#173: Monte Carlo dropout
"""

from collections.abc import Iterator, Mapping

from normscope.doctor._case import Case
from normscope.doctor._counted import counted, percent
from normscope.doctor._loop_log import LayerLog, LoopLog
from normscope.doctor._rules import Found
from normscope.records import Severity

_FIX = (
    "Call model.eval() before passes that only look, and put back every module's mode afterwards; "
    "mend the statistics with normscope.recalibrate(model, loader)."
)
_BETWEEN = 0.05
"""The weight of such batches between two steps from which it counts as harm."""
_BEFORE = 0.01
"""The weight at the end, where they all came before the first step."""


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for all layers that moved where nothing was learned."""
    log, layers = case.log, case.log.seen()
    if log.steps:
        layers = {path: layer for path, layer in layers.items() if layer.groups.count}
    layers = {path: layer for path, layer in layers.items() if layer.strays.count}
    if not layers:
        return
    severity, said, weight = _judged(log, layers)
    first = next(iter(layers))
    strays = layers[first].strays
    yield Found(
        severity=severity,
        module=first,
        message=(
            f"{counted(len(layers))} moved their running statistics on batches that no backward "
            f"followed: {first!r} on {strays.count} beside {layers[first].groups.updates} that "
            f"were trained on. {said}"
        ),
        fix=_FIX,
        evidence={
            "layers": len(layers),
            "updates without backward": strays.count,
            "updates with backward": layers[first].groups.updates,
            "largest weight": weight,
            "weight at the end": strays.share,
            "moved deviations": max(layer.moved for layer in layers.values()),
        },
    )


def _judged(log: LoopLog, layers: Mapping[str, LayerLog]) -> tuple[Severity, str, float]:
    """How bad, why, and the weight of such batches."""
    strays = [layer.strays for layer in layers.values()]
    peak, share = max(s.peak for s in strays), max(s.share for s in strays)
    if any(s.between for s in strays):
        said = f"Between steps they were up to {percent(peak)} of the running statistics."
        often = all(s.blocks >= max(4, log.steps / 2) and s.count <= 2 * s.blocks for s in strays)
        skipped = all(s.alone == s.between for s in strays)
        if often:
            said += " That is so in most steps, and looks like a part of them."
        elif skipped:
            said += " They came one at a time, with gradients on, as batches do that are skipped."
        return ("info" if often or skipped or peak < _BETWEEN else "warning"), said, peak
    if any(s.before for s in strays) and not any(s.after for s in strays):
        now = f"are {percent(share, 1)} of the running statistics now"
        said = f"All came before the first step, and {now}."
        return ("warning" if share >= _BEFORE else "info"), said, share
    when = "after the last step" if log.steps else "and no optimizer made a step"
    said = f"They came {when}, and are {percent(share)} of the running statistics now."
    if log.dropout:
        return "warning", f"{said} Dropout was at work in them, so this is no adaptation.", share
    return "info", said, share
