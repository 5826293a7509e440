"""The layers that have weights, in the order of the calls, each with the norm behind it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from normscope.anatomy._preserved import preserved

_WEIGHTS = ("weight", "weight_v", "weight_orig")
"""What a weight is called; of the older weight norm, its direction; of the older spectral norm."""
_PARAMETRIZED = "parametrizations.weight."
_CLOSE = 1e-3
"""How far, relative to its deviation, an output may be from a line in the input to count as one."""


@dataclass(frozen=True)
class WeightLayer:
    """A module with a weight matrix or kernel, and what normalizes its very output.

    Attributes:
        path: of the module.
        weight: the full name of its weight, as `named_parameters` has it. Where the weight is made
            of parameters (`torch.nn.utils.parametrize`, or the older weight and spectral norm), of
            the largest of them: the direction, of weight norm.
        norm: the path of the norm that is given its output as it is; None if there is none.
        is_batch_norm: whether that is a batch norm.
        moved_by: the path of the last module behind it, not torch's own, that does nothing to its
            output, or its norm's, but shift and scale every unit; None if there is none.
    """

    path: str
    weight: str
    norm: str | None
    is_batch_norm: bool
    moved_by: str | None = None


def weight_layers(model: nn.Module, call: Callable[[nn.Module], Any]) -> tuple[WeightLayer, ...]:
    """The linear maps and convolutions that a pass calls, first to last; the model is left alone.

    What no module of its own gives is not seen: the projections inside `MultiheadAttention`, and
    the maps inside torch's recurrent layers, whose sums no hook is given.

    Args:
        model: in the mode in which it is to be looked at.
        call: calls it, once.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
        >>> [(l.path, l.norm) for l in weight_layers(model, lambda m: m(torch.randn(5, 4)))]
        [('0', '1'), ('3', None)]
    """
    paths = {module: path for path, module in model.named_modules()}
    seen = _Seen()
    with preserved(model), ExitStack() as hooks:
        for module in paths:
            if _matrix(module):
                hooks.callback(module.register_forward_hook(seen.matrix).remove)
            elif _is_leaf(module) and hasattr(module, "eps"):
                hooks.callback(module.register_forward_hook(seen.norm).remove)
            elif _is_leaf(module) and not type(module).__module__.startswith("torch."):
                hooks.callback(module.register_forward_hook(seen.other).remove)
        call(model)
    return tuple(
        WeightLayer(
            path=paths[module],
            weight=f"{paths[module]}.{_matrix(module)}".lstrip("."),
            norm=None if norm is None else paths[norm],
            is_batch_norm=isinstance(norm, _BatchNorm),
            moved_by=None if (mover := seen.movers.get(module)) is None else paths[mover],
        )
        for module, norm in seen.norms.items()
    )


class _Seen:
    """What the hooks of a pass note.

    Attributes:
        norms: every module with a matrix that was called, and the norm that took its output.
        movers: the last module behind it that shifts and scales, where there is one.
    """

    def __init__(self) -> None:
        self.norms: dict[nn.Module, nn.Module | None] = {}
        self.movers: dict[nn.Module, nn.Module] = {}
        self._made: dict[int, tuple[nn.Module, Tensor]] = {}
        """Tensors are held, so that no other gets their identity."""

    def matrix(self, module: nn.Module, _: Any, output: Any) -> None:
        """Note a layer."""
        if isinstance(output, Tensor):
            self.norms.setdefault(module, None)
            self._made[id(output)] = module, output

    def norm(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        """Note the first norm that takes a layer's output as it is."""
        layer = self._maker(given)
        if layer is not None and self.norms[layer] is None and layer not in self.movers:
            self.norms[layer] = module
            self._made[id(output)] = layer, output

    def other(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        """Note a module that moves what a layer or its norm gives, unit by unit."""
        layer = self._maker(given)
        if layer is None or not isinstance(output, Tensor):
            return
        axis = 1 if isinstance(layer, _ConvNd) else -1
        if _only_moves(given[0].detach(), output.detach(), axis):
            self.movers[layer] = module
            self._made[id(output)] = layer, output

    def _maker(self, given: tuple[Any, ...]) -> nn.Module | None:
        layer, _ = self._made.get(id(given[0]), (None, None)) if given else (None, None)
        return layer


def _only_moves(x: Tensor, y: Tensor, axis: int) -> bool:
    """Whether y is a x + b for every unit, with numbers a and b of its own.

    Args:
        x: with units along `axis`.
        y: what was made of it.
        axis: 1 or the last.
    """
    if x.shape != y.shape or x.ndim < 2 or not (x.is_floating_point() and y.is_floating_point()):
        return False
    x, y = (each.double().movedim(axis, -1).flatten(0, -2) for each in (x, y))
    x, y = x - x.mean(0), y - y.mean(0)
    slope = (x * y).sum(0) / x.square().sum(0).clamp(min=1e-300)
    return bool((y - slope * x).norm() <= _CLOSE * y.norm())


def _matrix(module: nn.Module) -> str | None:
    """The parameter that a module's weight is, or is made of, by its name there; None without one.

    The weight itself is not asked for: making it may change what it is made of (spectral norm).
    """
    if not _is_leaf(module) or isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return None
    matrices = {
        name: parameter.numel()
        for name, parameter in module.named_parameters()
        if (name in _WEIGHTS or name.startswith(_PARAMETRIZED)) and parameter.ndim > 1
    }
    return max(matrices, key=lambda name: matrices[name]) if matrices else None


def _is_leaf(module: nn.Module) -> bool:
    """Whether it has no modules in it, but for what its weights are made by."""
    return all(name == "parametrizations" for name, _ in module.named_children())
