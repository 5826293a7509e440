"""Modules that keep running statistics, whatever their class."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from normscope.anatomy._numbers import readable

_ROUNDED = 0.99


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
        return readable(getattr(self.module, "running_mean", None))

    @property
    def variance(self) -> Tensor | None:
        """The running variance per channel; None if there is none, or it holds no numbers yet."""
        return readable(getattr(self.module, "running_var", None))

    @property
    def gamma(self) -> Tensor | None:
        """The scale per channel, as a tensor without history; None if there is none."""
        return readable(getattr(self.module, "weight", None))

    @property
    def beta(self) -> Tensor | None:
        """The shift per channel, as a tensor without history; None if there is none."""
        return readable(getattr(self.module, "bias", None))

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
        count = readable(getattr(self.module, "num_batches_tracked", None))
        if count is None or count.numel() != 1 or not bool(count.isfinite()):
            return None
        return int(count)

    @property
    def has_initial_statistics(self) -> bool:
        """Whether the statistics are those of a new layer: 0 and 1, exactly."""
        mean, variance = self.mean, self.variance
        if mean is None or variance is None:
            return False
        return bool((mean == 0).all() and (variance == 1).all())

    @property
    def initial_share(self) -> float:
        """By its counter, how much of the initial 0 and 1 is left in the statistics: (1 − m)ⁿ.

        0 where the counter says nothing: it is missing, or 0, as after an old checkpoint.
        """
        count, momentum = self.batches_tracked, self.momentum
        if not count or count < 0 or momentum is None or not 0 < momentum < 1:
            return 0.0
        return float((1 - momentum) ** count)

    @property
    def denies_its_counter(self) -> bool:
        """Whether some running variance is below `initial_share`, what the initial 1 leaves of it.

        The counter was then set by something else than these statistics: a recalibration, a reset.
        """
        variance = self.variance
        return variance is not None and bool((variance < self.initial_share * _ROUNDED).any())

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
