"""A bias that the norm layer behind it subtracts again, or one that is missing.

## What it finds

A linear map or convolution with a bias whose output goes into batch norms (in training mode) only,
or into an instance norm or a group norm with one channel per group. It counts the parameters. The
reverse as well: a map without a bias whose output goes straight into an activation.

## Why it matters

The norm subtracts each channel's mean, and with it the bias: the loss does not depend on it, its
gradient is rounding noise, and weight decay or Adam move it at random. It costs memory and
optimizer state, nothing else. A map without bias and without a norm behind it lacks an offset,
which is left over where somebody took the norm out.

## Example

    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    >>> check(model).of("NS201")[0].message
    "'0' has a bias of which the norm behind it subtracts all: 3 parameters that learn nothing."

The channels of an `nn.Linear` are its last axis, those of a norm axis 1. Without data nobody knows
whether that is one axis, and the finding says so.

## Fix

`normscope.remove_bias_before_norm(model, example)` takes it out and moves the running mean by as
much, so that outputs in eval mode stay. Safe, but checkpoints from before have entries that are
then unknown. For a missing bias: build the layer with `bias=True`.

## On purpose

Often harmless: pretrained weights may come with the bias. A batch norm that is frozen in eval mode
does not subtract it, and this rule is silent.

## Symptoms

- a bias has no gradient
- unused parameters before batch norm

## References

- milesial/Pytorch-UNet#325, 4uiiurz1/pytorch-nested-unet#39, matterport/Mask_RCNN#1455: removed
- Lightning-AI/pytorch-lightning#1551: asked for
- udacity/deep-learning-v2-pytorch#200: `bias=False` left where the norm was optional
"""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from normscope.anatomy import CallGraph
from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._ways import ACTIVATIONS, LINEAR, called, joined, listed, takers

_POSITIONAL = (nn.BatchNorm2d, nn.BatchNorm3d, _InstanceNorm)
"""Norms whose axis 1 is never the last, in which the channels of an `nn.Linear` are."""
_WHERE_TWO_AXES = ", if what nn.Linear is given here has two axes (a check with data knows)"


def find(case: Case) -> Iterator[Found]:
    """Yield at most one finding for biases too many, and one for those that are missing."""
    useless: dict[str, int] = {}
    missing: list[str] = []
    known = True
    for prefix, graph in case.parts.items():
        for path, linear, users in _maps(graph):
            bias: object = linear.bias
            if isinstance(bias, Tensor):
                if not is_lazy(bias) and all(
                    _subtracts(case, graph, prefix, user, linear) for user in users
                ):
                    useless[joined(prefix, path)] = bias.numel()
                    known = known and _is_known(case, graph, prefix, users, linear)
            elif case.norms and all(called(graph, user) in ACTIVATIONS for user in users):
                missing.append(joined(prefix, path))
    if useless:
        yield _too_many(useless, "" if known else _WHERE_TWO_AXES)
    if missing:
        yield _too_few(missing)


def _too_many(useless: dict[str, int], where: str) -> Found:
    count = sum(useless.values())
    has = "has a bias" if len(useless) == 1 else "have biases"
    behind = "the norm behind it subtracts" if len(useless) == 1 else "the norms behind subtract"
    return Found(
        severity="info",
        module=next(iter(useless)),
        message=(
            f"{listed(useless)} {has} of which {behind} all{where}: {count} parameters that learn "
            "nothing."
        ),
        fix=(
            "normscope.remove_bias_before_norm(model, example) takes them out; outputs in eval "
            "mode stay."
        ),
        evidence={"layers": len(useless), "parameters": count},
    )


def _too_few(missing: list[str]) -> Found:
    has = "has no bias, and its output goes" if len(missing) == 1 else "have no bias and go"
    return Found(
        severity="info",
        module=missing[0],
        message=(
            f"{listed(missing)} {has} straight into an activation, without a norm that adds one."
        ),
        fix="Build such layers with bias=True, unless that is meant.",
        evidence={"layers": len(missing)},
    )


def _maps(graph: CallGraph) -> Iterator[tuple[str, nn.Module, list[Node]]]:
    """Linear maps that nothing else looks at, each with all that take its output."""
    for linear in dict.fromkeys(graph.modules.values()):
        nodes = [node for node, module in graph.modules.items() if module is linear]
        users = [user for node in nodes for user in takers(graph, node)]
        watched = linear._forward_hooks or linear in graph.read  # noqa: SLF001
        everywhere = graph.calls[linear] == len(nodes)
        if isinstance(linear, LINEAR) and users and everywhere and not watched:
            yield graph.paths[linear], linear, users


def _subtracts(case: Case, graph: CallGraph, prefix: str, node: Node, linear: nn.Module) -> bool:
    """Whether a node is a norm that subtracts the mean of each of these channels."""
    norm = graph.modules.get(node)
    path = _path(graph, prefix, node)
    plain = isinstance(linear, nn.Linear)
    channels = linear.out_features if plain else linear.out_channels
    if plain and (isinstance(norm, _POSITIONAL) or _axes_seen(case, path) > 2):
        return False  # the channels of a linear map are last, those of the norm are axis 1
    if isinstance(norm, nn.GroupNorm):
        return norm.num_groups == norm.num_channels == channels
    if isinstance(norm, _NormBase) and norm.num_features == channels:
        stored = norm.running_mean is not None
        return not stored or case.training.get(path, norm.training)
    return False


def _is_known(
    case: Case, graph: CallGraph, prefix: str, users: list[Node], linear: nn.Module
) -> bool:
    """Whether its channels are the norms', and not only as many as these have."""
    seen = all(_axes_seen(case, _path(graph, prefix, user)) for user in users)
    return seen or not isinstance(linear, nn.Linear)


def _path(graph: CallGraph, prefix: str, node: Node) -> str:
    """Of the module that a node calls; empty if it calls none."""
    module = graph.modules.get(node)
    return "" if module is None else joined(prefix, graph.paths[module])


def _axes_seen(case: Case, path: str) -> int:
    """How many axes a norm's input had, at most; 0 without data."""
    sights = case.observation.eval_sights.of.get(path, []) if case.has_data else []
    return max((len(sight.shape) for sight in sights), default=0)
