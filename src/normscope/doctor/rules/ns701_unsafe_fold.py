"""Places at which common fusers fold a batch norm wrongly, and say nothing.

## What it finds

Batch norms that `torch.fx.experimental.optimization.fuse`, or a fuser that goes by the order in
which layers are defined, would fold into a layer that is called elsewhere too, whose output goes
elsewhere too, that has hooks (weight norm), has its features on another axis, or is not the one
before it. With data it runs torch's fuse on a copy and gives the error. Also filters that are all
zero, whose norm still gives a constant.

## Why it matters

These fusers do not compare outputs. The folded model runs, and computes something else, along some
of its paths only. A channel whose filter is zero looks as if it could be taken out; the norm makes
a constant of it, beta - gamma mean / deviation, which the next layer uses.

## Example

    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> conv = nn.Conv1d(2, 2, 1)
    >>> model = nn.Sequential(conv, nn.BatchNorm1d(2), conv, nn.BatchNorm1d(2)).eval()
    >>> check(model).of("NS701")[0].evidence
    {'places': 2, "of these by torch's fuse": 2}

## Fix

`normscope.fold(model, example)` folds what can be folded, refuses the rest with the reason, and
compares outputs. A constant behind a zero filter goes into the next layer's bias before the channel
is taken out.

## On purpose

Always: nothing is wrong with such a model until somebody folds it. All findings are infos.

## Symptoms

- fused model gives different results
- accuracy drops after fuse
- output is garbage after conv bn fusion
- pruned model differs although the filters are zero

## References

- pytorch/pytorch#104593, #197539: a shared convolution; pytorch/ao#4116: linear and batch norm
- open-mmlab/mmpose#606, open-mmlab/mmcv#747: the neighbour by definition
- ultralytics/yolov3#807; Tencent/ncnn#1339: the formula
- he-y/filter-pruning-geometric-median#27, openvinotoolkit/nncf#255: zero filters
"""

import copy
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy import CallGraph, RunningNorm, in_float64, outcome_of, readable
from normscope.doctor._case import Case
from normscope.doctor._fold_places import FoldPlace, fold_places
from normscope.doctor._rules import Found
from normscope.doctor._ways import joined, listed

if TYPE_CHECKING:
    from normscope.doctor._observation import Observation
    from normscope.records import Evidence

_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Those whose weight has the output channels on axis 0."""


def find(case: Case) -> Iterator[Found]:
    """Yield at most one finding for folds that go wrong, and one for zero filters."""

    def has_positions(path: str) -> bool:
        sights = case.observation.eval_sights.of.get(path, []) if case.has_data else []
        return any(len(sight.shape) > 2 for sight in sights)

    places: list[FoldPlace] = []
    leaks: dict[str, tuple[int, float]] = {}
    for prefix, graph in case.parts.items():
        root = case.model.get_submodule(prefix)
        places += list(fold_places(prefix, graph, root, has_positions))
        leaks |= dict(_leaks(prefix, graph))
    if places:
        yield _wrong_folds(case, places)
    if leaks:
        yield _zero_filters(leaks)


def _wrong_folds(case: Case, places: list[FoldPlace]) -> Found:
    by_torch = [place for place in places if place.by_torch]
    evidence: dict[str, Evidence] = {
        "places": len(places),
        "of these by torch's fuse": len(by_torch),
    }
    cost = ""
    if by_torch and case.has_data and (error := _error_of_fuse(case.observation)) is not None:
        evidence["largest error of torch's fuse, relative"] = error
        cost = f" On a batch, outputs of torch's fuse are wrong by {error:.2g} of the largest."
    first = by_torch[0] if by_torch else places[0]
    return Found(
        severity="info",
        module=first.norm,
        message=(
            f"{'torch.fx' if by_torch else 'A fuser by order'} would fold it into "
            f"{first.producer!r} wrongly: {first.reason}. Such places: "
            f"{listed([place.norm for place in places])}.{cost}"
        ),
        fix="Fold with normscope.fold(model, example), which refuses these and compares outputs.",
        evidence=evidence,
    )


def _error_of_fuse(seen: "Observation") -> float | None:
    """The largest error of what torch's `fuse` makes of the model, relative to the largest output.

    On one spare batch; None if there is none, or it raises, which is not silent.
    """
    batch = seen.spare()
    if batch is None or batch.running is None or (right := batch.running.output) is None:
        return None
    try:
        answer = seen.forward(_fused(copy.deepcopy(seen.model)), batch.values)
    except Exception:  # noqa: BLE001 - whatever it raises, somebody who folds sees it
        return None
    folded = outcome_of(answer, batch.values).output
    if folded is None or folded.shape != right.shape or not right.numel():
        return None
    return float((folded - right).abs().max() / right.abs().max().clamp(min=1e-30))


def _fused(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what it imports there
        from torch.fx.experimental.optimization import fuse  # noqa: PLC0415 - slow to import

        return fuse(model)


def _leaks(prefix: str, graph: CallGraph) -> Iterator[tuple[str, tuple[int, float]]]:
    """By norm: how many all-zero filters are before it, and the largest constant they become."""
    for module in graph.nodes:
        producer = graph.producer(module)
        if isinstance(module, _BatchNorm) and isinstance(producer, _PLAIN):
            path = joined(prefix, graph.paths[module])
            constant = _constants(RunningNorm(path, module), producer)
            if constant is not None and constant.numel() and float(constant.abs().max()) > 1e-6:
                yield path, (constant.numel(), float(constant.abs().max()))


def _constants(norm: RunningNorm, producer: nn.Module) -> Tensor | None:
    """What the norm makes of the channels whose filters are zero; none if all of them are."""
    weight, bias = readable(producer.weight), readable(producer.bias)
    if norm.mean is None or norm.variance is None or weight is None:
        return None
    zero = (weight.flatten(1) == 0).all(dim=1)
    if weight.is_complex() or len(zero) != len(norm.mean) or zero.all():
        return None
    value = (0 if bias is None else bias) - norm.mean
    value = value / torch.sqrt(norm.variance + norm.eps)
    if norm.gamma is not None and norm.beta is not None:
        value = value * norm.gamma + norm.beta
    return in_float64(value[zero])


def _zero_filters(leaks: dict[str, tuple[int, float]]) -> Found:
    count = sum(filters for filters, _ in leaks.values())
    largest = max(value for _, value in leaks.values())
    return Found(
        severity="info",
        module=next(iter(leaks)),
        message=(
            f"All-zero filters before {listed(list(leaks))}: {count}. The norm makes constants of "
            f"them, up to {largest:.2g}, so that taking them out changes outputs."
        ),
        fix="Add the constants' effect to the next layer's bias, and set these betas to zero.",
        evidence={"zero filters": count, "largest constant": largest},
    )
