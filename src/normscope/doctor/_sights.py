"""What norm layers are given, looked at from outside while a model is at work."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from normscope.anatomy import in_float64, readable
from normscope.doctor._padding import Padding, padding_of
from normscope.stats import Moments

NORM_CLASSES = (
    _BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm,
)  # fmt: skip
"""The modules that are looked at."""


@dataclass(frozen=True, eq=False)
class Sight:
    """One input of one norm layer.

    Attributes:
        batch: the number of the batch, from 0.
        shape: of the input.
        moments: of every channel (axis 1), in float64; None if a number in it is not finite, it
            is empty, or the layer is no batch norm.
        row_moments: of the means of the rows, each over its positions: rows are independent
            where positions are not; None where `moments` is.
        padding: which positions look like padding; None where none do.
        finite: whether all numbers in it are.
    """

    batch: int
    shape: tuple[int, ...]
    moments: Moments | None
    row_moments: Moments | None
    padding: Padding | None
    finite: bool

    @property
    def values_per_channel(self) -> int:
        """How many numbers a batch norm has for one mean."""
        channels = self.shape[1] if len(self.shape) > 1 else 1
        return torch.Size(self.shape).numel() // max(channels, 1)


@dataclass
class Sights:
    """Everything that was seen in some passes.

    Attributes:
        of: the inputs of every norm layer by its path, in the order in which a pass reaches them.
        produced: the path of the module whose very output (or the first of its outputs) a norm
            layer was given, by the norm's path.
    """

    of: dict[str, list[Sight]] = field(default_factory=dict)
    produced: dict[str, str] = field(default_factory=dict)

    def fewest_values(self, batch: int) -> int | None:
        """Over the batch norms that saw this batch, the smallest number of values per channel."""
        counts = [
            sight.values_per_channel
            for sights in self.of.values()
            for sight in sights
            if sight.batch == batch
        ]
        return min(counts, default=None)


def sight_of(norm: nn.Module, x: Tensor, batch: int) -> Sight:
    """Look at one input."""
    shape = tuple(x.shape)
    finite = bool(x.isfinite().all()) if x.is_floating_point() else True
    counts = isinstance(norm, _BatchNorm) and x.ndim > 1 and x.numel() > 0 and not x.is_complex()
    if not counts or not finite:
        return Sight(batch, shape, None, None, None, finite)
    wide = in_float64(x)
    rows = wide.flatten(2).mean(dim=2) if wide.ndim > 2 else wide
    return Sight(
        batch,
        shape,
        Moments.of(wide, [axis for axis in range(wide.ndim) if axis != 1]),
        Moments.of(rows, [0]),
        padding_of(wide),
        finite,
    )


@contextmanager
def looking(modules: Mapping[str, nn.Module], sights: Sights, batch: int) -> Iterator[None]:
    """Inside the block, note what every norm layer among the modules is given.

    What it cannot look at (sparse and nested tensors, and objects that subclasses of norm layers
    take in the place of a tensor) goes by without a note.
    """
    outputs: dict[int, tuple[str, ReferenceType[Tensor]]] = {}

    def before(path: str, norm: nn.Module, x: object) -> None:
        if (values := readable(x)) is None:
            return
        sights.of.setdefault(path, []).append(sight_of(norm, values, batch))
        made = outputs.get(id(x))
        if made is not None and made[1]() is x:  # identities are given out again
            sights.produced.setdefault(path, made[0])

    def after(path: str, output: Any) -> None:
        if isinstance(output, tuple) and output:
            output = output[0]  # a recurrent layer gives its states as well
        if isinstance(output, Tensor):
            outputs[id(output)] = path, ref(output)

    handles = []
    for path, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # which takes no hooks
        if isinstance(module, NORM_CLASSES):
            handles.append(
                module.register_forward_pre_hook(
                    lambda norm, given, named, path=path: before(path, norm, _first(given, named)),
                    with_kwargs=True,
                )
            )
        if not any(True for _ in module.children()):
            handles.append(
                module.register_forward_hook(lambda _, __, output, path=path: after(path, output))
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first(given: tuple[Any, ...], named: Mapping[str, Any]) -> object:
    """What a norm layer is called with: its first argument."""
    return given[0] if given else next(iter(named.values()), None)
