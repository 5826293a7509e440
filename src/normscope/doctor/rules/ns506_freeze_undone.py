"""Batch norms that were frozen, and train again because of a later `train()`.

## What it finds

In a watched loop: batch norms that were in eval mode while the model was in training mode, and that
later steps find in training mode, although nobody asked their parameters for gradients anew.

## Why it matters

`model.train()` reaches every module. Loops call it at the start of every epoch and after every
validation, and it undoes a freeze that was done once: the pretrained statistics are gone after a
few dozen batches, and small batches, which may have been the reason to freeze, decide again.

## Example

    >>> import torch
    >>> from normscope.doctor import watch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    >>> _ = model[1].eval()  # frozen, once
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with watch(model, optimizer) as loop:
    ...     _ = model.train()
    ...     model(torch.randn(8, 4)).square().sum().backward()
    ...     optimizer.step()
    >>> loop.diagnosis().of("NS506")[0].module
    '1'

## Fix

`normscope.freeze(model)` keeps batch norms in eval mode whoever calls `train()`. Load the running
statistics of the checkpoint again, or collect them anew: `normscope.recalibrate(model, loader)`.

## On purpose

Gradual unfreezing asks the parameters for gradients again, and is silent. To unfreeze by the mode
alone: suppress it with that reason.

## Symptoms

- frozen batch norm is training again after an epoch
- model.train() undoes eval() of batch norm
- freeze_bn has no effect

## References

- pytorch/pytorch#66073: a mode that `train()` does not reach is asked for
- ContinualAI/avalanche#772, jfzhang95/pytorch-deeplab-xception#140
"""

from collections.abc import Iterator

from normscope.doctor._case import Case
from normscope.doctor._counted import counted
from normscope.doctor._rules import Found


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for all layers whose freeze was undone."""
    stepped = case.log.stepped()
    layers = {path: layer for path, layer in stepped.items() if layer.modes.thawed}
    if not layers:
        return
    first, layer = next(iter(layers.items()))
    worst = max(layers, key=lambda path: layers[path].moved)
    yield Found(
        severity="warning",
        module=first,
        message=(
            f"{counted(len(layers))} had been frozen in eval mode and trained again in "
            f"{layer.modes.thawed} of {case.log.steps} steps; running means moved by up to "
            f"{layers[worst].moved:.2g} deviations ({worst!r})."
        ),
        fix=(
            "Freeze so that model.train() does not undo it: normscope.freeze(model); and load the "
            "statistics of the checkpoint again."
        ),
        evidence={
            "layers": len(layers),
            "steps": layer.modes.thawed,
            "moved deviations": layers[worst].moved,
        },
    )
