"""The optimizer evaluates other weights than it trains, and batch norms know only the latter.

## What it finds

An optimizer with a `train()` and an `eval()` of its own, as the schedule-free ones have, beside
batch norms whose running statistics move.

## Why it matters

Such an optimizer computes gradients at one point and evaluates at another, an average. Running
statistics are collected at the first; after `optimizer.eval()` the layers are given what the
weights of the second make, which the statistics do not describe. The validation looks worse than
the model is. How much, a check with data tells, with the optimizer in its eval mode.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> class ScheduleFree(torch.optim.SGD):
    ...     def train(self): ...
    ...     def eval(self): ...
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> optimizer = ScheduleFree(model.parameters(), lr=0.1)
    >>> check(model, optimizer=optimizer).of("NS602")[0].message
    'ScheduleFree evaluates other weights than it trains; the running statistics of 1 ...'

## Fix

Before each evaluation and before saving: `optimizer.eval()`, then
`normscope.recalibrate(model, loader)` with training data. It is exact, and safe: the statistics are
those of the weights that are evaluated. Norms without running statistics need nothing.

## On purpose

Yes, as long as the statistics are taken anew before each evaluation.

## Symptoms

- schedule-free optimizer and batch norm
- validation needs warm-up forwards after optimizer.eval()
- validation loss is far above training loss with schedulefree

## References

- facebookresearch/schedule_free#60, and its README, "Caveats": about 50 forwards before evaluation
- Defazio et al. 2024, The Road Less Scheduled (arXiv 2405.15682)
"""

from collections.abc import Iterator

from normscope.anatomy import freeze_of
from normscope.doctor._case import Case
from normscope.doctor._counted import counted
from normscope.doctor._rules import Found

_FIX = (
    "Call optimizer.eval() and then normscope.recalibrate(model, loader) with training data before "
    "each evaluation and before saving."
)


def find(case: Case) -> Iterator[Found]:
    """Yield one finding if the optimizer has modes and a batch norm moves its statistics."""
    optimizer = case.optimizer
    if not all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval")):
        return
    moving = [
        path
        for path, norm in case.batch_norms.items()
        if norm.mean is not None
        and freeze_of(norm.module) is None
        and (case.training[path] or not any(case.training.values()))
    ]
    if moving:
        yield Found(
            severity="info",
            module=moving[0],
            message=(
                f"{type(optimizer).__name__} evaluates other weights than it trains; the running "
                f"statistics of {counted(len(moving))} are collected with those that it trains."
            ),
            fix=_FIX,
            evidence={"batch norms": len(moving)},
        )
