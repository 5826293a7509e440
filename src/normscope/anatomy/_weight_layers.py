"""The layers that have weights, in the order of the calls, each with the norm behind it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy._preserved import preserved

_WEIGHTS = ("weight", "weight_v", "weight_orig")
"""What a weight is called; of the older weight norm, its direction; of the older spectral norm."""
_PARAMETRIZED = "parametrizations.weight."


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
    """

    path: str
    weight: str
    norm: str | None
    is_batch_norm: bool


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
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}
    called: dict[nn.Module, nn.Module | None] = {}

    def after(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):  # held, so that no other tensor gets its identity
            called.setdefault(module, None)
            outputs[id(output)] = module, output

    def before(module: nn.Module, given: tuple[Any, ...]) -> None:
        made = outputs.get(id(given[0])) if given else None
        if made is not None and called[made[0]] is None:
            called[made[0]] = module

    with preserved(model), ExitStack() as hooks:
        for module in paths:
            if _matrix(module):
                hooks.callback(module.register_forward_hook(after).remove)
            elif _is_leaf(module) and hasattr(module, "eps"):
                hooks.callback(module.register_forward_pre_hook(before).remove)
        call(model)
    return tuple(
        WeightLayer(
            path=paths[module],
            weight=f"{paths[module]}.{_matrix(module)}".lstrip("."),
            norm=None if norm is None else paths[norm],
            is_batch_norm=isinstance(norm, _BatchNorm),
        )
        for module, norm in called.items()
    )


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
