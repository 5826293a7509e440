"""Figures as they are shown: a minus that looks like one, no digits that mean nothing."""

import math
from collections.abc import Callable

from normscope.records import Estimate

_MINUS = "\N{MINUS SIGN}"
_SMALLEST_P = 0.001
_MANY_ZEROS = 0.001


def number(value: float, digits: int = 2) -> str:
    """With so many digits after the point.

    Example:
        >>> number(-1234.5), number(float("nan"))
        ('−1,234.50', '–')
    """
    if math.isnan(value):
        return "\N{EN DASH}"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", _MINUS)


def significant(value: float, digits: int = 3) -> str:
    """With so many digits that count, however large or small the value is.

    Example:
        >>> significant(0.00123456), significant(45678.0), significant(0.0), significant(1.32e-7)
        ('0.00123', '45,678', '0', '1.32e−07')
    """
    if value == 0 or not math.isfinite(value):
        return number(value, 0)
    if abs(value) < _MANY_ZEROS:
        return f"{value:.{digits - 1}e}".replace("-", _MINUS)
    return number(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def signed(value: float, digits: int = 2) -> str:
    """With its sign, as differences are.

    Example:
        >>> signed(1.086), signed(-0.5), signed(0.0)
        ('+1.09', '−0.50', '0.00')
    """
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def rate(value: float) -> str:
    """A learning rate, as people write it.

    Example:
        >>> rate(0.001), rate(3e-05)
        ('0.001', '3e−05')
    """
    return f"{value:g}".replace("-", _MINUS)


def interval(estimate: Estimate, shown: Callable[[float], str] = number) -> str:
    """Where the interval begins and ends, as in the verdict; a dash where there is none.

    Example:
        >>> interval(Estimate(value=1.0, low=-0.5, high=1.5, n=5))
        '[−0.50, 1.50]'
    """
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return number(math.nan)
    return f"[{shown(estimate.low)}, {shown(estimate.high)}]"


def p_value(value: float) -> str:
    """A p-value to three digits.

    Example:
        >>> p_value(0.0004), p_value(0.0123)
        ('< 0.001', '0.012')
    """
    return "< 0.001" if value < _SMALLEST_P else f"{value:.3f}"
