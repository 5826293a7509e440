"""What follows from larger learning rates, from scale invariance, and from a better start."""

from normscope.studies._prediction import (
    ABOVE,
    BELOW,
    HALF_L,
    Prediction,
    Region,
    kept,
    ratio,
)

_LARGER = "larger learning rates become possible"
_DECOUPLED = "length and direction are decoupled"
_START = "it conditions the network at initialisation"
_TUNING = "scale invariance tunes the learning rate"

RATES_AND_START = (
    Prediction(
        "small-rate",
        _LARGER,
        "Bjorck et al. 2018",
        "At the smallest rate of the grid, where this account leaves nothing to gain, batch norm "
        "is ahead by less than half of its lead with each at its own best rate.",
        "[L(batch) − L(none) at the smallest rate] − ½ [L(batch) − L(none)]",
        "points",
        predicted=BELOW,
        against=ABOVE,
        x=lambda s: s.gap_at_the_smallest_rate("batch", "none"),
        premises=("gain",),
    ),
    Prediction(
        "safe-step",
        _LARGER,
        "Bjorck et al. 2018",
        "Batch norm can go farther along the gradient before the loss is above where it began, by "
        "a quarter at least.",
        "M(batch) / M(none)",
        "ratio",
        x=ratio("safe-step"),
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
        predicted=BELOW,
        against=ABOVE,
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
        predicted=BELOW,
        against=ABOVE,
        x=lambda s: s.turning("batch") - s.turning("none") / 2,
    ),
    Prediction(
        "orthogonal",
        _TUNING,
        "van Laarhoven 2017; Arora et al. 2019",
        "In front of batch norm the gradient is at right angles to the weights: the cosine is a "
        "hundredth of what it is without a norm, at most.",
        "O(batch) / O(none)",
        "ratio",
        predicted=Region(high=0.01),
        against=Region(low=0.1),
        x=ratio("orthogonality"),
    ),
    Prediction(
        "weight-norm-flat",
        _TUNING,
        "Arora et al. 2019",
        "Scale invariance without statistics, which weight norm has, is nearer to batch norm than "
        "to no norm in what the choice of the rate costs.",
        "F(weight) − ½ [F(batch) + F(none)]",
        "points",
        predicted=BELOW,
        against=ABOVE,
        x=kept("weight", "fall"),
        arms=("none", "batch", "weight"),
        premises=("flatter",),
    ),
    Prediction(
        "variance-only",
        _TUNING,
        "Arora et al. 2019",
        "It is the division that makes weights scale-invariant: without the centering, more than "
        "half of the gain is left.",
        HALF_L.format("variance"),
        "points",
        predicted=ABOVE,
        against=BELOW,
        x=kept("variance"),
        arms=("none", "batch", "variance"),
        premises=("gain",),
    ),
    Prediction(
        "mean-only",
        _TUNING,
        "Arora et al. 2019",
        "Without the division weights are not scale-invariant: centering alone keeps less than "
        "half of the gain.",
        HALF_L.format("mean"),
        "points",
        predicted=BELOW,
        against=ABOVE,
        x=kept("mean"),
        arms=("none", "batch", "mean"),
        premises=("gain",),
    ),
    Prediction(
        "weight-norm",
        _DECOUPLED,
        "Kohler et al. 2019; Salimans & Kingma 2016",
        "Weight norm, which decouples length and direction without any statistics, keeps more than "
        "half of the gain.",
        HALF_L.format("weight"),
        "points",
        predicted=ABOVE,
        against=BELOW,
        x=kept("weight"),
        arms=("none", "batch", "weight"),
        premises=("gain",),
    ),
    Prediction(
        "radial",
        _DECOUPLED,
        "Kohler et al. 2019",
        "Of a step, less goes along the weights under batch norm, where it would change nothing "
        "but their length: its radial share is smaller, by a fifth at least.",
        "K(batch) / K(none)",
        "ratio",
        predicted=Region(high=0.8),
        against=Region(low=1.0),
        x=ratio("radial"),
    ),
    Prediction(
        "one-shot",
        _START,
        "Mishkin & Matas 2016 (the calibration)",
        "A network whose layers are calibrated once, before the first step, keeps more than half "
        "of the gain in the first epoch.",
        "E(one-shot) − ½ [E(batch) + E(none)]",
        "points",
        predicted=ABOVE,
        against=BELOW,
        x=kept("one-shot", "early"),
        arms=("none", "batch", "one-shot"),
        premises=("early-gain",),
    ),
    Prediction(
        "independent",
        _START,
        "Bjorck et al. 2018",
        "Before the first step, the part of the gradient that all examples share is smaller under "
        "batch norm, by a fifth at least.",
        "H(batch) / H(none)",
        "ratio",
        predicted=Region(high=0.8),
        against=Region(low=1.0),
        x=ratio("input-independence"),
    ),
    Prediction(
        "rank",
        "it keeps the rank of what deep layers see",
        "Daneshmand et al. 2020",
        "Before the first step, the last hidden layer's sums have a stable rank that is higher "
        "under batch norm, by a quarter at least.",
        "R(batch) / R(none)",
        "ratio",
        x=ratio("rank"),
        predicted=Region(low=1.25),
        against=Region(high=1.0),
    ),
)
