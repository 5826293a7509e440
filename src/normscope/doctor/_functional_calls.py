"""Batch norms that are computed outside any module of a model."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from normscope.anatomy import RunningNorm


@dataclass(frozen=True)
class FunctionalCall:
    """One call of a batch norm.

    Attributes:
        batch: the number of the batch, from 0.
        module: the class of the module that computes it, if that is not in the tree: built inside
            a forward, or held where torch does not look; empty for a function that is called.
        shape: of its input.
        by_batch: whether it normalizes by the batch's own statistics.
        caller: the path of the module of the tree in whose forward that happens.
        line: where it was called, outside torch, as in ``"model.py:37"``.
    """

    batch: int
    module: str
    shape: tuple[int, ...]
    by_batch: bool
    caller: str = ""
    line: str = ""


@contextmanager
def noting_functional_calls(
    model: nn.Module, calls: list[FunctionalCall], batch: int
) -> Iterator[None]:
    """Inside the block, note the batch norms that no module of `model` computes.

    And those by the batch of a module that, by its flags, normalizes by running statistics.
    """
    inside: list[nn.Module] = []

    def enter(module: nn.Module, _: Any) -> None:
        inside.append(module)

    def leave(module: nn.Module, _: Any, __: Any) -> None:
        if module in inside:
            del inside[inside.index(module) :]

    handles = []
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # which takes no hooks
        if isinstance(module, _NormBase) or hasattr(module, "running_mean"):
            handles += [
                module.register_forward_pre_hook(enter),
                module.register_forward_hook(leave, always_call=True),
            ]
    try:
        with _Interception(calls, inside, batch, dict(model.named_modules())):
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Interception(TorchFunctionMode):
    """Sees every call of torch's function."""

    def __init__(
        self,
        calls: list[FunctionalCall],
        inside: Sequence[nn.Module],
        batch: int,
        modules: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self._calls, self._inside, self._batch = calls, inside, batch
        self._paths = {module: path for path, module in modules.items()}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is F.batch_norm:
            self._note(args, named)
        elif func is torch.batch_norm:
            self._note([*args[:1], *args[3:5], *args[1:3], *args[5:]], named)
        return func(*args, **named)

    def _note(self, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        """In the order of `F.batch_norm`: input, mean, variance, weight, bias, training."""
        x = args[0] if args else named.get("input")
        by_batch = args[5] if len(args) > 5 else named.get("training", False)
        if isinstance(x, Tensor) and self._is_surprise(by_batch=bool(by_batch)):
            self._calls.append(
                FunctionalCall(
                    self._batch, self._stranger(), tuple(x.shape), bool(by_batch), *self._place()
                )
            )

    def _is_surprise(self, *, by_batch: bool) -> bool:
        """Whether no module computes it, or one whose flags say that it does not use the batch."""
        if not self._inside:
            return True
        return by_batch and not RunningNorm("", self._inside[-1]).uses_batch_statistics

    def _stranger(self) -> str:
        """The class of the module that calls, if it is not in the tree."""
        module = next(_modules_calling(), None)
        return "" if module is None or module in self._paths else type(module).__name__

    def _place(self) -> tuple[str, str]:
        """The path of the module of the tree that calls, and the line of code."""
        caller = next((self._paths[m] for m in _modules_calling() if m in self._paths), "")
        files = ((frame.f_code.co_filename, frame.f_lineno) for frame in _frames())
        outside = (f"{Path(file).name}:{line}" for file, line in files if not _is_plumbing(file))
        return caller, next(outside, "")


_PLUMBING = (str(Path(torch.__file__).parent), __file__)


def _is_plumbing(file: str) -> bool:
    return file.startswith(_PLUMBING)


def _frames() -> Iterator[FrameType]:
    """The calls that lead here, the latest first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _modules_calling() -> Iterator[nn.Module]:
    """The modules whose methods lead here, the latest first."""
    for frame in _frames():
        if isinstance(module := frame.f_locals.get("self"), nn.Module):
            yield module
