"""The user's model is a guest: whatever happens to it inside a block is undone afterwards."""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from normscope.anatomy._random_states import random_states_kept

# Exactly these: a subclass (transformers' ModelOutput, say) may refuse to be refilled.
_CONTAINERS = (dict, OrderedDict, defaultdict, Counter, list, set, deque)


@dataclass(frozen=True)
class _ContainerState:
    """A dictionary, list or set, and what it held."""

    container: Any
    entries: Any

    @classmethod
    def of(cls, container: Any) -> "_ContainerState":
        return cls(container, container.copy())

    def restore(self) -> None:
        """Refill, not replace: the handles of users' hooks refer to this very object."""
        self.container.clear()
        if isinstance(self.container, list | deque):
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
        copy = tensor.detach().clone() if values and _has_values(tensor) else None
        return cls(tensor, type(tensor), tensor.data, copy)

    def restore(self) -> None:
        """Give the object its memory back (and so its dtype, shape and device), then the values."""
        self.tensor.__class__ = self.kind  # a lazy tensor may have become a plain one
        self.tensor.data = self.data
        if self.values is not None:
            _ValuesState(self.data, self.values).restore()


@dataclass(frozen=True)
class _ValuesState:
    """Memory, and what it held."""

    data: Tensor
    values: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> "_ValuesState":
        return cls(tensor.data, tensor.detach().clone())

    def restore(self) -> None:
        # Through `data`, which autograd does not watch: a graph from before stays usable.
        if not _same(self.data, self.values):
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
    entries: list[_ContainerState | _ValuesState]

    @classmethod
    def of(cls, module: nn.Module) -> "_ModuleState":
        kind, attributes = type(module), dict(vars(module))
        own = {id(tensor) for tensor in _own_tensors(module)}
        return cls(
            module,
            kind,
            # A parametrized module has a class of its own, whose properties compute its tensors.
            _properties(kind) if parametrize.is_parametrized(module) else {},
            attributes,
            [
                _ValuesState.of(value) if isinstance(value, Tensor) else _ContainerState.of(value)
                for value in _reached(attributes.values())
                if type(value) in _CONTAINERS
                or (isinstance(value, Tensor) and id(value) not in own and _has_values(value))
            ],
        )

    def restore(self) -> None:
        attributes = vars(self.module)
        attributes.clear()
        attributes.update(self.attributes)
        for entry in self.entries:
            entry.restore()
        self.module.__class__ = self.kind  # parametrizing changes it, and so do lazy modules
        if self.properties:
            for name in _properties(self.kind):
                delattr(self.kind, name)
            for name, value in self.properties.items():
                setattr(self.kind, name, value)


def _reached(values: Iterable[Any]) -> Iterator[Any]:
    """Every container, tensor and module among values, also inside containers, each once."""
    waiting, seen = list(values), set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen or not isinstance(value, (*_CONTAINERS, tuple, Tensor, nn.Module)):
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            waiting += value.values()
        elif not isinstance(value, Tensor | nn.Module):
            waiting += value


def _own_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Those that are kept as parameters and buffers."""
    yield from module.parameters()
    yield from module.buffers()


def _has_values(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and not tensor.is_meta


def _properties(kind: type) -> dict[str, property]:
    return {name: value for name, value in vars(kind).items() if isinstance(value, property)}


@dataclass(frozen=True)
class _ParameterState:
    """One parameter's memory, gradient, hooks, and whether it asks for a gradient."""

    parameter: Tensor  # a scripted module's are plain tensors
    memory: _TensorState
    requires_grad: bool
    inference: bool
    gradient: _TensorState | None
    hooks: dict[str, _ContainerState | None]

    @classmethod
    def of(cls, parameter: Tensor, *, values: bool) -> "_ParameterState":
        gradient = parameter.grad
        tables = {
            name: getattr(parameter, name)
            for name in ("_backward_hooks", "_post_accumulate_grad_hooks")
        }
        return cls(
            parameter,
            _TensorState.of(parameter, values=values),
            parameter.requires_grad,
            not is_lazy(parameter) and parameter.is_inference(),
            None if gradient is None else _TensorState.of(gradient, values=True),
            {
                name: None if table is None else _ContainerState.of(table)
                for name, table in tables.items()
            },
        )

    def restore(self) -> None:
        with torch.inference_mode(mode=self.inference):  # where torch lets such tensors be changed
            self._restore()

    def _restore(self) -> None:
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


