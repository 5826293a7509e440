"""Where a model has a linear map with a batch norm behind it, and where folding would be wrong."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.fx import Graph, Node, Tracer
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from normscope._errors import InputError
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
    map_ = _Map.of(model, row)
    sites = Sites()
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            reason = map_.objection_to_norm(module, axes)
            if reason is None:
                sites.pairs[path] = map_.paths[map_.producer(module)]
            else:
                sites.left[path] = reason
        elif isinstance(module, _PER_EXAMPLE):
            sites.left[path] = (
                "it has no running statistics: every example is normalized by its own"
            )
    absorbed = set(sites.pairs.values())
    for path, module in model.named_modules():
        if type(module) is ScaledLinear and path not in absorbed:
            reason = map_.objection_to(module)
            if reason is None and not scaled(module).is_finite():
                reason = "its weights are not finite"
            if reason is None:
                sites.scales.append(path)
            else:
                sites.left[path] = reason
    return sites


@dataclass(frozen=True)
class _Map:
    """A traced model: what is called where.

    Attributes:
        paths: of every module.
        nodes: the call of every module that is called by itself.
        modules: the module that a node calls.
        calls: how often a module is called, also by a module that is not looked into.
        read: modules whose parameters or buffers are used by something else.
    """

    paths: dict[nn.Module, str]
    nodes: dict[nn.Module, Node]
    modules: dict[Node, nn.Module]
    calls: Counter[nn.Module]
    read: set[nn.Module]

    @classmethod
    def of(cls, model: nn.Module, row: list[nn.Module] | None) -> "_Map":
        root = model if row is None else nn.Sequential(*row)
        graph = _trace(root)
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
            paths={module: path for path, module in model.named_modules()},
            nodes={module: node for node, module in modules.items()},
            modules=modules,
            calls=Counter(inner for called in modules.values() for inner in called.modules()),
            read=owners,
        )

    def producer(self, norm: nn.Module) -> nn.Module:
        """The module whose output goes into `norm`."""
        source = _input(self.nodes[norm])
        assert source is not None
        return self.modules[source]

    def objection_to_norm(self, norm: _BatchNorm, axes: Mapping[nn.Module, int]) -> str | None:
        """Why this batch norm cannot be folded, if so."""
        return next(self._objections_to_norm(norm, axes), None)

    def _objections_to_norm(self, norm: _BatchNorm, axes: Mapping[nn.Module, int]) -> Iterator[str]:
        name = type(norm).__name__
        if parametrize.type_before_parametrizations(norm) not in FOLDABLE_NORMS:
            yield f"{name} is a class of its own, which may compute something else"
        if norm.training:
            yield "it is in training mode, where each batch is normalized by its own: call eval()"
        if norm.running_mean is None or norm.running_var is None:
            yield "it has no running statistics, so that each batch is normalized by its own"
        elif not (norm.running_mean.isfinite().all() and norm.running_var.isfinite().all()):
            yield "its running statistics are not finite: recalibrate the model first"
        if reason := self.objection_to(norm):
            yield reason
        source = _input(self.nodes[norm])
        linear = None if source is None else self.modules.get(source)
        kind = None if linear is None else parametrize.type_before_parametrizations(linear)
        if source is None or linear is None or kind not in OUTPUT_AXES:
            yield f"its input comes from {self._name(source)}, into which it cannot be folded"
            return
        where = f"its input comes from {self.paths[linear]!r}"
        if reason := self.objection_to(linear):
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

    def _name(self, node: Node | None) -> str:
        """A node in words."""
        if node is None or node.op == "placeholder":
            return "the model's input"
        module = self.modules.get(node)
        if module is None:
            return str(getattr(node.target, "__name__", node.target))
        kind = type(module).__name__
        return f"{self.paths[module]!r} ({kind})" if module in self.paths else f"a {kind}"


class _LeafTracer(Tracer):
    """Looks into every module but torch's own, ours, and those whose hooks it would set off."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of `m` is one node."""
        ours = type(m) in OUTPUT_AXES or isinstance(m, _BatchNorm) or parametrize.is_parametrized(m)
        hooked = bool(m._forward_hooks or m._forward_pre_hooks)  # noqa: SLF001
        return ours or hooked or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module) -> Graph:
    """What the model calls, in the mode that it is in.

    Raises:
        InputError: if torch.fx cannot tell.
    """
    try:
        return _LeafTracer().trace(model)
    except Exception as error:  # the user's own code runs here, on stand-ins for tensors
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        msg = (
            f"{type(model).__name__}: torch.fx cannot follow its forward ({first_line}), so that "
            "nothing is known of what goes where. Fold the parts that are plain modules."
        )
        raise InputError(msg) from error


def _input(node: Node) -> Node | None:
    """What a module is called with."""
    value = node.args[0] if node.args else node.kwargs.get("input")
    return value if isinstance(value, Node) else None
