"""A saved program as a model whose batch norms are modules that can be looked at."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from normscope.doctor._exported import ProgramNorm, program_norms

NO_GRAPH = (
    "needs the modules: a saved program has only what they computed; check the model that it was "
    "made from"
)
NOT_REPAIRED = (
    "A saved program cannot be repaired: repair the model that it was made from, and save it again."
)
_MOST_TOLD = 3


class Program(nn.Module):
    """A program's tensors, at their paths, its batch norms as modules.

    A call runs the program itself, in which every batch norm with stored statistics is computed by
    the module of them: torch's dispatcher is where programs of torch.export and of TorchScript
    call the same functions. So hooks see its input, and modes and statistics can be set, as in any
    model. In eval mode it computes what the program does, to the bit.

    Args:
        program: shares its tensors; it is put into eval mode with this module.
        norms: its batch norms, as `program_norms` found them.

    Attributes:
        hidden: those of its batch norms that nobody can look at: their statistics are the batch's
            own, or constants.
    """

    def __init__(self, program: nn.Module, norms: Sequence[ProgramNorm]) -> None:
        super().__init__()
        scripted = isinstance(program, torch.jit.ScriptModule)
        wanted = None if scripted else {n.name: n for n in norms if not n.always_by_batch}
        _fill(self, program, wanted)
        shown = {path: m for path, m in self.named_modules() if isinstance(m, _Norm)}
        by_memory = {
            norm.running_mean.data_ptr(): norm
            for norm in shown.values()
            if norm.running_mean is not None
        }
        self.training = scripted and _is_training(program)
        # What TorchScript calls its norms are not paths.
        self.hidden = [n.name for n in norms if not (shown if scripted else n.name in shown)]
        # Neither a submodule nor in a container: nobody is to find it a second time.
        vars(self)["_of_program"] = partial(_routed, program, by_memory)
        vars(self)["forward"] = forward = self._of_program("forward")
        with suppress(ValueError, TypeError):
            vars(forward)["__signature__"] = _signature(program)

    def __getattr__(self, name: str) -> Any:
        """What is no tensor and no module of it, of the program: other methods than `forward`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in vars(self) and "_of_program" in vars(self):
                return vars(self)["_of_program"](name)
            raise

    def train(self, mode: bool = True) -> "Program":  # noqa: FBT001, FBT002 - PyTorch's
        """Set the mode; of the program as well, if it has any."""
        with suppress(NotImplementedError, AttributeError):  # an exported or a frozen one has none
            vars(self)["_of_program"]("train")(mode)
        super().train(mode)
        return self

    @property
    def is_seen(self) -> bool:
        """Whether any of its batch norms can be looked at."""
        return any(isinstance(module, _Norm) for module in self.modules())

    def told(self) -> str:
        """Which of its batch norms cannot be looked at, and why; empty if all can."""
        if not self.hidden:
            return ""
        some = ", ".join(self.hidden[:_MOST_TOLD]) + " …" * (len(self.hidden) > _MOST_TOLD)
        return (
            f"of batch norms in this program ({some}) the statistics are constants, or the batch's "
            "own, so that nobody can look at them; check the model that it was made from"
        )


def shown(model: nn.Module) -> Program | None:
    """A program with batch norms, so that they can be looked at; None if it is none.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
        >>> exported = torch.export.export(model, (torch.zeros(4, 2),)).module()
        >>> [path for path, _ in shown(exported).named_modules()]
        ['', '0', '1', '_guards_fn']
        >>> shown(model) is None
        True
    """
    norms = program_norms(model)
    return Program(model, norms) if norms else None


def programs_within(model: nn.Module) -> dict[str, int]:
    """How many batch norms the programs have that are parts of a model, by their paths."""
    found: dict[str, int] = {}
    for path, module in model.named_modules():
        inside = any(not each or path.startswith(f"{each}.") for each in found)
        if not inside and (norms := program_norms(module)):
            found[path] = len(norms)
    return found


