"""What follows from covariate shift, from saturation, and from a smoother loss."""

import math

from normscope.studies._prediction import (
    ABOVE,
    BELOW,
    HALF_L,
    Prediction,
    Region,
    kept,
    ratio,
)

_SMOOTHER = "the loss becomes smoother"
_WHERE_DATA_ARE = "it keeps units where the data are"
_SHIFT = "internal covariate shift: distributions drift"

SHIFT_AND_SMOOTHNESS = (
    Prediction(
        "gain",
        "batch norm trains faster at all",
        "Ioffe & Szegedy 2015",
        "Each at its own best learning rate, batch norm learns faster than no norm.",
        "L(batch) − L(none)",
        "points",
        predicted=ABOVE,
        against=BELOW,
        x=lambda s: s.learned("batch") - s.learned("none"),
    ),
    Prediction(
        "drift",
        _SHIFT,
        "Ioffe & Szegedy 2015",
        "What a layer hands on drifts less under batch norm, by a fifth at least.",
        "D(batch) / D(none)",
        "ratio",
        x=ratio("drift"),
        predicted=Region(high=0.8),
        against=Region(low=1.0),
    ),
    Prediction(
        "noisy",
        _SHIFT,
        "Santurkar et al. 2018 (the experiment)",
        "If drift is what batch norm cures, then batch norm with a drift put back in loses more "
        "than half of the gain.",
        HALF_L.format("noisy"),
        "points",
        predicted=BELOW,
        against=ABOVE,
        x=kept("noisy"),
        arms=("none", "batch", "noisy"),
        premises=("gain", "noise-drifts"),
    ),
    Prediction(
        "noisy-end",
        _SHIFT,
        "Santurkar et al. 2018 (the experiment)",
        "Batch norm with a drift put back in loses more than half of what batch norm gains in "
        "accuracy at the end.",
        "A(noisy) − ½ [A(batch) + A(none)]",
        "points",
        predicted=BELOW,
        against=ABOVE,
        x=kept("noisy", "ended"),
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
        x=ratio("gradient-shift"),
        predicted=Region(high=0.8),
        against=Region(low=1.0),
    ),
    Prediction(
        "dead",
        _WHERE_DATA_ARE,
        "Ioffe & Szegedy 2015",
        "Fewer hidden units are dead under batch norm while the network trains, by one in a "
        "hundred of all at least.",
        "U(batch) − U(none)",
        "points",
        predicted=Region(high=-1.0),
        against=Region(low=-0.5),
        x=lambda s: s.more_percent("batch", "none", "dead"),
    ),
    Prediction(
        "two-sided",
        _WHERE_DATA_ARE,
        "Balestriero & Baraniuk 2022",
        "Before the first step, more hidden units are on for some rows and off for others under "
        "batch norm, by one in a hundred of all at least.",
        "V(none) − V(batch)",
        "points",
        predicted=Region(low=1.0),
        against=BELOW,
        x=lambda s: s.more_percent("none", "batch", "one-sided"),
    ),
    Prediction(
        "smoothness",
        _SMOOTHER,
        "Santurkar et al. 2018",
        "Along the gradient, the gradient changes less for the distance gone under batch norm, by "
        "a fifth at least.",
        "B(batch) / B(none)",
        "ratio",
        x=ratio("smoothness"),
        predicted=Region(high=0.8),
        against=Region(low=1.0),
    ),
    Prediction(
        "scale-free-smoothness",
        _SMOOTHER,
        "Santurkar et al. 2018, apart from scale",
        "The gradient changes less for the distance gone also where lengths of weights do not "
        "count, which a norm makes free: by a fifth at least.",
        "B\u2032(batch) / B\u2032(none)",
        "ratio",
        predicted=Region(high=0.8),
        against=Region(low=1.0),
        x=ratio("scale-free-smoothness"),
    ),
    Prediction(
        "detached",
        _SMOOTHER,
        "Santurkar et al. 2018, theorem 4.1",
        "Without the gradient through the statistics, which the theorem's smoothing comes from, "
        "more than half of the gain is lost.",
        HALF_L.format("detached"),
        "points",
        predicted=BELOW,
        against=ABOVE,
        x=kept("detached"),
        arms=("none", "batch", "detached"),
        premises=("gain",),
    ),
    Prediction(
        "identity",
        _SMOOTHER,
        "Santurkar et al. 2018, theorem 4.1",
        "What batch norm's centering and projection take away from the gradient is what the "
        "theorem's identity says: it misses at most a hundredth of that.",
        "I(batch) / C(batch)",
        "ratio",
        predicted=Region(high=0.01),
        against=Region(low=0.1),
        x=lambda s: math.exp(
            s.log_reading("batch", "identity") - s.log_reading("batch", "taken-away")
        ),
        arms=("batch",),
    ),
    Prediction(
        "taken-away",
        _SMOOTHER,
        "Santurkar et al. 2018, theorem 4.1",
        "What centering and projection take away is much, for the smoothing comes from it: a tenth "
        "of the rescaled gradient's square at least.",
        "C(batch)",
        "points",
        predicted=Region(low=10.0),
        against=Region(high=5.0),
        x=lambda s: s.percent("batch", "taken-away"),
        arms=("batch",),
    ),
)
