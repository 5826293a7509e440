"""`watch`: what happens to a model's batch norms in a training loop of one's own?"""

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils import _pytree as pytree

from normscope._errors import InputError
from normscope.anatomy import (
    RunningNorm,
    batch_norm_layers,
    in_float64,
    optimizers_of,
    readable,
    unwrapped,
)
from normscope.doctor._case import Case
from normscope.doctor._examination import examine
from normscope.doctor._frozen_parts import weights_before
from normscope.doctor._loop_log import Call, LayerLog, LoopLog, Pass, some_of
from normscope.doctor._rank_distances import rank_distances
from normscope.doctor._refusals import refuse_no_model, refuse_no_reasons
from normscope.records import Diagnosis
from normscope.stats import Moments

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


def watch(
    model: nn.Module,
    optimizer: Optimizer | Iterable[Optimizer] | None = None,
    *,
    suppress: Mapping[str, str] = MappingProxyType({}),
) -> "Watch":
    """Watch a training loop of one's own, and say what is wrong with its normalization.

    Inside the block every call of a batch norm is looked at, and every step of the optimizer. The
    training ends in the same bits as without; what is kept does not grow with its length.

    Args:
        model: any; the one that the loop calls.
        optimizer: of the training, or several. Without, every optimizer of torch counts that holds
            a parameter of the model, and rules about optimizers are skipped.
        suppress: findings that are on purpose, as `check` takes them.

    Returns:
        A context manager; its `diagnosis()` can be asked inside the block and after it.

    Raises:
        InputError: if an argument is something else.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with watch(model, optimizer) as loop:
        ...     for batch in torch.randn(3, 8, 2):
        ...         model(batch).sum().backward()
        ...         optimizer.step()
        ...     with torch.no_grad():
        ...         _ = model(torch.randn(8, 2))  # validation, and nobody called eval()
        >>> [finding.code for finding in loop.diagnosis().findings if finding.code > "NS500"]
        ['NS502']
    """
    refuse_no_model(model)
    refuse_no_reasons(suppress)
    return Watch(model, tuple(optimizers_of(optimizer)), suppress)


