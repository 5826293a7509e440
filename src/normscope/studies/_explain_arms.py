"""The networks that are trained to tell explanations of batch norm apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from normscope.records import Recipe

Settings = Callable[[Recipe], dict[str, Any]]
"""From the recipe that all arms have in common to the fields that an arm changes."""

PROBED = ("none", "batch", "noisy")
"""The arms in which probes look on: those whose readings a prediction is about."""


@dataclass(frozen=True)
class ExplainArm:
    """One of the networks that are trained.

    Attributes:
        key: what predictions call it.
        words: what people call it.
        settings: what it changes of the common recipe.
    """

    key: str
    words: str
    settings: Settings


def _fixed(**settings: Any) -> Settings:
    return lambda _: dict(settings)


def _ghost(parts: int) -> Settings:
    """Batch norm over such a part of the batch; one row, which the recipe refuses, is the least."""
    return lambda recipe: {
        "norm": "batch",
        "ghost_size": max(1, round(recipe.batch_size / parts)),
    }


ARMS = (
    ExplainArm("none", "no norm", _fixed(norm="none")),
    ExplainArm("batch", "batch norm", _fixed(norm="batch")),
    ExplainArm("noisy", "batch norm, then noise in shift and scale", _fixed(norm="noisy")),
    ExplainArm("detached", "batch norm, no gradient through statistics", _fixed(norm="detached")),
    ExplainArm("weight", "weight norm", _fixed(norm="weight")),
    ExplainArm("one-shot", "no norm, calibrated before the first step", _fixed(norm="calibrated")),
    ExplainArm("last", "batch norm on the logits alone", _fixed(norm="last")),
    ExplainArm("rival", "no norm: scaled weight standardization, clipping", _fixed(norm="clipped")),
    ExplainArm("variance", "batch norm that divides, and does not center", _fixed(norm="variance")),
    ExplainArm("ghost-8", "batch norm over eighths of a batch", _ghost(8)),
    ExplainArm("ghost-2", "batch norm over halves of a batch", _ghost(2)),
    ExplainArm("layer", "layer norm", _fixed(norm="layer")),
    ExplainArm("mean", "batch norm that centers, and does not divide", _fixed(norm="mean")),
    ExplainArm("ghost-4", "batch norm over quarters of a batch", _ghost(4)),
    ExplainArm("ghost-16", "batch norm over sixteenths of a batch", _ghost(16)),
    ExplainArm("calm", "batch norm over four batches", _fixed(norm="calm")),
)
"""Most telling first: where the budget ends, the last are left out."""


def arms_named(keys: Sequence[str]) -> list[ExplainArm]:
    """The arms of these keys, in their order."""
    return [next(arm for arm in ARMS if arm.key == key) for key in keys]
