"""Where a model has a linear map with a batch norm behind it, and where folding would be wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from normscope._errors import InputError
from normscope.anatomy import CallGraph
from normscope.nn import ScaledLinear
from normscope.surgery._folded_weights import FOLDABLE_NORMS, OUTPUT_AXES, folded, scaled

_PER_EXAMPLE = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Sites:
    """What can be folded in a model, and what cannot.

    Attributes:
        pairs: a batch norm's path, and the path of the linear map that takes it in.
        scales: paths of the `ScaledLinear` layers without one whose scale can go into the weights.
        left: paths of the norm layers (and scales) that stay, each with the reason.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    scales: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def find_sites(
    model: nn.Module, row: list[nn.Module] | None, axes: Mapping[nn.Module, int]
) -> Sites:
    """Look for everything that `fold` folds.

    Args:
        model: any model that `torch.fx` can trace.
        row: the modules that it applies one after another, if it is as simple as that.
        axes: of the example's way through the model: how many axes each linear map's output has.

    Raises:
        InputError: if the model cannot be traced.
    """
    graph = _graph_of(model, row)
    sites = Sites()
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            reason = _objection_to_norm(graph, module, axes)
            if reason is None:
                producer = graph.producer(module)
                assert producer is not None
                sites.pairs[path] = graph.paths[producer]
            else:
                sites.left[path] = reason
        elif isinstance(module, _PER_EXAMPLE):
            sites.left[path] = (
                "it has no running statistics: every example is normalized by its own"
            )
    absorbed = set(sites.pairs.values())
    for path, module in model.named_modules():
        if type(module) is ScaledLinear and path not in absorbed:
            reason = graph.objection_to(module)
            if reason is None and not scaled(module).is_finite():
                reason = "its weights are not finite"
            if reason is None:
                sites.scales.append(path)
            else:
                sites.left[path] = reason
    return sites


def _graph_of(model: nn.Module, row: list[nn.Module] | None) -> CallGraph:
    """What is called where.

    Raises:
        InputError: if torch.fx cannot tell.
    """
    try:
        return CallGraph.of(model, row=row, leaves=tuple(OUTPUT_AXES))
    except InputError as error:
        msg = f"{error}. Fold the parts that are plain modules."
        raise InputError(msg) from error.__cause__


def _objection_to_norm(
    graph: CallGraph, norm: _BatchNorm, axes: Mapping[nn.Module, int]
) -> str | None:
    """Why this batch norm cannot be folded, if so."""
    return next(_objections_to_norm(graph, norm, axes), None)


def _objections_to_norm(
    graph: CallGraph, norm: _BatchNorm, axes: Mapping[nn.Module, int]
) -> Iterator[str]:
    name = type(norm).__name__
    if parametrize.type_before_parametrizations(norm) not in FOLDABLE_NORMS:
        yield f"{name} is a class of its own, which may compute something else"
    if norm.training:
        yield "it is in training mode, where each batch is normalized by its own: call eval()"
    if norm.running_mean is None or norm.running_var is None:
        yield "it has no running statistics, so that each batch is normalized by its own"
    elif not (norm.running_mean.isfinite().all() and norm.running_var.isfinite().all()):
        yield "its running statistics are not finite: recalibrate the model first"
    if reason := graph.objection_to(norm):
        yield reason
    source, linear = graph.source(norm), graph.producer(norm)
    kind = None if linear is None else parametrize.type_before_parametrizations(linear)
    if source is None or linear is None or kind not in OUTPUT_AXES:
        yield f"its input comes from {graph.name(source)}, into which it cannot be folded"
        return
    where = f"its input comes from {graph.paths[linear]!r}"
    if reason := graph.objection_to(linear):
        yield f"{where}, and {reason} there"
    if len(source.users) > 1:
        yield f"{where}, whose output is used elsewhere as well"
    if (reached := axes.get(linear)) != OUTPUT_AXES[type(linear)]:
        yield (
            f"{where}, whose output has {reached} axes; axis 1, by which {name} normalizes, "
            f"is its channels only if there are {OUTPUT_AXES[type(linear)]}"
        )
    if not folded(linear, norm).is_finite():
        yield f"{where}; the folded weights would not be finite in {linear.weight.dtype}"
