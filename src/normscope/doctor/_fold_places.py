"""Places at which fusers that are in use would fold a batch norm wrongly, and say nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from normscope.anatomy import CallGraph
from normscope.doctor._ways import joined

_TORCH_PAIRS = {
    (nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d),
    (nn.Linear, nn.BatchNorm1d),
}  # fmt: skip
"""By exact type: what `torch.fx.experimental.optimization.fuse` folds."""

_SHAPES = {"shape", "size", "dim", "ndim", "numel", "dtype", "device", "ndimension", "get_device"}


@dataclass(frozen=True)
class FoldPlace:
    """One batch norm that would be folded wrongly.

    Attributes:
        norm: its path.
        producer: the path of the layer into which it would go.
        reason: why that is wrong.
        by_torch: whether torch's own `fuse` does it; else fusers that go by the order of
            definition, as `fuse_conv_bn` of several libraries does.
    """

    norm: str
    producer: str
    reason: str
    by_torch: bool


def fold_places(
    prefix: str, graph: CallGraph, root: nn.Module, has_positions: Callable[[str], bool]
) -> Iterator[FoldPlace]:
    """Go through a call graph.

    Args:
        prefix: the path of what it is the graph of.
        graph: of that.
        root: that module.
        has_positions: whether the input of a norm, by its path in the model, is known to have more
            axes than two.
    """
    told: set[nn.Module] = set()
    for norm, producer, node in _pairs_of_torch(graph):
        path = joined(prefix, graph.paths[norm])
        wrong = (
            _objection(graph, producer)
            or (
                isinstance(producer, nn.Linear)
                and has_positions(path)
                and "its features are on the last axis, and the norm's on axis 1"
            )
            or ""
        )
        if wrong and len(node.users) == 1:  # of others, torch keeps its hands off
            yield FoldPlace(path, joined(prefix, graph.paths[producer]), wrong, by_torch=True)
            told.add(norm)
    for behind, before in _neighbours(graph, root):
        if behind not in told and (wrong := _objection_by_order(graph, behind, before)):
            norm_path, path = (joined(prefix, graph.paths[module]) for module in (behind, before))
            yield FoldPlace(norm_path, path, wrong, by_torch=False)


def _pairs_of_torch(graph: CallGraph) -> Iterator[tuple[_BatchNorm, nn.Module, Node]]:
    """The batch norms that torch's `fuse` would fold, and into what."""
    for norm in graph.nodes:
        source, producer = graph.source(norm), graph.producer(norm)
        if source is None or producer is None or not isinstance(norm, _BatchNorm):
            continue
        if (type(producer), type(norm)) in _TORCH_PAIRS and norm.track_running_stats:
            yield norm, producer, source


def _objection(graph: CallGraph, producer: nn.Module) -> str:
    """What torch's `fuse` does not ask."""
    if graph.calls[producer] > 1:
        return f"it is called at {graph.calls[producer]} sites, of which all change"
    if producer in graph.read:
        return "its weights are used by something else as well"
    if producer._forward_hooks or producer._forward_pre_hooks:  # noqa: SLF001
        return "its forward hooks (weight norm and spectral norm are such) would see other weights"
    return ""


def _objection_by_order(graph: CallGraph, norm: nn.Module, before: nn.Module) -> str:
    """What a fuser that goes by the order of definition does not ask."""
    if graph.producer(norm) is not before:
        return "it is the layer defined before it, and its input comes from another"
    source = graph.source(norm)
    users = source.users if source else ()
    if any(graph.modules.get(user) is not norm and not _asks_for_a_shape(user) for user in users):
        return "what it gives goes elsewhere as well, and would get there normalized"
    return _objection(graph, before)


def _asks_for_a_shape(node: Node) -> bool:
    """Whether a node takes of a tensor what a fold leaves as it is."""
    if node.op == "call_method":
        return node.target in _SHAPES
    return node.op == "call_function" and node.target is getattr and node.args[1] in _SHAPES


def _neighbours(graph: CallGraph, root: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Batch norms with the last convolution defined before them that no other norm took."""
    for parent in root.modules():
        last: _ConvNd | None = None
        for child in parent.children():
            if isinstance(child, _ConvNd):
                last = child
            elif isinstance(child, _BatchNorm) and last is not None:
                known = child in graph.nodes and last in graph.nodes
                if known and last.out_channels == child.num_features:
                    yield child, last
                last = None
