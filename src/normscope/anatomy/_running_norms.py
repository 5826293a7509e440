"""Modules that keep running statistics, whatever their class."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import is_lazy


@dataclass(frozen=True, eq=False)
class RunningNorm:
    """A module that keeps a running mean and a running variance, or could.

    Torch's batch and instance norms, their subclasses, and whatever has tensors called
    ``running_mean`` and ``running_var``: other people's batch norms, frozen ones, and the modules
    of an exported program.

    Attributes:
        path: its dotted path in the model; the first, if it has several.
        module: the module itself.
    """

    path: str
    module: nn.Module

    @property
    def is_batch_norm(self) -> bool:
        """Whether it is one of torch's batch norms, or a subclass."""
        return isinstance(self.module, _BatchNorm)

    @property
    def mean(self) -> Tensor | None:
        """The running mean per channel; None if there is none, or it holds no numbers yet."""
        return _readable(getattr(self.module, "running_mean", None))

    @property
    def variance(self) -> Tensor | None:
        """The running variance per channel; None if there is none, or it holds no numbers yet."""
        return _readable(getattr(self.module, "running_var", None))

    @property
    def gamma(self) -> Tensor | None:
        """The scale per channel, as a tensor without history; None if there is none."""
        return _readable(getattr(self.module, "weight", None))

    @property
    def beta(self) -> Tensor | None:
        """The shift per channel, as a tensor without history; None if there is none."""
        return _readable(getattr(self.module, "bias", None))

    @property
    def eps(self) -> float:
        """What is added to the variance; torch's default where the module does not say."""
        eps = getattr(self.module, "eps", None)
        return float(eps) if isinstance(eps, float | int) else 1e-5

    @property
    def momentum(self) -> float | None:
        """The weight of the new; None for the cumulative average, or where nothing is said."""
        momentum = getattr(self.module, "momentum", None)
        return float(momentum) if isinstance(momentum, float | int) else None

    @property
    def batches_tracked(self) -> int | None:
        """How many batches moved the statistics; None where nobody counts."""
        count = _readable(getattr(self.module, "num_batches_tracked", None))
        if count is None or count.numel() != 1 or not bool(count.isfinite()):
            return None
        return int(count)

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether a call now would normalize by the batch's own statistics."""
        if not isinstance(self.module, _NormBase):
            return False
        return self.module.training or (
            self.module.running_mean is None and self.module.running_var is None
        )

    @property
    def moves_statistics(self) -> bool:
        """Whether a call now would move the running statistics."""
        return (
            isinstance(self.module, _NormBase)
            and self.module.training
            and self.module.track_running_stats
            and self.module.running_mean is not None
        )


def running_norms(model: nn.Module) -> dict[str, RunningNorm]:
    """Every module of `model` that keeps running statistics or could, by its dotted path.

    In definition order. A module that is registered in two places is listed once.

    Example:
        >>> norms = running_norms(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
        >>> list(norms), norms["1"].batches_tracked
        (['1'], 0)
    """
    return {
        path: RunningNorm(path, module)
        for path, module in model.named_modules()
        if isinstance(module, _NormBase) or _has_statistics(module)
    }


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(getattr(module, "running_mean", None), Tensor) and isinstance(
        getattr(module, "running_var", None), Tensor
    )


def _readable(value: object) -> Tensor | None:
    """A tensor whose numbers can be looked at."""
    if not isinstance(value, Tensor) or is_lazy(value) or value.is_meta:
        return None
    return value.detach() if value.layout == torch.strided else None
