"""The layers that have weights, in the order of the calls, each with the norm behind it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy._preserved import preserved


@dataclass(frozen=True)
class WeightLayer:
    """A module with a weight matrix or kernel, and what normalizes its very output.

    Attributes:
        path: of the module.
        weight: the full name of its weight, as `named_parameters` has it.
        norm: the path of the norm that is given its output as it is; None if there is none.
        is_batch_norm: whether that is a batch norm.
    """

    path: str
    weight: str
    norm: str | None
    is_batch_norm: bool


def weight_layers(model: nn.Module, call: Callable[[nn.Module], Any]) -> tuple[WeightLayer, ...]:
    """The linear maps and convolutions that a pass calls, first to last; the model is left alone.

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
            if _has_a_matrix(module):
                hooks.callback(module.register_forward_hook(after).remove)
            elif not any(True for _ in module.children()) and hasattr(module, "eps"):
                hooks.callback(module.register_forward_pre_hook(before).remove)
        call(model)
    return tuple(
        WeightLayer(
            path=paths[module],
            weight=f"{paths[module]}.weight".lstrip("."),
            norm=None if norm is None else paths[norm],
            is_batch_norm=isinstance(norm, _BatchNorm),
        )
        for module, norm in called.items()
    )


def _has_a_matrix(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")  # noqa: SLF001
    is_leaf = not any(True for _ in module.children())
    return is_leaf and weight is not None and weight.ndim > 1 and not _looks_up(module)


def _looks_up(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding | nn.EmbeddingBag)