class Watch:
    """A training loop that is watched; `normscope.watch` makes one.

    It can be entered again after it was left, and then goes on where it was.
    """

    def __init__(
        self, model: nn.Module, optimizers: tuple[Optimizer, ...], suppress: Mapping[str, str]
    ) -> None:
        self._given, self._model = model, unwrapped(model)
        self._optimizers = optimizers
        self._suppress = suppress
        self._norms = batch_norm_layers(self._model)
        self._log = LoopLog({path: LayerLog() for path in self._norms})
        self._handles: list[RemovableHandle] = []
        self._pass: Pass | None = None
        self._before: _Before | None = None
        self._counters: dict[str, list[tuple[int, int] | None]] = {}

    def __enter__(self) -> Self:
        """Begin to watch.

        Raises:
            InputError: if it is watching already.
        """
        if self._handles:
            msg = "This watch is in use; make another with normscope.watch."
            raise InputError(msg)
        if self._before is None:
            self._before = _Before(self._model, self._norms)
            for path, norm in self._norms.items():
                frozen = self._model.training and not norm.training
                modes = self._log.layers[path].modes
                modes.froze_at_entry, modes.asked = frozen, _asks(norm)
        try:
            self._hook()
        except BaseException:
            self._unhook()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take every hook away."""
        self._unhook()

    def diagnosis(self) -> Diagnosis:
        """What is wrong, by what was seen so far.

        Where `torch.distributed` is initialized, all ranks have to ask: their running statistics
        are compared.

        Returns:
            Findings, worst first, also of the rules that look at the model without a loop.

        Raises:
            InputError: if `suppress` names no rule or gives no reason.
        """
        log = self._log.so_far()
        if self._before is not None:
            self._before.tell(log)
        log.ranks = rank_distances(self._norms)
        optimizer = self._optimizers[0] if len(self._optimizers) == 1 else None
        diagnosis = examine(Case(self._given, optimizer=optimizer, log=log), self._suppress)
        seen = {"steps": log.steps, "passes": log.passes}
        return diagnosis.model_copy(update={"conditions": diagnosis.conditions | seen})

    def _hook(self) -> None:
        keep, model = self._handles.append, self._model
        keep(model.register_forward_pre_hook(_Hook(self._enter_pass)))
        for path, norm in self._norms.items():
            keep(norm.register_forward_pre_hook(_Hook(self._enter_norm, path)))
            leave = _Hook(self._leave_norm, path)
            keep(norm.register_forward_hook(leave, with_kwargs=True, always_call=True))
        keep(model.register_forward_hook(_Hook(self._leave_pass), always_call=True))
        keep(register_optimizer_step_post_hook(self._step))

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._pass, self._counters = [], None, {}

    def _step(self, optimizer: Optimizer, *_: Any) -> None:
        if self._is_ours(optimizer):
            self._log.step()

    def _is_ours(self, optimizer: Optimizer) -> bool:
        if self._optimizers:
            return any(optimizer is ours for ours in self._optimizers)
        ours = set(map(id, self._model.parameters()))
        return any(id(p) in ours for group in optimizer.param_groups for p in group["params"])

    def _enter_pass(self, model: nn.Module, _: Any) -> None:
        if not torch.compiler.is_compiling() and model is self._model:
            self._pass = Pass(self._log.passes)
            self._log.passes += 1
            self._log.dropout |= not torch.is_grad_enabled() and _drops(self._model)

    def _leave_pass(self, model: nn.Module, _: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or self._pass is None or model is not self._model:
            return
        for leaf in pytree.tree_leaves(output):
            if _carries_gradient(leaf):
                self._pass.needs_gradient = True
                leaf.register_hook(_Reached(self._pass))
        self._pass = None

    def _enter_norm(self, path: str, norm: _BatchNorm, _: Any) -> None:
        if torch.compiler.is_compiling() or self._is_a_passing_copy(path, norm):
            return
        self._log.layers[path].called += 1
        moves = RunningNorm(path, norm).moves_statistics
        self._counters.setdefault(path, []).append(_version(norm) if moves else None)
        if torch.is_grad_enabled():
            mode = "eval" if not self._model.training else "frozen"
            self._log.note_mode(path, "training" if norm.training else mode, asks=_asks(norm))

    def _leave_norm(
        self, path: str, norm: _BatchNorm, given: Any, named: Mapping[str, Any], output: Any
    ) -> None:
        """Also where the forward raised, as a checkpoint that has all it needs does."""
        if torch.compiler.is_compiling() or self._is_a_passing_copy(path, norm):
            return
        if not self._counters.get(path):
            return
        version = self._counters[path].pop()
        x: object = given[0] if given else next(iter(named.values()), None)
        if version is None or version == _version(norm) or not _has_rows(x):
            return
        assert isinstance(x, Tensor)
        call = _call_of(norm, x, self._pass)
        if _carries_gradient(output):
            call.needs_gradient = True
            output.register_hook(_Reached(call))
        self._log.layers[path].momentum = norm.momentum
        self._log.add(path, call)

    def _is_a_passing_copy(self, path: str, norm: _BatchNorm) -> bool:
        """Whether it is what `DataParallel` makes for another device and throws away again.

        The copies have the layer's hooks, and call them from threads; that of the first device
        writes into the layer's own buffers and counts for it.
        """
        own = self._norms[path]
        if norm is own or own.running_mean is None or norm.running_mean is None:
            return norm is not own
        return norm.running_mean.data_ptr() != own.running_mean.data_ptr()


class _Reached:
    """A gradient arrives: it is noted, and left as it is."""

    def __init__(self, what: Pass | Call) -> None:
        self._what = what

    def __call__(self, _: Tensor) -> None:
        self._what.reached = True


class _Before:
    """The model when the watch began: its statistics, and a fingerprint of its parameters."""

    def __init__(self, model: nn.Module, norms: Mapping[str, _BatchNorm]) -> None:
        self._model, self._norms = model, norms
        self._fingerprints = _fingerprints(model)
        self._stored = {}
        for path, norm in norms.items():
            stored = RunningNorm(path, norm)
            if stored.mean is not None and stored.variance is not None:
                scale = (in_float64(stored.variance) + stored.eps).sqrt()
                self._stored[path] = in_float64(stored.mean).clone(), scale

    def tell(self, log: LoopLog) -> None:
        """How far each layer's statistics are from there, and whether its weights moved."""
        now = _fingerprints(self._model)
        moved = {name for name, value in now.items() if value != self._fingerprints.get(name)}
        log.learned = bool(moved)
        before = weights_before(self._model)
        for path, (mean, scale) in self._stored.items():
            current = RunningNorm(path, self._norms[path]).mean
            if current is not None and current.shape == mean.shape:
                far = (in_float64(current).to(mean.device) - mean) / scale
                distance = float(far.square().mean().sqrt())
                log.layers[path].moved = distance if math.isfinite(distance) else 0.0
            own = {path, before.get(path)}
            log.layers[path].weights_moved = any(name.rpartition(".")[0] in own for name in moved)


