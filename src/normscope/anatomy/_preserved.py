"""The user's model is a guest: whatever happens to it inside a block is undone afterwards."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Plain attributes of normalization layers that a measurement may have to turn.
_SETTINGS = ("training", "momentum", "track_running_stats", "eps")


@dataclass(frozen=True)
class _TensorState:
    """A tensor object, and what it held."""

    tensor: Tensor
    values: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> "_TensorState":
        return cls(tensor, tensor.detach().clone())

    def restore(self) -> Tensor:
        """Put the values back into the same object, so that aliases stay true."""
        with torch.no_grad():
            self.tensor.copy_(self.values)
        return self.tensor


@dataclass(frozen=True)
class _ModuleState:
    """One module's settings, buffers and hooks."""

    module: nn.Module
    settings: dict[str, Any]
    buffers: dict[str, _TensorState | None]
    hooks: dict[str, OrderedDict[int, Any]]

    @classmethod
    def of(cls, module: nn.Module) -> "_ModuleState":
        attributes = vars(module)
        return cls(
            module,
            {name: attributes[name] for name in _SETTINGS if name in attributes},
            {
                name: None if buffer is None else _TensorState.of(buffer)
                for name, buffer in module._buffers.items()  # noqa: SLF001 - torch offers no other way
            },
            {
                name: OrderedDict(value)
                for name, value in attributes.items()
                if name.endswith("_hooks") and isinstance(value, OrderedDict)
            },
        )

    def restore(self) -> None:
        attributes = vars(self.module)
        attributes.update(self.settings)
        buffers = {
            name: None if state is None else state.restore() for name, state in self.buffers.items()
        }
        attributes["_buffers"].clear()
        attributes["_buffers"].update(buffers)
        for name, hooks in self.hooks.items():
            # The handles that users hold refer to these very dictionaries: refill, do not replace.
            attributes[name].clear()
            attributes[name].update(hooks)


@dataclass(frozen=True)
class _ParameterState:
    """One parameter's gradient and whether it asks for one. Its values are the caller's to keep."""

    parameter: nn.Parameter
    requires_grad: bool
    gradient: _TensorState | None

    @classmethod
    def of(cls, parameter: nn.Parameter) -> "_ParameterState":
        gradient = parameter.grad
        return cls(
            parameter,
            parameter.requires_grad,
            None if gradient is None else _TensorState.of(gradient),
        )

    def restore(self) -> None:
        self.parameter.requires_grad_(self.requires_grad)
        self.parameter.grad = None if self.gradient is None else self.gradient.restore()


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Whatever the block does to `model`, afterwards it is as it was, also when the block raises.

    Kept per module: training mode, momentum, ``track_running_stats``, eps, buffers (the same tensor
    objects with the same values) and hooks. Kept per parameter: ``requires_grad`` and the gradient.
    Kept besides: the random state of the CPU and of every CUDA device in use. Not kept: parameter
    *values*, which no measurement has a reason to write.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with preserved(norm):
        ...     _ = norm(torch.randn(8, 2))
        ...     _ = norm.eval()
        >>> norm.training, int(norm.num_batches_tracked)
        (True, 0)
    """
    modules = [_ModuleState.of(module) for module in model.modules()]
    parameters = [_ParameterState.of(parameter) for parameter in model.parameters()]
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            for module in modules:
                module.restore()
            for parameter in parameters:
                parameter.restore()