def _restores(model: nn.Module, *, values: bool) -> list[tuple[str, Callable[[], None]]]:
    """What is kept of `model`, by name, each with the way to put it back."""
    restores: list[tuple[str, Callable[[], None]]] = []
    for root in _with_hidden(model):
        for path, module in root.named_modules():
            restores.append((f"module {path!r}", _ModuleState.of(module).restore))
        for name, buffer in root.named_buffers():
            restores.append((f"buffer {name!r}", _TensorState.of(buffer, values=True).restore))
        for name, parameter in root.named_parameters():
            state = _ParameterState.of(parameter, values=values)
            restores.append((f"parameter {name!r}", state.restore))
    return restores


def _with_hidden(model: nn.Module) -> list[nn.Module]:
    """A model, and the modules that its attributes hold in lists, where torch does not see them."""
    roots, known = [model], {id(module) for module in model.modules()}
    for root in roots:  # which grows
        for module in root.modules():
            for value in _reached(vars(module).values()):
                if isinstance(value, nn.Module) and id(value) not in known:
                    known |= {id(inner) for inner in value.modules()}
                    roots.append(value)
    return roots


def _failures(restores: list[tuple[str, Callable[[], None]]]) -> list[Exception]:
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
def _put_back(
    restores: list[tuple[str, Callable[[], None]]], *, only_if_it_raises: bool = False
) -> Iterator[None]:
    """After the block; an interrupt (Ctrl-C) waits until that is done."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:  # noqa: BLE001 - raised below
        error = raised
    failures: list[Exception] | None = [] if only_if_it_raises and error is None else None
    while failures is None:
        try:
            failures = _failures(restores)
        except BaseException as interrupt:  # noqa: BLE001 - raised below
            error = interrupt
    if error is not None:
        for failure in failures:
            error.add_note(f"{failure.__notes__[-1]}: {failure}")
        try:
            raise error
        finally:
            del error  # or it and this frame would keep each other, and tensors, alive
    if failures:
        message = "a model could not be put back as it was; all that is not named here was"
        raise ExceptionGroup(message, failures)


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
    # A frozen module of TorchScript has no mode.
    modes = [(m, m.training) for m in model.modules() if hasattr(m, "training")]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def preserved(model: nn.Module, *, values: bool = False) -> Iterator[None]:
    """Whatever the block does to `model`, afterwards it is as it was, also when the block raises.

    Kept per module: its class and every attribute (modes, settings, hooks, which parameters,
    buffers and submodules it has), with what dictionaries, lists and sets among them hold, tensors
    and modules that are not registered among them. Kept per buffer: the tensor object, dtype,
    shape, device and values. Kept per parameter: the same but for the values, ``requires_grad``,
    hooks and the gradient. Kept besides: the random states of Python, of NumPy, of torch on the CPU
    and on every CUDA device that the model is on, and of generators that are attributes. Autograd
    graphs from before stay usable.

    Not kept are values written *in place* into the memory of a parameter (an optimizer's step,
    ``weight.mul_(2)``) unless `values` says so, since that costs a copy of the model; and what
    objects of other kinds in attributes hold.

    Args:
        model: any.
        values: whether to keep what parameters hold: for blocks that run code of the user's, which
            may merge an adapter into the weights in `eval()`, or clip them in its forward.

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
    restores = _restores(model, values=values)
    tensors = [*model.parameters(), *model.buffers()]
    devices = {tensor.device.index for tensor in tensors if tensor.device.type == "cuda"}
    # A scripted module keeps its mode out of Python's sight: put modes back by assignment too.
    with (
        modes_preserved(model),
        random_states_kept(*model.modules()),
        torch.random.fork_rng(devices=sorted(devices)),
        _put_back(restores),
    ):
        yield


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
    with _put_back(_restores(model, values=False), only_if_it_raises=True):
        yield
