"""Batch norms whose statistics move in a part of the model that is frozen.

## What it finds

Batch norms in training mode that move their running statistics, while neither their own parameters
nor the nearest weights before them ask for a gradient. After a watched loop it says how far the
statistics moved although the weights stayed.

## Why it matters

``requires_grad = False`` stops the optimizer and nothing else: in training mode a batch norm still
normalizes by the batch and moves its running statistics. A backbone that is meant to be frozen
computes something else after every batch, and features that were saved before no longer fit.

## Example

    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).requires_grad_(False)
    >>> check(nn.Sequential(backbone, nn.Linear(8, 2))).of("NS501")[0].message
    'A part that is frozen has 1 batch norm in training mode (of 1): neither the parameters ...'

It sees as well what asks for gradients and is left out by the optimizer (info: another optimizer
may hold it), and, with a training loop, what stood still while its statistics moved (a backbone
that is called under `no_grad`).

## Fix

`normscope.freeze(model, "backbone")` puts them into eval mode, and keeps them there when somebody
calls `model.train()`. It is safe for what the model answers in eval mode; a head that was trained
on batch statistics should be trained a little further. If the statistics have moved already, load
those of the checkpoint again.

## On purpose

Adapting statistics to another domain (AdaBN), where nothing in the model trains; momentum encoders
and mean teachers (MoCo, BYOL) beside the twin that they follow: these are said to be info. A
discriminator while only the generator trains is frozen for a moment: look at the model in between.

## Symptoms

- frozen backbone changes during training
- frozen layers still change
- requires_grad=False but running_mean and running_var still change
- linear probe results are not reproducible
- freezing layers does not freeze batch norm
- teacher outputs drift during distillation

## References

- pytorch/pytorch#86590: "people don't know that their feature extractor is not entirely frozen"
- kdexd/virtex#16, chemprop/chemprop#952, isht7/pytorch-deeplab-resnet#39
- facebookresearch/unbiased-teacher#47, jbwang1997/CrossKD#13: a teacher in training mode
- Lightning-AI/pytorch-lightning#13902, #14277: `train_bn=False` is not passed on
"""

from collections.abc import Collection, Iterator, Sequence

from torch import nn

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._counted import counted
from normscope.doctor._frozen_parts import FrozenParts, weights_before
from normscope.doctor._rules import Found

_FEW = 3
"""Paths in a call that can still be read."""


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for the frozen layers that have no twin, and one for those that have."""
    parameters = list(case.model.parameters())
    moving = {path: norm for path, norm in case.batch_norms.items() if _moves(case, norm)}
    if not moving or not parameters:
        return
    if not any(parameter.requires_grad for parameter in parameters):
        yield _found(case, moving, "info", "no parameter of the model asks for a gradient")
        return
    parts = FrozenParts(case.model)
    frozen = {path: norm for path, norm in moving.items() if parts.holds(path, norm.module)}
    yield from _not_trained(case, {p: norm for p, norm in moving.items() if p not in frozen})
    twins = {path: norm for path, norm in frozen.items() if parts.has_trainable_twin(path)}
    if alone := {path: norm for path, norm in frozen.items() if path not in twins}:
        said = "neither the parameters nor the weights before them ask for a gradient"
        yield _found(case, alone, "warning", said)
    if twins:
        said = "on purpose, perhaps, as the model has a trainable part of the same shapes"
        yield _found(case, twins, "info", said)


def _not_trained(case: Case, moving: dict[str, RunningNorm]) -> Iterator[Found]:
    """Layers whose parameters may learn, and do not: the loop or the optimizer leaves them out."""
    if case.has_log:
        before = weights_before(case.model)
        still = {
            path: norm
            for path, norm in moving.items()
            if _stood_still(case, path)
            and (before[path] is not None or any(norm.module.parameters(recurse=False)))
        }
        if still and case.log.learned:  # a model that nobody trains adapts its statistics
            said = "steps were made, and neither its parameters nor the weights before it changed"
            yield _found(case, still, "warning", said)
        return
    if not case.has_optimizer:
        return
    held = {id(p) for group in case.optimizer.param_groups for p in group["params"]}
    parts = FrozenParts(case.model, trained=held)
    omitted = {p: norm for p, norm in moving.items() if parts.holds(p, norm.module)}
    if omitted and held & {id(p) for p in case.model.parameters()}:
        said = "the optimizer holds neither the parameters nor the weights before them"
        yield _found(case, omitted, "info", said)


def _stood_still(case: Case, path: str) -> bool:
    layer = case.log.layers.get(path)
    return layer is not None and layer.updates > 0 and case.log.steps > 0


def _moves(case: Case, norm: RunningNorm) -> bool:
    """Whether a call moves the statistics, or calls in the loop did."""
    if case.has_log and (layer := case.log.layers.get(norm.path)) and layer.updates:
        return not layer.weights_moved
    module = norm.module
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001
    tracks = module.track_running_stats and module.running_mean is not None
    return tracks and case.training.get(norm.path, False)


def _found(case: Case, norms: dict[str, RunningNorm], severity: str, said: str) -> Found:
    first, *_ = norms
    momentum = norms[first].momentum
    per_batch = "a cumulative average" if momentum is None else f"{momentum:.3g} with every batch"
    evidence: dict[str, int | float | str] = {
        "layers": len(norms),
        "batch norms": len(case.batch_norms),
        "momentum": "cumulative" if momentum is None else momentum,
    }
    moved = ""
    layers = case.log.layers if case.has_log else {}
    if watched := {p: layers[p].moved for p in norms if p in layers and layers[p].updates}:
        worst = max(watched, key=lambda path: watched[path])
        evidence |= {"moved deviations": watched[worst], "updates": layers[worst].updates}
        moved = (
            f" In the loop their running means moved by up to {watched[worst]:.2g} deviations "
            f"({worst!r}) in {layers[worst].updates} updates, and their weights did not."
        )
    return Found(
        severity="warning" if severity == "warning" else "info",
        module=first,
        message=(
            f"A part that is frozen has {counted(len(norms))} in training mode (of "
            f"{len(case.batch_norms)}): {said}. Running statistics move by {per_batch}.{moved}"
        ),
        fix=(
            "Put them into eval mode and keep them there: normscope.freeze("
            f"{_arguments(list(norms), case.batch_norms)})."
        ),
        evidence=evidence,
    )


def _arguments(frozen: Sequence[str], norms: Collection[str]) -> str:
    """What `freeze` is called with: the largest parts all of whose batch norms are meant.

    Example:
        >>> _arguments(["net.0.1", "net.0.4"], ["net.0.1", "net.0.4", "net.1.1"])
        'model, "net.0"'
        >>> _arguments(["net.0.1", "net.1.1"], ["net.0.1", "net.0.4", "net.1.1"])
        'model, ["net.0.1", "net.1"]'
    """
    parts = list(dict.fromkeys(_largest(path, frozen, norms) for path in frozen))
    if len(parts) == 1:
        return f'model, "{parts[0]}"' if parts[0] else "model"
    if len(frozen) == len(norms):
        return "model"
    more = ", ..." * (len(parts) > _FEW)
    named = ", ".join(f'"{part}"' for part in parts[:_FEW])
    return f"model, [{named}{more}]"


def _largest(path: str, frozen: Collection[str], norms: Collection[str]) -> str:
    names = path.split(".")
    for depth in range(1, len(names)):
        part = ".".join(names[:depth])
        if all(norm in frozen for norm in norms if norm.startswith(f"{part}.")):
            return part
    return path
