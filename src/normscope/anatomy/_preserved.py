"""The user's model is a guest: whatever happens to it inside a block is undone afterwards."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

# Exactly these: a subclass (transformers' ModelOutput, say) may refuse to be refilled.
_CONTAINERS = (dict, OrderedDict, list, set)


@dataclass(frozen=True)
class _ContainerState:
    """A dictionary, list or set, and what it held. Its entries are not looked into."""

    container: Any
    entries: Any

    @classmethod
    def of(cls, container: Any) -> "_ContainerState":
        return cls(container, container.copy())

    def restore(self) -> None:
        """Refill, not replace: the handles of users' hooks refer to this very object."""
        self.container.clear()
        if isinstance(self.container, list):
            self.container.extend(self.entries)
        else:
            self.container.update(self.entries)


@dataclass(frozen=True)
class _TensorState:
    """A tensor object, the memory behind it, and what that held (where it is worth a copy)."""

    tensor: Tensor
    kind: type[Tensor]
    data: Tensor
    values: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor, *, values: bool) -> "_TensorState":
        holds_some = values and not is_lazy(tensor) and not tensor.is_meta
        copy = tensor.detach().clone() if holds_some else None
        return cls(tensor, type(tensor), tensor.data, copy)

    def restore(self) -> None:
        """Give the object its memory back (and so its dtype, shape and device), then the values."""
        self.tensor.__class__ = self.kind  # a lazy tensor may have become a plain one
        self.tensor.data = self.data
        if self.values is not None and not _same(self.data, self.values):
            # Through `data`, which autograd does not watch: a graph from before stays usable.
            self.data.copy_(self.values)


def _same(data: Tensor, values: Tensor) -> bool:
    """Nothing needs writing (which expanded tensors refuse). Sparse ones refuse the comparison."""
    return data.layout == torch.strided and torch.equal(data, values)


@dataclass(frozen=True)
class _ModuleState:
    """One module's class and attributes: settings, hooks, parameters, buffers, submodules."""

    module: nn.Module
    kind: type[nn.Module]
    properties: dict[str, property]
    attributes: dict[str, Any]
    containers: list[_ContainerState]

    @classmethod
    def of(cls, module: nn.Module) -> "_ModuleState":
        kind, attributes = type(module), dict(vars(module))
        containers = [value for value in attributes.values() if type(value) in _CONTAINERS]
        return cls(
            module,
            kind,
            # A parametrized module has a class of its own, whose properties compute its tensors.
            _properties(kind) if parametrize.is_parametrized(module) else {},
            attributes,
            [_ContainerState.of(container) for container in containers],
        )

    def restore(self) -> None:
        attributes = vars(self.module)
        attributes.clear()
        attributes.update(self.attributes)
        for container in self.containers:
            container.restore()
        self.module.__class__ = self.kind  # parametrizing changes it, and so do lazy modules
        if self.properties:
            for name in _properties(self.kind):
                delattr(self.kind, name)
            for name, value in self.properties.items():
                setattr(self.kind, name, value)


def _properties(kind: type) -> dict[str, property]:
    return {name: value for name, value in vars(kind).items() if isinstance(value, property)}


@dataclass(frozen=True)
class _ParameterState:
    """One parameter's memory, gradient, hooks, and whether it asks for a gradient."""

    parameter: Tensor  # a scripted module's are plain tensors
    memory: _TensorState
    requires_grad: bool
    gradient: _TensorState | None
    hooks: dict[str, _ContainerState | None]

    @classmethod
    def of(cls, parameter: Tensor) -> "_ParameterState":
        gradient = parameter.grad
        tables = {
            name: getattr(parameter, name)
            for name in ("_backward_hooks", "_post_accumulate_grad_hooks")
        }
        return cls(
            parameter,
            _TensorState.of(parameter, values=False),
            parameter.requires_grad,
            None if gradient is None else _TensorState.of(gradient, values=True),
            {
                name: None if table is None else _ContainerState.of(table)
                for name, table in tables.items()
            },
        )

    def restore(self) -> None:
        # Torch checks each of these against the others: begin from none.
        self.parameter.grad = None
        self.parameter.requires_grad = False
        self.memory.restore()
        self.parameter.requires_grad = self.requires_grad
        if self.gradient is not None:
            self.gradient.restore()
            self.parameter.grad = self.gradient.tensor
        for name, hooks in self.hooks.items():
            table = None if hooks is None else hooks.container
            if getattr(self.parameter, name) is not table:
                setattr(self.parameter, name, table)
            if hooks is not None:
                hooks.restore()


