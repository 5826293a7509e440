"""What can be read off norm layers' own numbers, for the rules on settings and statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.stats import Moments, merge_all


@dataclass(frozen=True, eq=False)
class Stored:
    """The numbers of one norm layer per channel, in float64 on the CPU.

    Attributes:
        path: of the layer.
        mean: the running mean.
        variance: the running variance.
        eps: what is added to the variance.
        gamma: the scale; ones where there is none.
        beta: the shift; zeros where there is none.
    """

    path: str
    mean: Tensor
    variance: Tensor
    eps: float
    gamma: Tensor
    beta: Tensor

    @property
    def gain(self) -> Tensor:
        """What a change of the input is multiplied by in eval mode: |gamma| / sqrt(var + eps)."""
        return self.gamma.abs() / (self.variance + self.eps).sqrt()

    @property
    def is_sound(self) -> bool:
        """Whether all numbers are finite and no variance is below zero."""
        values = (self.mean, self.variance, self.gamma, self.beta)
        return all(bool(each.isfinite().all()) for each in values) and not bool(
            (self.variance < 0).any()
        )


def stored(norm: RunningNorm) -> Stored | None:
    """The numbers of one layer; None where it has no statistics, or they do not fit together.

    Example:
        >>> from torch import nn
        >>> stored(RunningNorm("bn", nn.BatchNorm1d(2))).gain.round(decimals=3).tolist()
        [1.0, 1.0]
    """
    tensors = (norm.mean, norm.variance, norm.gamma, norm.beta)
    if any(each is not None and each.is_complex() for each in tensors):
        return None
    if norm.mean is None or norm.variance is None:
        return None
    mean, variance = numbers(norm.mean), numbers(norm.variance)
    gamma = torch.ones_like(mean) if norm.gamma is None else numbers(norm.gamma)
    beta = torch.zeros_like(mean) if norm.beta is None else numbers(norm.beta)
    sizes = {each.numel() for each in (mean, variance, gamma, beta)}
    if len(sizes) != 1 or 0 in sizes:
        return None
    return Stored(norm.path, mean, variance, norm.eps, gamma, beta)


def stored_in(case: Case) -> list[Stored]:
    """The numbers of every norm layer that has sound ones, in definition order."""
    layers = map(stored, case.norms.values())
    return [layer for layer in layers if layer is not None and layer.is_sound]


def collects(norm: RunningNorm) -> bool:
    """Whether the layer would collect running statistics in training mode."""
    module = norm.module
    return isinstance(module, _NormBase) and module.track_running_stats and norm.mean is not None


def was_training(case: Case, norm: RunningNorm) -> bool:
    """Whether the layer was in training mode when the check began."""
    return case.training.get(norm.path, norm.module.training)


def is_trained(case: Case, norm: RunningNorm) -> bool:
    """Whether the layer was in training mode, or parameters of its own are to be trained."""
    own = norm.module.parameters(recurse=False)
    return was_training(case, norm) or any(parameter.requires_grad for parameter in own)


def given(case: Case, path: str) -> list[Moments]:
    """The moments of every batch that a layer was given while batches normalize by themselves."""
    if not case.has_data:
        return []
    sights = case.observation.batch_sights.of.get(path, [])
    return [sight.moments for sight in sights if sight.moments is not None]


def given_together(case: Case, path: str) -> Moments | None:
    """The moments of all batches as one; None without data, or where there are too few values."""
    moments = given(case, path)
    together = merge_all(moments) if moments else None
    return None if together is None or together.count < 2 else together


def and_more(paths: Sequence[str]) -> str:
    """How many layers besides the first have the same trouble, for the end of a clause.

    Example:
        >>> and_more(["bn1"]), and_more(["bn1", "bn2", "bn3"])
        ('', ' (and 2 more layers)')
    """
    others = len(paths) - 1
    return f" (and {others} more layer{'s' * (others > 1)})" if others else ""


def numbers(tensor: Tensor) -> Tensor:
    """In one row, in float64 on the CPU, whatever real format they are in."""
    return tensor.cpu().double().flatten()
