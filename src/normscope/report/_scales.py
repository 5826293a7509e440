"""Axes that several pictures share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

_ROUND, _ROUNDER = (1, 2, 3, 5, 7), (1, 2, 5)
_WIDE_RATIO = 6
_LARGE = 10
_SIGNED = "abs(datum.value) < 1e-9 ? '0' : format(datum.value, '+~r')"
_FEWEST, _MOST = 3, 7
_APART = 1.12  # less, and two labels would lie on each other


@dataclass(frozen=True)
class Height:
    """A vertical scale that several fields are drawn on."""

    scale: alt.Scale
    axis: alt.Axis

    def __call__(self, field: str) -> alt.Y:
        """A field on it."""
        return alt.Y(f"{field}:Q", scale=self.scale, axis=self.axis)


def accuracy(values: Sequence[float]) -> Height:
    """Accuracy, from errors in percent, on a logarithmic scale of errors.

    Equal heights are equal ratios of errors: 90 to 95 % is as far as 98 to 99 %, so that a
    collapse and half a point between two good networks can both be seen.

    Args:
        values: The errors that have to fit, all above 0.
    """
    low, high = min(values), max(values)
    low, high = min(low * 0.94, 90), min(max(high * 1.06, low * 1.3), 101)
    axis = alt.Axis(
        values=_errors_to_label(low, high),
        labelExpr="format(100 - datum.value, '~r')",
        title=None,
    )
    return Height(alt.Scale(type="log", domain=[high, low], nice=False), axis)


def _errors_to_label(low: float, high: float) -> list[float]:
    """The errors at whose heights the axis says the accuracy.

    The best networks are what is looked for, so there is one near them, however round.

    Example:
        >>> _errors_to_label(3.7, 60.0)
        [4.0, 5.0, 7.0, 10.0, 20.0, 30.0, 50.0]
    """
    if high / low > _WIDE_RATIO:
        few = _decades(low, high, _ROUNDER)
        errors = few if len(few) > _FEWEST + 1 else _decades(low, high, _ROUND)
    else:
        errors = steps_between(low, high)
    step = 10.0 ** math.floor(math.log10(low)) / 2
    best = round(math.ceil(low / step) * step, 10)
    return [best, *errors] if errors and best * _APART <= errors[0] else errors


def _decades(low: float, high: float, digits: Sequence[int]) -> list[float]:
    powers = range(math.floor(math.log10(low)), 3)
    errors = [digit * 10.0**power for power in powers for digit in digits]
    return [error for error in errors if low <= error <= min(high, 100)]


def steps_between(low: float, high: float) -> list[float]:
    """Between three and seven round numbers from `low` to `high`.

    Example:
        >>> steps_between(8.1, 11.2)
        [9.0, 10.0, 11.0]
    """
    size = 10.0 ** math.floor(math.log10(high - low))
    for factor in (1, 0.5, 0.2, 0.1):
        step = size * factor
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first + 1 >= _FEWEST:
            every = math.ceil((last - first + 1) / _MOST)
            return [round(number * step, 10) for number in range(first, last + 1, every)]
    return [low, high]


def learning_rate(rates: Sequence[float], title: str) -> alt.X:
    """The learning rate, in field ``rate``, logarithmic, with room beside the outermost."""
    scale = alt.Scale(type="log", domain=list(rates_shown(rates)), nice=False)
    axis = alt.Axis(values=list(rates), format="~g", title=title, labelOverlap=True)
    return alt.X("rate:Q", scale=scale, axis=axis)


def rates_shown(rates: Sequence[float]) -> tuple[float, float]:
    """Where the axis of learning rates begins and ends."""
    return min(rates) / 1.5, max(rates) * 1.5


def steps(last: float, title: str | None) -> alt.X:
    """Training steps, in field ``step``, from 0 to the last."""
    axis = alt.Axis(title=title, tickCount=4, format="~s" if last >= 1e5 else ",d")
    return alt.X("step:Q", scale=alt.Scale(domain=[0, last], nice=False), axis=axis)


def differences(values: Sequence[float], titles: tuple[str, str]) -> alt.X:
    """Differences, in field ``value``; beyond ±1 logarithmic where some are very large.

    Args:
        values: What has to fit.
        titles: What the axis is called where it is linear, and where it is not.
    """
    low, high = min([*values, 0.0]), max([*values, 0.0])
    margin = 0.06 * (high - low) or 1.0
    if max(-low, high) < _LARGE:
        scale = alt.Scale(domain=[low - margin, high + margin], nice=False)
        return alt.X(
            "value:Q", scale=scale, axis=alt.Axis(title=titles[0], tickCount=5, format="+~r")
        )
    marks = [1, 3, 10, 30, 100]
    domain = [1.3 * low - 0.5, 1.3 * high + 0.5]
    ticks = [tick for tick in [*(-m for m in marks), 0, *marks] if domain[0] <= tick <= domain[1]]
    axis = alt.Axis(title=titles[1], values=ticks, labelExpr=_SIGNED, labelOverlap=True)
    scale = alt.Scale(type="symlog", constant=1, domain=domain, nice=False)
    return alt.X("value:Q", scale=scale, axis=axis)
