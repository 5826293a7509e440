"""Moving averages: `decay` is always the weight of the old, as in the article."""

import abc
from typing import TypeVar, overload

from torch import Tensor

from normscope._errors import InputError, IntegerTensorError

Value = TypeVar("Value", float, Tensor)


def exponential_average(shadow: Value, value: Value, decay: float) -> Value:
    r"""Move the shadow one step towards the value, and return it.

    .. math:: \text{shadow} \leftarrow \text{decay} \cdot \text{shadow}
              + (1 - \text{decay}) \cdot \text{value}

    Computed as a linear interpolation, so that a constant value is a fixed point to the last bit
    and `decay=0.0` returns exactly the value. Nothing is changed in place. A value that is not
    finite stays in the shadow: no later value can drive it out.

    Args:
        shadow: The average so far, a number or a tensor.
        value: The new value, of the same shape.
        decay: The weight of the old, in [0, 1). PyTorch's `momentum` is `1 - decay`.

    Raises:
        InputError: If the decay is outside [0, 1).

    >>> round(exponential_average(1.0, 2.0, decay=0.9), 12)
    1.1
    """
    if not 0 <= decay < 1:
        raise InputError(_bad_decay(decay))
    step = value - shadow
    return shadow + (1 - decay) * step if decay > 0.5 else value - decay * step


@overload
def warmed_up_decay(decay: float, updates: int) -> float: ...
@overload
def warmed_up_decay(decay: float, updates: Tensor) -> Tensor: ...
def warmed_up_decay(decay: float, updates: int | Tensor) -> float | Tensor:
    r"""The decay to use after so many updates: small at first, so that the start is forgotten.

    .. math:: \text{decay}_n = \min\left(\text{decay}, \frac{1 + n}{10 + n}\right)

    Args:
        decay: The decay in the long run.
        updates: n, how many updates were made before this one. A tensor gives a tensor, on its
            own device.

    >>> [round(warmed_up_decay(0.9, updates), 3) for updates in (0, 1, 10, 100)]
    [0.1, 0.182, 0.55, 0.9]
    """
    if isinstance(updates, Tensor):
        return ((1 + updates) / (10 + updates)).clamp(max=decay)
    return min(decay, (1 + updates) / (10 + updates))


class _AbstractAverage(abc.ABC):
    """One shadow per tracked name, which starts at the first value of that name."""

    def __init__(self) -> None:
        self._shadows: dict[str, float | Tensor] = {}
        self._counts: dict[str, int] = {}

    @abc.abstractmethod
    def _decay_after(self, count: int) -> float:
        """The weight of a shadow that has seen `count` values, in front of the next."""

    def update(self, name: str, value: float | Tensor) -> None:
        """Let the shadow of this name follow the value; its first value starts it.

        Tensors are detached and copied: an average neither keeps a graph alive nor changes when
        its value is changed in place. Values that are not finite are not filtered; they stay in
        the shadow, where a failure remains visible.

        Args:
            name: Which tracked value this is.
            value: What it is now: a number, or a tensor of floats of always the same shape.

        Raises:
            InputError: If the value has another shape than the shadow.
            IntegerTensorError: If the value is a tensor of integers.
        """
        if isinstance(value, Tensor) and not value.is_floating_point():
            msg = (
                f"{name!r} is a tensor of {value.dtype}, which cannot hold an average. "
                "Convert it first: x.float(), or x.double()"
            )
            raise IntegerTensorError(msg)
        new = value.detach().clone() if isinstance(value, Tensor) else float(value)
        count = self._counts.get(name, 0)
        if count:
            shadow = self._shadows[name]
            if _shape_of(shadow) != _shape_of(new):
                msg = (
                    f"{name!r} had shape {_shape_of(shadow)} and has {_shape_of(new)} now; "
                    "an average needs values of one shape"
                )
                raise InputError(msg)
            decay = self._decay_after(count)
            new = exponential_average(shadow, new, decay)  # type: ignore[type-var]  # of one shape
        self._shadows[name], self._counts[name] = new, count + 1

    def average(self, name: str) -> float | Tensor:
        """Read the shadow of this name.

        Raises:
            InputError: If no value of this name was ever seen.
        """
        if name not in self._shadows:
            known = ", ".join(self._shadows) or "none yet"
            msg = f"no value named {name!r} was tracked; tracked are: {known}"
            raise InputError(msg)
        return self._shadows[name]


class ExponentialAverage(_AbstractAverage):
    """Exponential moving averages of any number of named values.

    `shadow ← decay · shadow + (1 − decay) · value`: one shadow per name, which starts at the first
    value of that name. With `warm_up`, the n-th update after the start (counted from 0) uses
    `min(decay, (1 + n) / (10 + n))`.

    Args:
        decay: The weight of the old, in [0, 1).
        warm_up: Whether to follow quickly at first.

    Raises:
        InputError: If the decay is outside [0, 1).

    A value that starts at 1 and grows by 1 before each update:

    >>> average = ExponentialAverage(decay=0.9)
    >>> average.update("loss", 1.0)
    >>> for value in (2.0, 3.0, 4.0):
    ...     average.update("loss", value)
    ...     print(round(average.average("loss"), 12))
    1.1
    1.29
    1.561
    """

    def __init__(self, decay: float, *, warm_up: bool = False) -> None:
        if not 0 <= decay < 1:
            raise InputError(_bad_decay(decay))
        super().__init__()
        self._decay = decay
        self._warm_up = warm_up

    def _decay_after(self, count: int) -> float:
        return warmed_up_decay(self._decay, count - 1) if self._warm_up else self._decay


class CumulativeAverage(_AbstractAverage):
    """Plain means of any number of named values, by the same update.

    With `decay = t / (t + 1)`, t the number of values so far, the exponential update is the mean of
    all values: an infinite memory instead of a fading one.

    >>> average = CumulativeAverage()
    >>> for value in (1.0, 2.0, 6.0):
    ...     average.update("loss", value)
    >>> average.average("loss")
    3.0
    """

    def _decay_after(self, count: int) -> float:
        return count / (count + 1)


def _shape_of(value: float | Tensor) -> list[int]:
    return list(value.shape) if isinstance(value, Tensor) else []


def _bad_decay(decay: float) -> str:
    return f"decay is {decay}; it is the weight of the old: at least 0, and less than 1"
