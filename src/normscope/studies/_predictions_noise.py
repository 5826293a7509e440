"""What follows from batch norm's noise and from its place, and what is said of its price."""

import math

from normscope.studies._prediction import (
    ABOVE,
    BELOW,
    HALF_L,
    Prediction,
    Region,
    kept,
)

_NOISE = "its noise regularizes"
_RUNNING = "its price: running statistics"

NOISE_AND_PRICE = (
    Prediction(
        "dose",
        _NOISE,
        "Luo et al. 2019",
        "The smaller the part of a batch that statistics are taken over, the more accurate on the "
        "test set: by a tenth of a point for every halving.",
        "the slope of A over log2(rows of the batch / rows of a part), of the arms there are",
        "points",
        predicted=Region(low=0.1),
        against=BELOW,
        x=lambda s: s.dose(("batch", "ghost-2", "ghost-4", "ghost-8", "ghost-16")),
        arms=("batch", "ghost-8", "ghost-2"),
    ),
    Prediction(
        "noise-falls",
        _NOISE,
        "Luo et al. 2019",
        "What other rows of a batch do to a row's output falls with their number n as 1/n: with an "
        "exponent of 1, give or take a quarter.",
        "ln(N′(batch) / N(batch)) / ln 4, corrected for the rows that stay",
        "slope",
        predicted=Region(low=0.75, high=1.25),
        against=Region(high=0.5),
        x=lambda s: s.fall_of_noise("batch"),
        arms=("batch",),
    ),
    Prediction(
        "calm",
        _NOISE,
        "Luo et al. 2019",
        "With a quarter of the noise, which statistics of four batches have, batch norm is less "
        "accurate on the test set, by a tenth of a point at least.",
        "A(batch) − A(calm)",
        "points",
        predicted=Region(low=0.1),
        against=BELOW,
        x=lambda s: s.ended("batch") - s.ended("calm"),
        arms=("batch", "calm"),
    ),
    Prediction(
        "layer",
        _NOISE,
        "Luo et al. 2019",
        "Layer norm, which has no such noise, is less accurate on the test set, by a tenth of a "
        "point at least.",
        "A(batch) − A(layer)",
        "points",
        predicted=Region(low=0.1),
        against=BELOW,
        x=lambda s: s.ended("batch") - s.ended("layer"),
        arms=("batch", "layer"),
    ),
    Prediction(
        "last",
        "it acts at the output",
        "Bjorck et al. 2018",
        "Batch norm on the logits alone keeps more than half of the gain.",
        HALF_L.format("last"),
        "points",
        predicted=ABOVE,
        against=BELOW,
        x=kept("last"),
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
        "stale",
        _RUNNING,
        "Wu & Johnson 2021",
        "While the network trains, running means lag behind: they are farther from the means of "
        "other rows than the choice of rows explains, by a half at least.",
        "W(batch) · √(π r/2), where r is how many rows",
        "ratio",
        predicted=Region(low=1.5),
        against=Region(high=1.0),
        x=lambda s: s.lag("batch"),
        arms=("batch",),
    ),
    Prediction(
        "stale-end",
        _RUNNING,
        "Wu & Johnson 2021",
        "At the end running statistics cost less than a tenth of a point on the test set, next to "
        "statistics of all training rows.",
        "A(batch) under statistics of all training rows − A(batch)",
        "points",
        predicted=Region(high=0.1),
        against=Region(low=0.1),
        x=lambda s: s.ended("batch", statistics="population") - s.ended("batch"),
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
