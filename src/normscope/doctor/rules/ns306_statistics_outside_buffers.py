"""Running statistics that are kept as plain attributes, which nothing saves.

## What it finds

Tensors and arrays called `running_mean`, `running_var`, `moving_variance` and the like on any
module that are neither parameters nor saved buffers, so that `state_dict()` does not have them.

## Why it matters

A plain attribute is left behind by `state_dict()`, by `.to(device)`, by `.half()`, by averages of
weights and by every tool that reads buffers. The network trains and evaluates well until somebody
saves it; loaded again it evaluates with the initial values.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> class Norm(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.running_mean, self.running_var = torch.full((4,), 0.5), torch.ones(4)
    >>> finding = check(torch.nn.Sequential(Norm())).of("NS306")[0]
    >>> finding.severity, finding.module, finding.evidence["numbers that differ"]
    ('warning', '0', 4)

## Fix

`self.register_buffer("running_mean", torch.zeros(channels))` in place of the assignment, and in the
forward `self.running_mean.copy_(...)`, or an assignment without `nn.Parameter`. Old checkpoints do
not have the numbers: after loading one, `normscope.recalibrate(model, loader)` computes them for
torch's batch norms, and a pass in training mode for others.

## On purpose

Modules that save them by themselves, through `get_extra_state`, are left alone. Values that are
still 0 and 1 are a note.

## Symptoms

- reloaded model evaluates at chance
- custom batch norm works until it is saved and loaded
- running_mean is on the wrong device
- state_dict has no running_mean

## References

- torch/nn#1165: statistics that were not saved
- vlomonaco/ar1-pytorch#1, hiwonjoon/tf-frrn#2: checkpoints without the moving averages
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from normscope.anatomy import readable
from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import and_more

_NAMES = re.compile(
    r"_?(running|moving)_?(mean|avg|average|mu|var|variance|std|stddev|sigma|cov|covariance)s?"
)
_DEVIATION = re.compile("var|std|sigma")


@dataclass(frozen=True)
class _Stray:
    """Statistics that nothing saves.

    Attributes:
        path: of the module.
        name: of the attribute.
        numbers: how many there are.
        moved: how many are not what one starts with: 0, or 1 for a variance.
    """

    path: str
    name: str
    numbers: int
    moved: int


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for all modules with such attributes."""
    strays = [
        stray for path, module in case.model.named_modules() for stray in _strays(path, module)
    ]
    if not strays:
        return
    moved = sum(stray.moved for stray in strays)
    first = next((stray for stray in strays if stray.moved), strays[0])
    names = " and ".join(stray.name for stray in strays if stray.path == first.path)
    paths = list(dict.fromkeys([first.path, *(stray.path for stray in strays)]))
    yield Found(
        severity="warning" if moved else "info",
        module=first.path,
        message=(
            f"{names} of {type(case.model.get_submodule(first.path)).__name__} are not saved: "
            f"state_dict() lacks {sum(stray.numbers for stray in strays)} numbers, of which "
            f"{moved} are no longer the initial 0 or 1{and_more(paths)}."
        ),
        fix=(
            f'Write self.register_buffer("{first.name}", ...) in place of the assignment; after '
            "loading an old checkpoint, let data through in training mode."
        ),
        evidence={
            "modules": len(paths),
            "numbers": sum(stray.numbers for stray in strays),
            "numbers that differ": moved,
        },
    )


def _strays(path: str, module: nn.Module) -> Iterator[_Stray]:
    if type(module).get_extra_state is not nn.Module.get_extra_state:
        return
    unsaved = {
        name: value
        for name, value in module._buffers.items()  # noqa: SLF001
        if name in module._non_persistent_buffers_set  # noqa: SLF001
    }
    for name, value in (vars(module) | unsaved).items():
        if not _NAMES.fullmatch(name.lower()):
            continue
        tensors = list(_tensors(value))
        if numbers := sum(tensor.numel() for tensor in tensors):
            start = 1 if _DEVIATION.search(name.lower()) else 0
            yield _Stray(path, name, numbers, sum(_moved(tensor, start) for tensor in tensors))


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors of numbers in an attribute, also in lists and dictionaries."""
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
            yield torch.from_numpy(leaf.astype(np.float64))
        elif (tensor := readable(leaf)) is not None and tensor.is_floating_point():
            yield tensor


def _moved(tensor: Tensor, start: int) -> int:
    return int((tensor != start).sum())
