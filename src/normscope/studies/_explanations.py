"""What is said of why batch norm works, and what each explanation predicts, before any run.

The tables of `docs/explain.md` are written from these lists, and `explain` judges by them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from normscope.records import Recipe
from normscope.studies._seed_numbers import SeedNumbers

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
)
"""Most telling first: where the budget ends, the last are left out."""


@dataclass(frozen=True)
class Region:
    """Numbers from `low` to `high`.

    Example:
        >>> 0.9 in Region(high=1), Region().told("x"), Region(high=0.8).told("x")
        (True, 'any x', 'x < 0.8')
    """

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, number: float) -> bool:
        return self.low < number < self.high

    def told(self, name: str) -> str:
        """In signs."""
        left = f"{self.low:g} < " if math.isfinite(self.low) else ""
        right = f" < {self.high:g}" if math.isfinite(self.high) else ""
        if left and not right:
            return f"{name} > {self.low:g}"
        return f"{left}{name}{right}" if right else f"any {name}"


Scale = Literal["points", "ratio", "slope"]
"""``points``: percentage points. ``ratio``: averaged by its logarithm. ``slope``: a bare number."""


@dataclass(frozen=True)
class Premise:
    """What has to be so, or else a prediction says nothing here.

    Attributes:
        key: what predictions call it.
        words: a sentence that follows "not decided: ", where it is not so.
        formula: of the per-seed number, which has to be above 0.
        x: that number, of one seed; NaN where something is missing.
        scale: of that number.
    """

    key: str
    words: str
    formula: str
    x: Callable[[SeedNumbers], float]
    scale: Scale = "points"


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


@dataclass(frozen=True)
class Prediction:
    """One testable statement, with what would bear it out and what would go against it.

    Attributes:
        key: short, for files.
        explanation: that it follows from.
        source: who says so.
        says: the prediction, as a sentence.
        formula: of the number that every seed has.
        scale: of that number.
        predicted: it is borne out where the interval lies in here.
        against: and contradicted where the interval lies in here.
        x: the number of one seed; NaN where a run or a reading is missing.
        arms: that it is about.
        premises: by key.
    """

    key: str
    explanation: str
    source: str
    says: str
    formula: str
    scale: Scale
    predicted: Region
    against: Region
    x: Callable[[SeedNumbers], float]
    arms: tuple[str, ...] = ("none", "batch")
    premises: tuple[str, ...] = field(default=())


def _kept(arm: str, measure: str = "learned") -> Callable[[SeedNumbers], float]:
    """How much more than half of batch norm's gain an arm keeps."""

    def x(seed: SeedNumbers) -> float:
        of: Callable[[str], float] = getattr(seed, measure)
        return of(arm) - (of("batch") + of("none")) / 2

    return x


def _ratio(quantity: str) -> Callable[[SeedNumbers], float]:
    """A probe's reading under batch norm, divided by that without a norm."""
    return lambda seed: math.exp(seed.log_ratio("batch", "none", quantity))


_ABOVE, _BELOW = Region(low=0.0), Region(high=0.0)
_HALF = "L({0}) − ½ [L(batch) + L(none)]"

_SHIFT = "internal covariate shift: distributions drift"
_TUNING = "scale invariance tunes the learning rate"

