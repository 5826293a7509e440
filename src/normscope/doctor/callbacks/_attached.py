"""A watch that somebody else's loop begins and ends."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from torch import nn
from torch.optim import Optimizer

from normscope._errors import InputError
from normscope.doctor._watch import Watch, watch
from normscope.records import Diagnosis


class Attached:
    """What every callback does.

    Args:
        suppress: findings that are on purpose, as `normscope.watch` takes them.

    Example:
        >>> import torch
        >>> model, look = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), Attached()
        >>> look.start(model)
        >>> _ = model(torch.randn(8, 2))
        >>> look.stop()
        >>> look.diagnosis().conditions["passes"]
        1
    """

    def __init__(self, suppress: Mapping[str, str] = MappingProxyType({})) -> None:
        self._suppress = suppress
        self._watch: Watch | None = None
        self._watching = False

    def start(self, model: nn.Module, optimizers: Iterable[Optimizer] | None = None) -> None:
        """Begin to watch a training; one that is watched already is left."""
        self.stop()
        self._watch = watch(model, optimizers, suppress=self._suppress)
        self._watch.__enter__()
        self._watching = True

    def stop(self) -> None:
        """Take every hook away, if there are any."""
        if self._watching and self._watch is not None:
            self._watch.__exit__(None, None, None)
        self._watching = False

    def diagnosis(self) -> Diagnosis:
        """What is wrong, by what was seen so far of the last training.

        Raises:
            InputError: if none has begun.
        """
        if self._watch is None:
            msg = "No training has begun yet; pass this callback to the trainer."
            raise InputError(msg)
        return self._watch.diagnosis()