class _Hook:
    """Calls back, from the module that it was registered on alone.

    A loop may copy or save the model as a whole while it is watched; what it gets does nothing.
    """

    def __init__(self, back: Callable[..., None], *known: str) -> None:
        self._back, self._known = back, known

    def __call__(self, *given: Any) -> None:
        self._back(*self._known, *given)

    def __reduce__(self) -> tuple[type["_NoHook"], tuple[()]]:
        return _NoHook, ()


class _NoHook:
    """Does nothing: in copies of a watched model."""

    def __call__(self, *_: Any) -> None:
        pass


def _call_of(norm: _BatchNorm, x: Tensor, passed: Pass | None) -> Call:
    """Look at what a batch norm was given; one reading of it, and nothing waits for the answer."""
    with torch.no_grad():
        wide = x.detach()
        wide = wide.float() if wide.element_size() < 4 else wide
        if wide.ndim > 2:
            inner, rows = torch.var_mean(wide.flatten(2), dim=2, correction=0)
        else:
            inner, rows = torch.zeros_like(wide[:1]), wide
        moments = Moments.of(rows, [0])
        variance = inner.mean(dim=0) + moments.population_variance
        values = some_of(wide.movedim(1, -1)).clone()  # a view would keep the batch
    anew = norm.momentum is None or norm.momentum == 1
    weight = 1.0 if norm.momentum is None else float(norm.momentum)
    return Call(moments, variance, values, torch.is_grad_enabled(), weight, anew, passed)


def _has_rows(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 1 and x.numel() > 0


def _carries_gradient(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and value.grad_fn is not None


def _version(norm: _BatchNorm) -> tuple[int, int]:
    """Changes whenever the statistics move: a layer may spare a batch that it has seen."""
    counter = norm.num_batches_tracked
    counter = norm.running_mean if counter is None else counter
    return (0, 0) if counter is None else (id(counter), counter._version)  # noqa: SLF001


def _asks(norm: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in norm.parameters(recurse=False))


def _drops(model: nn.Module) -> bool:
    return any(m.training and m.p > 0 for m in model.modules() if isinstance(m, _DropoutNd))


def _fingerprints(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Two numbers per parameter, of which one changes when it does."""
    prints = {}
    for name, parameter in model.named_parameters():
        if (values := readable(parameter)) is None:
            continue
        wide = in_float64(values.abs() if values.is_complex() else values)
        prints[name] = float(wide.sum()), float(wide.square().sum())
    return prints
