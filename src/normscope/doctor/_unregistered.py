"""Modules that a model holds where torch does not look for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import nn

_DEEPEST, _MOST = 4, 1000
"""How deep containers are looked into, and how many things of each: some hold a data set."""
_TORCHS_OWN = frozenset(vars(nn.Module()))


@dataclass(frozen=True, eq=False)
class Unregistered:
    """A module that `model.modules()` does not give.

    Attributes:
        path: how to get at it, as in ``"encoder.norms[2]"``.
        module: the module.
        contained: whether a list, a tuple, a set or a dictionary holds it; else it is an attribute
            that somebody put past `nn.Module.__setattr__`, which nobody does by mistake.
    """

    path: str
    module: nn.Module
    contained: bool


def unregistered_modules(model: nn.Module) -> list[Unregistered]:
    """The modules that hang in attributes of a model's modules, and are not among them.

    Containers are looked into. What is inside an unregistered module is not listed by
    itself.

    Example:
        >>> model = nn.Module()
        >>> model.norms = [nn.BatchNorm1d(2)]
        >>> [found.path for found in unregistered_modules(model)]
        ['norms[0]']
    """
    known = set(model.modules())
    found: dict[nn.Module, Unregistered] = {}
    for prefix, owner in model.named_modules():
        for name, value in vars(owner).items():
            if name in _TORCHS_OWN:
                continue
            path = f"{prefix}.{name}" if prefix else name
            for place, module in _modules_in(value, path, _DEEPEST):
                if module not in known and module not in found:
                    found[module] = Unregistered(place, module, contained=module is not value)
    return list(found.values())


def _modules_in(value: Any, path: str, depth: int) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(value, nn.Module):
        yield path, value
    elif depth and isinstance(value, dict):
        for key, inner in islice(value.items(), _MOST):
            yield from _modules_in(inner, f"{path}[{key!r}]", depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for index, inner in enumerate(islice(value, _MOST)):
            yield from _modules_in(inner, f"{path}[{index}]", depth - 1)
