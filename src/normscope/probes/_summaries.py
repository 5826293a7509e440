"""How a probe says what it read of many units: one number, and where most of them lie."""

from dataclasses import dataclass

import torch
from torch import Tensor

from normscope.probes._moment import Moment
from normscope.records import Reading

GRID = (0.0, 0.15, 0.5, 0.85, 1.0)
"""The quantiles over rows or units that `Reading.values` holds: the 15th and the 85th are those of
Ioffe & Szegedy 2015, figure 1."""


@dataclass(frozen=True)
class Writer:
    """Writes a probe's readings at one moment.

    Attributes:
        moment: when.
        probe: its name.
    """

    moment: Moment
    probe: str

    def number(self, quantity: str, value: float | Tensor, layer: str = "") -> Reading:
        """One number."""
        return Reading(
            step=self.moment.step,
            probe=self.probe,
            quantity=quantity,
            layer=layer,
            value=float(value),
        )

    def spread(
        self, quantity: str, each: Tensor, layer: str, value: float | Tensor | None = None
    ) -> Reading:
        """A number for a layer and its quantiles (`GRID`) over the layer's units.

        Args:
            quantity: its name.
            each: a number per unit; those that are NaN are left out.
            layer: the layer's path.
            value: the layer's own number; by default the mean over its units.
        """
        value = torch.nanmean(each) if value is None else value
        return self.number(quantity, value, layer).model_copy(update={"values": quantiles(each)})


def quantiles(each: Tensor) -> tuple[float, ...]:
    """The quantiles of `GRID`, in float64, of the numbers that are not NaN.

    Example:
        >>> quantiles(torch.tensor([1.0, 2.0, float("nan"), 3.0]))
        (1.0, 1.3, 2.0, 2.7, 3.0)
    """
    numbers = exact(each).flatten()
    numbers = numbers[~numbers.isnan()]
    if not len(numbers):
        return tuple(float("nan") for _ in GRID)
    return tuple(map(float, torch.quantile(numbers, numbers.new_tensor(GRID)).tolist()))


def exact(values: Tensor) -> Tensor:
    """In float64, where it is if that device has it."""
    values = values.detach()
    return (values.cpu() if values.device.type == "mps" else values).double()
