"""Do a layer's running statistics describe what it is given?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from normscope.anatomy import RunningNorm, in_float64
from normscope.doctor._observation import Observation
from normscope.doctor._sights import Sight
from normscope.stats import Moments, merge_all

OFF = 0.25
"""Running statistics are off from here on: in deviations, or as the logarithm of their factor."""
_BEYOND_NOISE = 5.0
_USUAL_MOMENTUM = 0.1
_ALIKE, _NEARLY_ALL = 0.1, 0.9


@dataclass(frozen=True, eq=False)
class LayerFit:
    r"""How far a batch norm's running statistics are from those of its input.

    Per channel, with the mean and population variance of all rows that it was given, the other
    batch norms normalizing by batch statistics, so that no layer suffers from another's:

    .. math:: d = \frac{\mathrm{mean_{run}} - \mathrm{mean}}{\sqrt{\mathrm{variance} + \epsilon}},
              \qquad r = \frac{1}{2} \ln \frac{\mathrm{variance_{run}} + \epsilon}
                                              {\mathrm{variance} + \epsilon}

    An exponential average of batch means with momentum m has the variance m / (2 − m) of one of
    them, and the mean of k batches has 1 / k; rows are independent, positions are not. So the
    noise of d is :math:`\sqrt{(m / (2 - m) + 1 / k) \, s^2 / n}` in deviations, with the variance
    s² of the means of rows and n rows in a batch.

    Attributes:
        path: of the layer.
        shift: the root mean square of d over the channels.
        spread: the root mean square of r.
        noise: of d where statistics are collected as usual, with momentum 0.1 or less.
        scale: the input's deviations over the running ones, if that is one number for nearly all
            channels; else NaN.
    """

    path: str
    shift: float
    spread: float
    noise: float
    scale: float

    @property
    def is_off(self) -> bool:
        """Whether that is more than the luck of the draw, and enough to matter."""
        limit = max(OFF, _BEYOND_NOISE * self.noise)
        return not (self.shift <= limit and self.spread <= limit)

    @property
    def misfit(self) -> float:
        """The larger of shift and spread; NaN if one of them is."""
        return max(self.shift, self.spread) if self.is_finite else math.nan

    @property
    def is_finite(self) -> bool:
        """Whether the running statistics are."""
        return math.isfinite(self.shift) and math.isfinite(self.spread)

    def told(self) -> str:
        """In words."""
        if not self.is_finite:
            return "its running statistics are not finite"
        return (
            f"its running means are off by {self.shift:.2g} deviations and its running deviations "
            f"by a factor of {math.exp(min(self.spread, 700)):.3g} (root mean square over "
            f"channels; sampling noise {self.noise:.1g})"
        )


def layer_fits(observation: Observation) -> list[LayerFit]:
    """Of every batch norm that was called and has running statistics, in the order of the calls."""
    fits = []
    for path, sights in observation.batch_sights.of.items():
        norm = RunningNorm(path, observation.norms[path]) if path in observation.norms else None
        seen = [sight for sight in sights if sight.moments is not None]
        if norm is not None and norm.mean is not None and norm.variance is not None and seen:
            fits.append(_fit(norm, norm.mean, norm.variance, seen))
    return fits


def _fit(norm: RunningNorm, mean: Tensor, variance: Tensor, sights: Sequence[Sight]) -> LayerFit:
    exact = merge_all(sight.moments for sight in sights if sight.moments is not None)
    width = (exact.population_variance + norm.eps).sqrt()
    running_width = (in_float64(variance).to(width.device) + norm.eps).sqrt()
    shift = (in_float64(mean).to(width.device) - exact.mean) / width
    spread = (running_width / width).log()
    momentum = 0.0 if norm.momentum is None else norm.momentum
    unit = _noise_of_a_batch(sights, width)
    return LayerFit(
        path=norm.path,
        shift=_rms(shift),
        spread=_rms(spread),
        noise=unit * _share(min(momentum, _USUAL_MOMENTUM), len(sights)),
        scale=_common(width / running_width),
    )


def _noise_of_a_batch(sights: Sequence[Sight], width: Tensor) -> float:
    """The deviation of one batch's mean, in deviations, over channels."""
    rows = [sight.row_moments for sight in sights if sight.row_moments is not None]
    within = torch.stack([m.m2 for m in rows]).sum(dim=0)
    freedom = sum(m.count - 1 for m in rows)
    if freedom < 1:
        return math.inf
    count = sum(m.count for m in rows) / len(rows)
    return _rms((within / freedom / count).sqrt() / width)


def _share(momentum: float, batches: int) -> float:
    return math.sqrt(momentum / (2 - momentum) + 1 / batches)


def _common(factors: Tensor) -> float:
    """The one factor that nine in ten of these are, to a tenth; else NaN."""
    factor = float(factors.median())
    near = (factors / factor - 1).abs() < _ALIKE
    return factor if float(near.double().mean()) >= _NEARLY_ALL else math.nan


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def moments_by_call(sights: Sequence[Sight]) -> list[Moments]:
    """Of the first call in every batch, of the second, and so on: of the means of rows."""
    calls: list[list[Moments]] = []
    seen: dict[int, int] = {}
    for sight in sights:
        number = seen[sight.batch] = seen.get(sight.batch, -1) + 1
        if sight.row_moments is not None:
            calls += [[]] * (number + 1 - len(calls))
            calls[number] = [*calls[number], sight.row_moments]
    return [merge_all(call) for call in calls if call]
