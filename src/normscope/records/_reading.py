"""What a probe read, at one step of a training."""

from typing import Annotated

from pydantic import Field

from normscope.records._base import Record

Number = Annotated[float, Field(strict=False)]
"""A number that may be infinite or NaN, which JSON has to spell as strings."""


class Reading(Record):
    """One quantity of one layer, or of the whole network, after one step.

    Example:
        >>> Reading(step=100, probe="stable-rank", quantity="rank", layer="layers.2", value=7.1)
        Reading(step=100, probe='stable-rank', quantity='rank', layer='layers.2', value=7.1, ...)
    """

    step: int
    """How many steps the optimizer had made."""
    probe: str
    """The probe's name."""
    quantity: str
    """What was read, as the probe's page says."""
    layer: str = ""
    """The path of the layer; empty for the whole network."""
    value: Number | None = None
    """The number, where it is one."""
    values: tuple[Number, ...] = Field((), strict=False)
    """The numbers, where it is a curve: over a grid that the probe's page names."""
