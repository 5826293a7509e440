"""A norm over a single number, whose output is a constant, or over the wrong axis.

## What it finds

Layer and group norms that have one number to normalize: by their settings (`LayerNorm(1)`), or as
data show (a group norm with one channel per group on vectors, or on maps of one pixel). And batch
norms whose input has its features on the last axis, as a
linear or recurrent layer gives them, while they normalize axis 1: of `[N, L, C]` the positions.

## Why it matters

One number minus its mean is zero: the output is beta whatever the input is, and nothing before the
layer learns; torch raises for batch and instance norms only. On the wrong axis nothing
raises as long as the sizes agree: each position is normalized over rows and features, and features
keep their means and scales.

## Example

    >>> import torch
    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.GroupNorm(4, 4))
    >>> check(model, [torch.randn(8, 2)]).of("NS405")[0].message
    'GroupNorm normalizes one number at a time (input [8, 4]): its output is the constant beta.'

## Fix

Fewer groups, or a layer norm, in the place of a norm over one number. On the wrong axis: transpose
before and after it, `norm(x.transpose(1, 2)).transpose(1, 2)`. Either way train again.

## On purpose

Normalizing positions over features can be meant. It is a warning only where features are measured
to keep their own means, and an info where the sizes of the two axes differ, since somebody then
chose the size of the positions.

## Symptoms

- output is constant after replacing batch norm by group norm
- output is all zeros, nothing learns
- expected more than 1 spatial element
- accuracy depends on the length of the sequence

## References

- meta-pytorch/opacus#567; pytorch/pytorch#19250, #45687; liufeng2915/CFSM#4
- xieyulai/LSTM-for-Human-Activity-Recognition-using-2D-Pose_Pytorch#2; pytorch/pytorch#71366
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from normscope.anatomy import CallGraph, in_float64, normalizing_by_batch
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._counted import percent
from normscope.doctor._observation import Observation
from normscope.doctor._rules import Found
from normscope.doctor._sights import NORM_CLASSES
from normscope.doctor._ways import ELEMENTWISE, called, joined, upstream
from normscope.stats import Moments

_KEPT = 0.2
"""Share of the deviation that is differences between features: what is left over."""


def find(case: Case) -> Iterator[Found]:
    """Yield a finding for each norm over one number, and for each batch norm over positions."""
    for path, module in case.model.named_modules():
        if isinstance(module, NORM_CLASSES):
            shapes = _shapes(case, path)
            if _is_constant(module, shapes):
                yield _constant(path, module, shapes)
            elif isinstance(module, _BatchNorm) and shapes and len(shapes[0]) > 2:
                features = _features_before(case, path)
                if features is not None and features == shapes[0][-1]:
                    yield _over_positions(case.observation, path, module, shapes[0])


def _shapes(case: Case, path: str) -> list[tuple[int, ...]]:
    if not case.has_data:
        return []
    return [sight.shape for sight in case.observation.eval_sights.of.get(path, [])]


def _is_constant(norm: nn.Module, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether it has one number to normalize, always."""
    if isinstance(norm, nn.LayerNorm | nn.RMSNorm):
        return math.prod(norm.normalized_shape) == 1
    if isinstance(norm, nn.GroupNorm):
        each = norm.num_channels // norm.num_groups
        return bool(shapes) and all(each * math.prod(shape[2:]) == 1 for shape in shapes)
    if isinstance(norm, _InstanceNorm):
        return bool(shapes) and all(math.prod(shape[2:]) == 1 for shape in shapes)
    return False


def _constant(path: str, norm: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Found:
    given = f"input {list(shapes[0])}" if shapes else "by its settings"
    becomes = (
        "torch raises"
        if isinstance(norm, _InstanceNorm)
        else "only its sign is left, times gamma"
        if isinstance(norm, nn.RMSNorm)
        else "its output is the constant beta"
        if getattr(norm, "weight", None) is not None
        else "its output is zero"
    )
    return Found(
        severity="error",
        module=path,
        message=(f"{type(norm).__name__} normalizes one number at a time ({given}): {becomes}."),
        fix="Use fewer groups, or normalize over an axis that has more than one number.",
        evidence={"numbers per mean": 1, "inputs seen": len(shapes)},
    )


def _features_before(case: Case, path: str) -> int | None:
    """How many features the layer before a norm gives, on the last axis, if it is such a layer."""
    modules = dict(case.model.named_modules())
    for prefix, graph in _graphs(case).items():
        for norm, node in graph.nodes.items():
            if joined(prefix, graph.paths[norm]) == path:

                def through(near: Node, graph: CallGraph = graph) -> bool:
                    return called(graph, near) in ELEMENTWISE | {"getitem"}

                near = (graph.modules.get(before) for before in upstream(node, through))
                if (found := next(filter(None, map(_features, near)), None)) is not None:
                    return found
    produced = case.observation.eval_sights.produced.get(path)
    return None if produced is None else _features(modules[produced])


def _graphs(case: Case) -> dict[str, CallGraph]:
    try:
        return case.parts
    except UnknownError:
        return {}


def _features(module: nn.Module | None) -> int | None:
    if isinstance(module, nn.Linear | nn.Bilinear):
        return module.out_features
    if isinstance(module, nn.RNNBase):
        width = module.proj_size or module.hidden_size
        return width * (2 if module.bidirectional else 1)
    if isinstance(module, nn.Embedding):
        return module.embedding_dim
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return module.normalized_shape[-1]
    return None


def _over_positions(
    seen: Observation, path: str, norm: _BatchNorm, shape: tuple[int, ...]
) -> Found:
    kept = _kept_by_features(seen, norm) if shape[1] == shape[-1] else None
    told = (
        ""
        if kept is None
        else f" Differences between the means of features make up {percent(kept)} of the "
        "deviation of its output, and would be gone."
    )
    return Found(
        severity="warning" if kept is not None and kept > _KEPT else "info",
        module=path,
        message=(
            f"{type(norm).__name__} normalizes axis 1 of its input {list(shape)}; the layer before "
            f"it gives features on the last axis, so that these are positions.{told}"
        ),
        fix="Transpose before and after it: norm(x.transpose(1, -1)).transpose(1, -1).",
        evidence={
            "positions": shape[1],
            "features": shape[-1],
            **({} if kept is None else {"deviation between features": kept}),
        },
    )


def _kept_by_features(seen: Observation, norm: _BatchNorm) -> float | None:
    """The deviation of the features' means in the norm's output, in deviations of that output.

    From one spare batch, with batch statistics. A norm over the features would leave gamma and beta
    only, and these are of the positions here: 0.
    """
    outputs: list[Moments] = []

    @contextmanager
    def watching() -> Iterator[None]:
        def note(_: nn.Module, __: Any, output: Tensor) -> None:
            wide = in_float64(output.detach())
            outputs.append(Moments.of(wide, list(range(wide.ndim - 1))))

        with normalizing_by_batch(list(seen.norms.values())):
            handle = norm.register_forward_hook(note)
            try:
                yield
            finally:
                handle.remove()

    if (batch := seen.spare()) is None:
        return None
    seen.again(batch, watching())
    if not outputs:
        return None
    between = outputs[0].mean.var(correction=0)
    whole = between + outputs[0].population_variance.mean()
    return float((between / whole).sqrt()) if whole > 0 else None