class _Norm(_BatchNorm):
    """A batch norm of a program."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch calls it so
        """Of any number of axes."""


def _fill(
    part: nn.Module, module: nn.Module, wanted: Mapping[str, ProgramNorm] | None, prefix: str = ""
) -> None:
    """Give a part the tensors of a program's module, and parts for those within it.

    Args:
        part: that is filled.
        module: of the program.
        wanted: its batch norms by path; None where what has running statistics is one.
        prefix: the path of the module, with a dot behind it.
    """
    part._parameters.update(module.named_parameters(recurse=False))  # noqa: SLF001
    part._buffers.update(module.named_buffers(recurse=False))  # noqa: SLF001
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        known = None if wanted is None else wanted.get(path)
        norm = _norm(child, known) if known or wanted is None else None
        inner = nn.Module() if norm is None else norm
        inner.training = wanted is None and _is_training(child)
        _fill(inner, child, wanted, f"{path}.")
        part.add_module(name, inner)


def _is_training(module: nn.Module) -> bool:
    """In which mode a scripted module is; a frozen one has none."""
    return bool(getattr(module, "training", False))


def _norm(module: nn.Module, known: ProgramNorm | None) -> _Norm | None:
    """A batch norm in the place of a module with running statistics, without its tensors yet."""
    mean, variance = (getattr(module, name, None) for name in ("running_mean", "running_var"))
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return None
    if "Instance" in getattr(module, "original_name", ""):
        return None
    eps = getattr(module, "eps", None) if known is None else known.eps
    momentum = getattr(module, "momentum", 0.1) if known is None else known.momentum
    norm = _Norm(mean.numel(), 1e-5 if eps is None else eps, momentum, device="meta")
    norm.affine = isinstance(getattr(module, "weight", None), Tensor)
    norm._parameters.update(weight=None, bias=None)  # noqa: SLF001
    norm._buffers.update(num_batches_tracked=None)  # noqa: SLF001
    return norm


def _signature(program: nn.Module) -> inspect.Signature:
    """What a program is called with, which TorchScript keeps from Python."""
    if not isinstance(program, torch.jit.ScriptModule):
        return inspect.signature(program.forward)
    schema: Any = program.forward.schema  # type: ignore[attr-defined]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(each.name, kind) for each in schema.arguments[1:]])


# --- the way that calls take ---


def _routed(program: nn.Module, norms: Mapping[int, _Norm], name: str) -> Any:
    """An attribute of a program; while a method of it runs, batch norms are those modules."""
    value = program if name == "forward" else getattr(program, name)
    if name == "train" or not callable(value) or isinstance(value, Tensor):
        return value

    def run(*args: Any, **kwargs: Any) -> Any:
        with _Route(norms):
            return value(*args, **kwargs)

    return run


class _Route(TorchDispatchMode):
    """Inside the block, a batch norm with the statistics of one of these modules is computed there.

    Args:
        norms: by where the memory of their running means is.
    """

    def __init__(self, norms: Mapping[int, _Norm]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._norms = norms

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        schema: Any = func._schema  # type: ignore[attr-defined] # noqa: SLF001
        names = [argument.name for argument in schema.arguments]
        given = dict(zip(names, args, strict=False)) | dict(kwargs or {})
        mean = given.get("running_mean") if "batch_norm" in schema.name else None
        norm = None if mean is None else self._norms.get(mean.data_ptr())
        if norm is None or given.get("training"):
            return func(*args, **dict(kwargs or {}))
        # As this call has them, whatever attributes said: a traced program has no eps.
        norm._parameters.update(weight=given.get("weight"), bias=given.get("bias"))  # noqa: SLF001
        eps: Any = given.get("eps", given.get("epsilon", norm.eps))
        norm.eps = float(eps)
        answer = norm(given["input"])
        rest = [answer.new_empty(0) for _ in schema.returns[1:]]  # which only training uses
        return (answer, *rest) if rest else answer
