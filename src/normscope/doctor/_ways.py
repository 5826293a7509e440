"""Ways through a call graph, by which rules tell what is before and behind a norm layer."""

from collections.abc import Callable, Collection, Iterator

from torch import nn
from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from normscope._errors import InputError
from normscope.anatomy import CallGraph
from normscope.doctor._sights import NORM_CLASSES

LINEAR = (nn.Linear, _ConvNd)
"""The modules that rules call linear maps."""

ACTIVATIONS = {
    "relu", "relu6", "leakyrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "sigmoid",
    "hardswish", "hardsigmoid", "hardtanh", "softplus", "softsign", "prelu", "rrelu", "logsigmoid",
}  # fmt: skip
ELEMENTWISE = ACTIVATIONS | {
    "add", "iadd", "sub", "isub", "mul", "imul", "truediv", "div", "identity", "dropout", "clone",
    "contiguous", "clamp",
}  # fmt: skip
"""What keeps every number where it is, by the names that `called` gives."""


def called(graph: CallGraph, node: Node) -> str:
    """What a node calls, alike for a module, a function and a method: ``"leakyrelu"``."""
    module = graph.modules.get(node)
    name = (
        getattr(node.target, "__name__", node.target) if module is None else type(module).__name__
    )
    return str(name).replace("_", "").lower()


def upstream(node: Node, through: Callable[[Node], bool]) -> Iterator[Node]:
    """The nodes before a node, nearest first; what is before one of them if it lets through."""
    waiting, seen = list(node.all_input_nodes), set[Node]()
    while waiting:
        near = waiting.pop(0)
        if near in seen:
            continue
        seen.add(near)
        yield near
        if through(near):
            waiting += near.all_input_nodes


def takers(graph: CallGraph, node: Node) -> Iterator[Node]:
    """The nodes that use a node's value, looking through identities."""
    for user in node.users:
        if type(graph.modules.get(user)) is nn.Identity:
            yield from takers(graph, user)
        else:
            yield user


def listed(paths: Collection[str], most: int = 3) -> str:
    """A few of them, and how many more there are.

    Example:
        >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
        ("'a', 'b'", "'a', 'b', 'c' and 2 more")
    """
    shown = ", ".join(repr(path) for path in list(paths)[:most])
    more = len(paths) - most
    return f"{shown} and {more} more" if more > 0 else shown


def joined(prefix: str, path: str) -> str:
    """The path in the model of a module of one of its parts."""
    return ".".join(filter(None, (prefix, path)))


def graphs_of_parts(model: nn.Module, prefix: str = "") -> dict[str, CallGraph]:
    """The call graphs of the largest modules within a model that torch.fx can follow, by path.

    Only of those that have a norm layer inside.
    """
    graphs: dict[str, CallGraph] = {}
    for name, child in model.named_children():
        if not any(isinstance(module, NORM_CLASSES) for module in list(child.modules())[1:]):
            continue
        path = joined(prefix, name)
        try:
            graphs[path] = CallGraph.of(child)
        except InputError:
            graphs |= graphs_of_parts(child, path)
    return graphs