def _restores(model: nn.Module) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is kept of `model`, by name, each with the way to put it back."""
    for path, module in model.named_modules():
        yield f"module {path!r}", _ModuleState.of(module).restore
    for name, buffer in model.named_buffers():
        yield f"buffer {name!r}", _TensorState.of(buffer, values=True).restore
    for name, parameter in model.named_parameters():
        yield f"parameter {name!r}", _ParameterState.of(parameter).restore


def _failures(restores: Iterable[tuple[str, Callable[[], None]]]) -> list[Exception]:
    """Put everything back that can be, and return why the rest could not."""
    failures = []
    for name, restore in restores:
        try:
            restore()
        except Exception as failure:  # noqa: BLE001 - one that fails must not keep the others
            failure.add_note(f"{name} could not be put back as it was")
            failures.append(failure)
    return failures


@contextmanager
def modes_preserved(model: nn.Module) -> Iterator[None]:
    """Every module leaves the block in the mode (training or not) in which it entered it.

    Also when the block raises. Nothing else is kept, so it costs next to nothing: the right one for
    an evaluation, which `preserved` would slow down by its copies.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        >>> with modes_preserved(model):
        ...     _ = model.eval()
        >>> [module.training for module in model]
        [True, False]
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Whatever the block does to `model`, afterwards it is as it was, also when the block raises.

    Kept per module: its class and every attribute (modes, settings, hooks, which parameters,
    buffers and submodules it has), with what dictionaries, lists and sets among them hold. Kept per
    buffer: the tensor object, dtype, shape, device and values. Kept per parameter: the same but for
    the values, ``requires_grad``, hooks and the gradient. Kept besides: the random state of the CPU
    and of every CUDA device that the model is on. Autograd graphs from before stay usable.

    Not kept are values written *in place* into the memory of a parameter (an optimizer's step,
    ``weight.mul_(2)``), which no measurement has a reason to do and which would cost a copy of the
    model; and what objects in other attributes hold, tensors among them.

    Raises:
        ExceptionGroup: Something could not be put back; all the rest was. An exception of the
            block's own comes out as itself, with a note of what could not be put back.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with preserved(norm):
        ...     _ = norm(torch.randn(8, 2))
        ...     _ = norm.half().eval()
        >>> norm.training, norm.weight.dtype, int(norm.num_batches_tracked)
        (True, torch.float32, 0)
    """
    restores = list(_restores(model))
    tensors = [*model.parameters(), *model.buffers()]
    devices = {tensor.device.index for tensor in tensors if tensor.device.type == "cuda"}
    # A scripted module keeps its mode out of Python's sight: put modes back by assignment too.
    with modes_preserved(model), torch.random.fork_rng(devices=sorted(devices)):
        try:
            yield
        except BaseException as error:
            for failure in _failures(restores):
                error.add_note(f"{failure.__notes__[-1]}: {failure}")
            raise
        if failures := _failures(restores):
            message = "a model could not be put back as it was; all that is not named here was"
            raise ExceptionGroup(message, failures)


@contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """What the block does to `model` stays, unless it raises: then the model is as it was.

    Kept is what `preserved` keeps, but for the random state.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with all_or_nothing(norm):
        ...     norm.momentum = 0.5
        >>> try:
        ...     with all_or_nothing(norm):
        ...         norm.momentum = 1 / 0
        ... except ZeroDivisionError:
        ...     print(norm.momentum)
        0.5
    """
    restores = list(_restores(model))
    try:
        yield
    except BaseException as error:
        for failure in _failures(restores):
            error.add_note(f"{failure.__notes__[-1]}: {failure}")
        raise