PREDICTIONS = (
    Prediction(
        "gain",
        "batch norm trains faster at all",
        "Ioffe & Szegedy 2015",
        "Each at its own best learning rate, batch norm learns faster than no norm.",
        "L(batch) − L(none)",
        "points",
        predicted=_ABOVE,
        against=_BELOW,
        x=lambda s: s.learned("batch") - s.learned("none"),
    ),
    Prediction(
        "drift",
        _SHIFT,
        "Ioffe & Szegedy 2015",
        "What a layer hands on drifts less under batch norm, by a fifth at least.",
        "D(batch) / D(none)",
        "ratio",
        x=_ratio("drift"),
        predicted=Region(high=0.8),
        against=Region(low=1.0),
    ),
    Prediction(
        "noisy",
        _SHIFT,
        "Santurkar et al. 2018 (the experiment)",
        "If drift is what batch norm cures, then batch norm with a drift put back in loses more "
        "than half of the gain.",
        _HALF.format("noisy"),
        "points",
        predicted=_BELOW,
        against=_ABOVE,
        x=_kept("noisy"),
        arms=("none", "batch", "noisy"),
        premises=("gain", "noise-drifts"),
    ),
    Prediction(
        "noisy-end",
        _SHIFT,
        "Santurkar et al. 2018 (the experiment)",
        "And it loses more than half of what batch norm gains in accuracy at the end.",
        "A(noisy) − ½ [A(batch) + A(none)]",
        "points",
        predicted=_BELOW,
        against=_ABOVE,
        x=_kept("noisy", "ended"),
        arms=("none", "batch", "noisy"),
        premises=("end-gain", "noise-drifts"),
    ),
    Prediction(
        "gradient-shift",
        "internal covariate shift: gradients change as layers below move",
        "Santurkar et al. 2018, definition 2.1",
        "A layer's gradient changes less under batch norm when the layers below it make their "
        "step, relative to its length, by a fifth at least.",
        "S(batch) / S(none)",
        "ratio",
        x=_ratio("gradient-shift"),
        predicted=Region(high=0.8),
        against=Region(low=1.0),
    ),
    Prediction(
        "smoothness",
        "the loss becomes smoother",
        "Santurkar et al. 2018",
        "Along the gradient, the gradient changes less for the distance gone under batch norm, by "
        "a fifth at least.",
        "B(batch) / B(none)",
        "ratio",
        x=_ratio("smoothness"),
        predicted=Region(high=0.8),
        against=Region(low=1.0),
    ),
    Prediction(
        "scale-free-smoothness",
        "the loss becomes smoother",
        "Santurkar et al. 2018, apart from scale",
        "And so it does where lengths of weights do not count, which a norm makes free: by a fifth "
        "at least.",
        "B\u2032(batch) / B\u2032(none)",
        "ratio",
        predicted=Region(high=0.8),
        against=Region(low=1.0),
        x=_ratio("scale-free-smoothness"),
    ),
    Prediction(
        "detached",
        "the loss becomes smoother",
        "Santurkar et al. 2018, theorem 4.1",
        "Without the gradient through the statistics, which the theorem's smoothing comes from, "
        "more than half of the gain is lost.",
        _HALF.format("detached"),
        "points",
        predicted=_BELOW,
        against=_ABOVE,
        x=_kept("detached"),
        arms=("none", "batch", "detached"),
        premises=("gain",),
    ),
    Prediction(
        "small-rate",
        "larger learning rates become possible",
        "Bjorck et al. 2018",
        "At the smallest rate of the grid, where this account leaves nothing to gain, batch norm "
        "is ahead by less than half of its gain at own best rates.",
        "[L(batch) − L(none) at the smallest rate] − ½ [L(batch) − L(none)]",
        "points",
        predicted=_BELOW,
        against=_ABOVE,
        x=lambda s: (
            s.learned("batch", s.smallest_rate)
            - s.learned("none", s.smallest_rate)
            - (s.learned("batch") - s.learned("none")) / 2
        ),
        premises=("gain",),
    ),
    Prediction(
        "safe-step",
        "larger learning rates become possible",
        "Bjorck et al. 2018",
        "Batch norm can go farther along the gradient before the loss is above where it began, by "
        "a quarter at least.",
        "M(batch) / M(none)",
        "ratio",
        x=_ratio("safe-step"),
        predicted=Region(low=1.25),
        against=Region(high=1.0),
    ),
    Prediction(
        "flat",
        _TUNING,
        "van Laarhoven 2017; Hoffer et al. 2018; Arora et al. 2019",
        "Over two decades of learning rates batch norm loses less than half of the accuracy that "
        "no norm loses.",
        "F(batch) − ½ F(none)",
        "points",
        predicted=_BELOW,
        against=_ABOVE,
        x=lambda s: s.fall("batch") - s.fall("none") / 2,
        premises=("a-rate-matters",),
    ),
    Prediction(
        "angles",
        _TUNING,
        "van Laarhoven 2017; Arora et al. 2019",
        "The angle that weights turn by in a step late in training depends on the learning rate "
        "less than half as steeply under batch norm.",
        "T(batch) − ½ T(none)",
        "slope",
        predicted=_BELOW,
        against=_ABOVE,
        x=lambda s: s.turning("batch") - s.turning("none") / 2,
    ),
    Prediction(
        "weight-norm-flat",
        _TUNING,
        "Arora et al. 2019",
        "Scale invariance without statistics, which weight norm has, is nearer to batch norm than "
        "to no norm in what the choice of the rate costs.",
        "F(weight) − ½ [F(batch) + F(none)]",
        "points",
        predicted=_BELOW,
        against=_ABOVE,
        x=_kept("weight", "fall"),
        arms=("none", "batch", "weight"),
        premises=("flatter",),
    ),
    Prediction(
        "variance-only",
        _TUNING,
        "Arora et al. 2019",
        "It is the division that makes weights scale-invariant: without the centering, more than "
        "half of the gain is left.",
        _HALF.format("variance"),
        "points",
        predicted=_ABOVE,
        against=_BELOW,
        x=_kept("variance"),
        arms=("none", "batch", "variance"),
        premises=("gain",),
    ),
    Prediction(
        "mean-only",
        _TUNING,
        "Arora et al. 2019",
        "Without the division weights are not scale-invariant: centering alone keeps less than "
        "half of the gain.",
        _HALF.format("mean"),
        "points",
        predicted=_BELOW,
        against=_ABOVE,
        x=_kept("mean"),
        arms=("none", "batch", "mean"),
        premises=("gain",),
    ),
    Prediction(
        "weight-norm",
        "length and direction are decoupled",
        "Kohler et al. 2019; Salimans & Kingma 2016",
        "Weight norm, which decouples them without any statistics, keeps more than half of the "
        "gain.",
        _HALF.format("weight"),
        "points",
        predicted=_ABOVE,
        against=_BELOW,
        x=_kept("weight"),
        arms=("none", "batch", "weight"),
        premises=("gain",),
    ),
    Prediction(
        "one-shot",
        "it conditions the network at initialisation",
        "Mishkin & Matas 2016 (the calibration)",
        "A network whose layers are calibrated once, before the first step, keeps more than half "
        "of the gain in the first epoch.",
        "E(one-shot) − ½ [E(batch) + E(none)]",
        "points",
        predicted=_ABOVE,
        against=_BELOW,
        x=_kept("one-shot", "early"),
        arms=("none", "batch", "one-shot"),
        premises=("early-gain",),
    ),
    Prediction(
        "rank",
        "it keeps the rank of what deep layers see",
        "Daneshmand et al. 2020",
        "Before the first step, the last hidden layer's sums have a stable rank that is higher "
        "under batch norm, by a quarter at least.",
        "R(batch) / R(none)",
        "ratio",
        x=_ratio("rank"),
        predicted=Region(low=1.25),
        against=Region(high=1.0),
    ),
    Prediction(
        "dose",
        "its noise regularizes",
        "Luo et al. 2019",
        "The smaller the part of a batch that statistics are taken over, the more accurate on the "
        "test set: by a tenth of a point for every halving.",
        "the slope of A over log2(rows of the batch / rows of a part), of the arms there are",
        "points",
        predicted=Region(low=0.1),
        against=_BELOW,
        x=lambda s: s.dose(("batch", "ghost-2", "ghost-4", "ghost-8", "ghost-16")),
        arms=("batch", "ghost-8", "ghost-2"),
    ),
    Prediction(
        "layer",
        "its noise regularizes",
        "Luo et al. 2019",
        "Layer norm, which has no such noise, is less accurate on the test set, by a tenth of a "
        "point at least.",
        "A(batch) − A(layer)",
        "points",
        predicted=Region(low=0.1),
        against=_BELOW,
        x=lambda s: s.ended("batch") - s.ended("layer"),
        arms=("batch", "layer"),
    ),
    Prediction(
        "last",
        "it acts at the output",
        "Bjorck et al. 2018",
        "Batch norm on the logits alone keeps more than half of the gain.",
        _HALF.format("last"),
        "points",
        predicted=_ABOVE,
        against=_BELOW,
        x=_kept("last"),
        arms=("none", "batch", "last"),
        premises=("gain",),
    ),
    Prediction(
        "growth",
        "its price: gradients grow with depth",
        "Yang et al. 2019",
        "Before the first step, gradients grow from layer to layer towards the input under batch "
        "norm, by a tenth at least (in wide networks of rectified units by 1.21).",
        "G(batch)",
        "ratio",
        predicted=Region(low=1.1),
        against=Region(high=1.0),
        x=lambda s: math.exp(s.log_reading("batch", "growth")),
        arms=("batch",),
    ),
    Prediction(
        "rival",
        "it can be done without: weight standardization and clipping",
        "Brock et al. 2021",
        "The best known network without activations' statistics ends at most half a point below "
        "batch norm.",
        "A(rival) − A(batch)",
        "points",
        predicted=Region(low=-0.5),
        against=Region(high=-0.5),
        x=lambda s: s.ended("rival") - s.ended("batch"),
        arms=("batch", "rival"),
    ),
)


def premise(key: str) -> Premise:
    """The premise that is called `key`."""
    return next(each for each in PREMISES if each.key == key)


def arms_named(keys: Sequence[str]) -> list[ExplainArm]:
    """The arms of these keys, in their order."""
    return [next(arm for arm in ARMS if arm.key == key) for key in keys]
