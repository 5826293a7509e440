"""The probes' quantities that predictions are about: which of a run's readings one number is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from normscope.records import Reading

_LAST_PART = 0.2


@dataclass(frozen=True)
class ReadingOf:
    """A probe's quantity as predictions use it: one number of a run.

    Attributes:
        letter: what formulas call it.
        words: what it is.
        probe: whose.
        quantities: its name there; of several, the first that a layer has.
        when: all readings of a run after a step, the one before the first, or those of its last
            fifth.
        layers: which of the weight layers: those in front of the logits, the last of these, all
            but the first; or the whole network.
        summed: of several quantities, their sum.
        over: the median over layers and steps, or the mean: of shares that most layers have not.
    """

    letter: str
    words: str
    probe: str
    quantities: tuple[str, ...]
    when: Literal["all", "first", "end"] = "all"
    layers: Literal["hidden", "last hidden", "later", "network"] = "hidden"
    summed: bool = False
    over: Literal["median", "mean"] = "median"


READINGS = {
    "drift": ReadingOf(
        "D",
        "how far the medians of a layer's sums move from reading to reading, in interquartile "
        "ranges; where there is a norm, of what it makes of them; hidden layers",
        "distribution-drift",
        ("normalized-drift", "sums-drift"),
    ),
    "gradient-shift": ReadingOf(
        "S",
        "how far the step of the layers before it moves a layer's gradient, relative to its "
        "length; layers after the first",
        "covariate-shift",
        ("relative-shift",),
        layers="later",
    ),
    "smoothness": ReadingOf(
        "B",
        "effective smoothness along the gradient: its largest change per distance gone",
        "landscape",
        ("gradient-smoothness",),
        layers="network",
    ),
    "scale-free-smoothness": ReadingOf(
        "B\u2032",
        "the same where every weight matrix counts as having length 1",
        "landscape",
        ("gradient-scale-free-smoothness",),
        layers="network",
    ),
    "safe-step": ReadingOf(
        "M",
        "the largest safe step along the gradient, as a learning rate",
        "safe-step",
        ("largest-safe",),
        layers="network",
    ),
    "angle": ReadingOf(
        "t",
        "the angle that a layer's weights turn by in a step, in the last fifth of the readings' "
        "steps; hidden layers",
        "angular-update",
        ("angle",),
        when="end",
    ),
    "rank": ReadingOf(
        "R",
        "the stable rank of the last hidden layer's sums before the first step",
        "stable-rank",
        ("sums",),
        when="first",
        layers="last hidden",
    ),
    "growth": ReadingOf(
        "G",
        "how many times longer the gradient by a layer's sums is than by the next layer's, before "
        "the first step; hidden layers",
        "depth-growth",
        ("gradient-growth",),
        when="first",
    ),
    "dead": ReadingOf(
        "U",
        "the share of units that are on for no row, in percent, mean over hidden layers and "
        "readings",
        "dead-units",
        ("never-positive",),
        over="mean",
    ),
    "one-sided": ReadingOf(
        "V",
        "the share of units that are on for no row or for all, before the first step, in percent, "
        "mean over hidden layers",
        "dead-units",
        ("never-positive", "always-positive"),
        when="first",
        summed=True,
        over="mean",
    ),
    "identity": ReadingOf(
        "I",
        "by how much the identity of the gradient through a batch norm is missed, as a share of "
        "the rescaled gradient's square; hidden layers",
        "gradient-identity",
        ("residual",),
    ),
    "taken-away": ReadingOf(
        "C",
        "what centering and projection take away, as a share of the rescaled gradient's square, "
        "in percent where it stands alone; hidden layers",
        "gradient-identity",
        ("centering", "projection"),
        summed=True,
    ),
    "orthogonality": ReadingOf(
        "O",
        "the size of the cosine between a layer's weights and their gradient; hidden layers",
        "angular-update",
        ("cosine-gradient",),
    ),
    "radial": ReadingOf(
        "K",
        "the share of a step's square that goes along the weights; hidden layers",
        "length-direction",
        ("radial-share",),
    ),
    "input-independence": ReadingOf(
        "H",
        "how much of a unit's gradient is the same whatever the example, before the first step, "
        "of what the norm makes of the sums; hidden layers",
        "input-independence",
        ("normalized",),
        when="first",
    ),
    "noise": ReadingOf(
        "N",
        "how much the network's output for a row varies with the other rows of a batch, next to "
        "how much it varies from row to row, as variances",
        "batch-noise",
        ("output-noise",),
        layers="network",
    ),
    "noise-of-a-quarter": ReadingOf(
        "N\u2032",
        "the same in a quarter of a batch",
        "batch-noise-quarter",
        ("output-noise",),
        layers="network",
    ),
    "lag": ReadingOf(
        "W",
        "how far running means are from those of as many validation rows as a batch has, in "
        "deviations; hidden layers",
        "statistics-gap",
        ("mean-distance",),
    ),
}
"""By the names that predictions use."""


def wanted_readings(read: Sequence[Reading], wanted: ReadingOf) -> list[Reading]:
    """Those of the layers and the steps that are wanted, without their signs.

    Args:
        read: of one run.
        wanted: of which quantity.
    """
    read = [each for each in read if each.probe == wanted.probe]
    read = _summed(read, wanted.quantities) if wanted.summed else _first_there(read, wanted)
    if not read:
        return []
    called = dict.fromkeys(each.layer for each in read)
    layers = _chosen_layers(list(filter(None, called)), wanted)
    late = max(each.step for each in read) * (1 - _LAST_PART)
    return [
        reading.model_copy(update={"value": abs(reading.value)})
        for reading in read
        if reading.layer in layers
        and (reading.step == 0) == (wanted.when == "first")
        and (wanted.when != "end" or reading.step >= late)
        and reading.value is not None
    ]


def _first_there(read: Sequence[Reading], wanted: ReadingOf) -> list[Reading]:
    """Of the quantities, the first that a layer has."""
    kinds: dict[str, str] = {}
    for quantity in wanted.quantities:
        for reading in read:
            if reading.quantity == quantity:
                kinds.setdefault(reading.layer, quantity)
    return [each for each in read if kinds.get(each.layer) == each.quantity]


def _summed(read: Sequence[Reading], quantities: Sequence[str]) -> list[Reading]:
    """The quantities' sum in every layer at every step."""
    sums: dict[tuple[int, str], Reading] = {}
    for each in read:
        if each.quantity in quantities and each.value is not None:
            place = (each.step, each.layer)
            more = sums[place].value or 0.0 if place in sums else 0.0
            sums[place] = each.model_copy(update={"value": each.value + more})
    return list(sums.values())


def _chosen_layers(layers: Sequence[str], wanted: ReadingOf) -> Sequence[str]:
    """The paths of the layers, of all that were read, in the order of the calls."""
    if wanted.layers == "network":
        return [""]
    if wanted.layers == "later":
        return layers[1:]
    return layers[:-1] if wanted.layers == "hidden" else layers[-2:-1]
