"""Training that goes on in eval mode, because nobody called `train()` again.

## What it finds

In a watched loop: steps of the optimizer whose passes had the whole model in eval mode, after steps
in training mode.

## Why it matters

A validation calls `eval()`, and the next epoch trains what it left: batch norms normalize by their
running statistics and no longer move them, dropout is off. Nothing raises; the model overfits, or
diverges where the statistics fall behind the weights.

## Example

    >>> import torch
    >>> from normscope.doctor import watch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with watch(model, optimizer) as loop:
    ...     for epoch in range(3):
    ...         model(torch.randn(8, 4)).square().sum().backward()
    ...         optimizer.step()
    ...         _ = model.eval()  # to validate
    >>> loop.diagnosis().of("NS505")[0].message
    'From step 2 on, 2 of 3 steps were made with the model in eval mode ...'

## Fix

Call `model.train()` at the start of every epoch; layers that are frozen by `normscope.freeze` stay
in eval mode. A validation that puts back every module's mode needs no call at all.

## On purpose

Batch norms in eval mode inside a model in training mode are frozen on purpose, and a loop that is
in eval mode from its first step on may be: both are silent. To end a training with the whole model
in eval mode is rare; suppress it with that reason.

## Symptoms

- from the second epoch on the model trains in eval mode
- running statistics stop changing after the first validation
- dropout has no effect after the first epoch
- training gets worse after validation

## References

- pytorch/tutorials#1624, #1602: the quickstart shipped it
- wkentaro/pytorch-fcn#56, KaiyuanZh/FLIP#6
"""

from collections.abc import Iterator

from normscope.doctor._case import Case
from normscope.doctor._counted import counted
from normscope.doctor._rules import Found


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for all layers that steps were made without."""
    layers = {
        path: layer.modes
        for path, layer in case.log.stepped().items()
        if layer.modes.eval_after_training
    }
    if not layers:
        return
    first, modes = next(iter(layers.items()))
    steps = modes.training + modes.eval + modes.frozen
    yield Found(
        severity="warning",
        module=first,
        message=(
            f"From step {modes.first_eval + 1} on, {modes.eval_after_training} of {steps} steps "
            f"were made with the model in eval mode ({counted(len(layers))}), after "
            f"{modes.training} in training mode."
        ),
        fix=(
            "Call model.train() after each validation; or put back the modes that the modules had "
            "before it."
        ),
        evidence={
            "layers": len(layers),
            "steps in eval mode": modes.eval_after_training,
            "steps in training mode": modes.training,
            "first step in eval mode": modes.first_eval,
        },
    )
