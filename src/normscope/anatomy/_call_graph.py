"""What a model calls, and what goes where, as `torch.fx` sees it."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn
from torch.fx import Graph, Node, Tracer
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from normscope._errors import InputError


@dataclass(frozen=True)
class CallGraph:
    """A traced model: what is called where.

    Attributes:
        graph: as torch.fx traced it.
        paths: of every module.
        nodes: the call of every module that is called by itself; the last, if there are several.
        modules: the module that a node calls.
        calls: how often a module is called, also by a module that is not looked into.
        read: modules whose parameters or buffers are used by something else.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        >>> graph = CallGraph.of(model)
        >>> graph.paths[graph.producer(model[1])]
        '0'
    """

    graph: Graph
    paths: dict[nn.Module, str]
    nodes: dict[nn.Module, Node]
    modules: dict[Node, nn.Module]
    calls: Counter[nn.Module]
    read: set[nn.Module]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        row: list[nn.Module] | None = None,
        leaves: Collection[type[nn.Module]] = (),
    ) -> "CallGraph":
        """Trace a model, in the mode that it is in.

        Args:
            model: any that torch.fx can trace.
            row: the modules that it applies one after another, if it is as simple as that.
            leaves: classes into which nobody has to look, besides torch's own and batch norms.

        Raises:
            InputError: if torch.fx cannot tell.
        """
        root = model if row is None else nn.Sequential(*row)
        graph = _trace(root, leaves)
        modules = {
            node: root.get_submodule(str(node.target))
            for node in graph.nodes
            if node.op == "call_module"
        }
        owners = {
            root.get_submodule(str(node.target).rpartition(".")[0])
            for node in graph.nodes
            if node.op == "get_attr"
        }
        return cls(
            graph=graph,
            paths={module: path for path, module in model.named_modules()},
            nodes={module: node for node, module in modules.items()},
            modules=modules,
            calls=Counter(inner for called in modules.values() for inner in called.modules()),
            read=owners,
        )

    def source(self, module: nn.Module) -> Node | None:
        """The node whose value `module` is called with."""
        node = self.nodes.get(module)
        if node is None:
            return None
        value = node.args[0] if node.args else node.kwargs.get("input")
        return value if isinstance(value, Node) else None

    def producer(self, module: nn.Module) -> nn.Module | None:
        """The module whose output goes into `module`, if it comes from one."""
        source = self.source(module)
        return None if source is None else self.modules.get(source)

    def objection_to(self, module: nn.Module) -> str | None:
        """Why a module cannot be touched, whatever it computes."""
        if module._forward_hooks or module._forward_pre_hooks:  # noqa: SLF001
            return "it has forward hooks, which would see something else"
        if module._backward_hooks or module._backward_pre_hooks:  # noqa: SLF001
            return "it has backward hooks, which would see something else"
        if parametrize.is_parametrized(module):
            return "it is parametrized; remove that first (torch.nn.utils.parametrize)"
        if module not in self.nodes:
            return "it is not called by itself in the forward that torch.fx traced"
        if self.calls[module] > 1:
            return f"it is called at {self.calls[module]} sites"
        if module in self.read:
            return "its parameters or buffers are used by themselves as well"
        return None

    def name(self, node: Node | None) -> str:
        """A node in words."""
        if node is None or node.op == "placeholder":
            return "the model's input"
        module = self.modules.get(node)
        if module is None:
            return str(getattr(node.target, "__name__", node.target))
        kind = type(module).__name__
        return f"{self.paths[module]!r} ({kind})" if module in self.paths else f"a {kind}"


class _LeafTracer(Tracer):
    """Looks into every module but torch's own, leaves, and those whose hooks it would set off."""

    def __init__(self, leaves: Collection[type[nn.Module]]) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of `m` is one node."""
        known = type(m) in self._leaves or isinstance(m, _BatchNorm)
        hooked = bool(m._forward_hooks or m._forward_pre_hooks)  # noqa: SLF001
        opaque = known or hooked or parametrize.is_parametrized(m)
        return opaque or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module, leaves: Collection[type[nn.Module]]) -> Graph:
    """What the model calls.

    Raises:
        InputError: if torch.fx cannot tell.
    """
    try:
        return _LeafTracer(leaves).trace(model)
    except Exception as error:  # the user's own code runs here, on stand-ins for tensors
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        msg = (
            f"{type(model).__name__}: torch.fx cannot follow its forward ({first_line}), so that "
            "nothing is known of what goes where"
        )
        raise InputError(msg) from error
