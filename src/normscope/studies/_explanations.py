"""What is said of why batch norm works, and what each explanation predicts, before any run.

The tables of `docs/explain.md` are written from these lists, and `explain` judges by them.
"""

from normscope.studies._explain_arms import ARMS, PROBED, ExplainArm, arms_named
from normscope.studies._prediction import Prediction, Premise, Region, Scale
from normscope.studies._predictions_noise import NOISE_AND_PRICE
from normscope.studies._predictions_rates import RATES_AND_START
from normscope.studies._predictions_shift import SHIFT_AND_SMOOTHNESS

__all__ = [
    "ARMS",
    "PREDICTIONS",
    "PREMISES",
    "PROBED",
    "ExplainArm",
    "Prediction",
    "Premise",
    "Region",
    "Scale",
    "arms_named",
    "premise",
]

PREMISES = (
    Premise(
        "gain",
        "batch norm is not found to learn faster here, so there is no gain to explain",
        "L(batch) − L(none)",
        lambda s: s.learned("batch") - s.learned("none"),
    ),
    Premise(
        "early-gain",
        "batch norm is not found to learn faster in the first epoch, so there is no early gain",
        "E(batch) − E(none)",
        lambda s: s.early("batch") - s.early("none"),
    ),
    Premise(
        "end-gain",
        "batch norm is not found to be more accurate at the end, so there is no such gain",
        "A(batch) − A(none)",
        lambda s: s.ended("batch") - s.ended("none"),
    ),
    Premise(
        "a-rate-matters",
        "without a norm the learning rate is not found to matter by more than a point, so no "
        "norm can make it matter less",
        "F(none) − 1",
        lambda s: s.fall("none") - 1,
    ),
    Premise(
        "flatter",
        "batch norm is not found to be less sensitive to the learning rate than no norm",
        "F(none) − F(batch)",
        lambda s: s.fall("none") - s.fall("batch"),
    ),
    Premise(
        "noise-drifts",
        "the noise is not found to make distributions drift more than they do without a norm",
        "ln D(noisy) − ln D(none)",
        lambda s: s.log_ratio("noisy", "none", "drift"),
        scale="slope",
    ),
)

PREDICTIONS = (*SHIFT_AND_SMOOTHNESS, *RATES_AND_START, *NOISE_AND_PRICE)
"""In the order of the page."""


def premise(key: str) -> Premise:
    """The premise that is called `key`."""
    return next(each for each in PREMISES if each.key == key)
