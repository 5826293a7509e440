"""What a repair did to a model, what it left, and how that was measured."""

import math
from typing import Annotated, Literal

from pydantic import Field

from normscope.records._base import Record

RECEIPT_FORMAT: Literal[1] = 1

Figure = Annotated[float, Field(strict=False)]
"""A figure that may be infinite or NaN, which JSON has to spell as strings."""


_FEW = 12
"""Lines of one kind in a receipt that is printed; what is beyond is counted."""


class Change(Record):
    """One module that was changed."""

    module: str
    """Its dotted path in the model that was handed in; empty for the model itself."""
    change: str
    """What was done, in words."""


class Left(Record):
    """One module that the operation was meant for and that it left alone."""

    module: str
    """Its dotted path in the model that was handed in; empty for the model itself."""
    reason: str
    """Why, in words."""


class Receipt(Record):
    """What an operation on a model did.

    Raises:
        pydantic.ValidationError: if a field is missing, unknown or of the wrong type.

    Example:
        >>> receipt = Receipt(operation="fold", difference=1e-7, tolerance=1e-5)
        >>> Receipt.model_validate_json(receipt.model_dump_json()) == receipt
        True
    """

    format_version: Literal[1] = RECEIPT_FORMAT
    """The version of this format."""
    operation: str
    """The function that was called."""
    changed: tuple[Change, ...] = Field((), strict=False)
    """What was changed, in the model's order."""
    left: tuple[Left, ...] = Field((), strict=False)
    """What was left alone, and why."""
    difference: Figure | None = None
    """How far the outputs on the example moved: the largest difference, relative to the largest
    absolute output. Absent where outputs were not compared."""
    tolerance: Figure | None = None
    """The difference that was allowed."""
    notes: tuple[str, ...] = Field((), strict=False)
    """What has to be known besides: what the operation does not cure."""
    before: dict[str, Figure] = Field(default_factory=dict)
    """Figures taken before the operation, by their name."""
    after: dict[str, Figure] = Field(default_factory=dict)
    """The same figures afterwards."""

    def __str__(self) -> str:
        """Line by line: what was changed and left, figures before and after, and what to know."""
        left = f", {len(self.left)} left" if self.left else ""
        lines = [f"{self.operation}: {len(self.changed)} changed{left}"]
        lines += _first([f"  changed {each.module!r}: {each.change}" for each in self.changed])
        lines += _first([f"  left {each.module!r}: {each.reason}" for each in self.left])
        lines += [
            f"  {name}: {before:.4g} before, {self.after.get(name, math.nan):.4g} after"
            for name, before in self.before.items()
        ]
        if self.difference is not None:
            allowed = "" if self.tolerance is None else f" ({self.tolerance:.0e} is allowed)"
            lines.append(f"  outputs differ by {self.difference:.1e} of the largest{allowed}")
        return "\n".join([*lines, *(f"  Note: {note}" for note in self.notes)])


def _first(lines: list[str]) -> list[str]:
    """The first of many lines, and how many are not told."""
    more = len(lines) - _FEW
    return lines if more <= 0 else [*lines[:_FEW], f"  and {more} more"]
