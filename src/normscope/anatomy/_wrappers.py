"""Modules that stand around a model and compute what it computes."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from normscope._errors import InputError

_WRAPPERS = (DistributedDataParallel, DataParallel, AveragedModel)
_SHARDS = "torch.distributed.fsdp"


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that a person wrote, without what torch put around it.

    That is `DistributedDataParallel`, `DataParallel`, `AveragedModel`, and what `torch.compile`
    makes of a module.

    Example:
        >>> unwrapped(nn.DataParallel(nn.Linear(2, 3)))
        Linear(in_features=2, out_features=3, bias=True)
    """
    while True:
        if isinstance(model, _WRAPPERS):
            model = model.module
        elif isinstance(inside := getattr(model, "_orig_mod", None), nn.Module):
            model = inside
        else:
            return model


def plain_path(model: nn.Module, path: str) -> str:
    """A path in `model`, as it is called in the model that a person wrote.

    Args:
        model: perhaps wrapped.
        path: of a module, a parameter or a buffer of it.

    Example:
        >>> plain_path(nn.DataParallel(nn.Sequential(nn.Linear(2, 3))), "module.0.weight")
        '0.weight'
    """
    parts, kept, here = path.split("."), [], model
    for part in parts:
        if part != "_orig_mod" and not (part == "module" and isinstance(here, _WRAPPERS)):
            kept.append(part)
        here = here._modules.get(part) or _NOWHERE  # noqa: SLF001
    return ".".join(kept)


_NOWHERE = nn.Module()


def refuse_shards(model: nn.Module) -> None:
    """Refuse a model whose parameters are in parts on several ranks (FSDP, either version).

    Raises:
        InputError: saying where the whole of it can be had.
    """
    for path, module in model.named_modules():
        if any(kind.__module__.startswith(_SHARDS) for kind in type(module).__mro__):
            msg = (
                f"{path or 'The model'} is sharded (FSDP): its parameters are in parts on several "
                "ranks, and cannot be read as they are used. Take the model before it is wrapped, "
                "and load into it what torch.distributed.checkpoint.state_dict."
                "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)) gives."
            )
            raise InputError(msg)


@contextmanager
def plainly(model: nn.Module) -> Iterator[None]:
    """Inside the block a call of `model` calls its modules, here, and waits for nobody.

    Compiled code does not see hooks, so nothing runs compiled; `DistributedDataParallel` broadcasts
    no buffers (which waits for ranks that may have fewer batches, and writes into this rank's);
    `DataParallel` uses its first device, since hooks on copies of a module do not know it.

    Example:
        >>> with plainly(nn.Linear(2, 3)):
        ...     pass
    """
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # importing it takes seconds; without, nothing compiles
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for module in model.modules():
            if isinstance(module, DistributedDataParallel):
                stack.callback(
                    setattr, module, "require_forward_param_sync", module.require_forward_param_sync
                )
                module.require_forward_param_sync = False
            elif isinstance(module, DataParallel):
                stack.callback(setattr, module, "device_ids", module.device_ids)
                module.device_ids = module.device_ids[:1]
        yield
