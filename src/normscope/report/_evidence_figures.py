"""Which pictures stand beside which prediction."""

import math
from collections.abc import Callable

from normscope.report._evidence_by_arm import at_smallest_rate, dose, over_rates, seeds_of
from normscope.report._evidence_lines import angles, lag, over_depth, through_training
from normscope.report._evidence_moments import bands, curves_stepped, layers_stepped
from normscope.report._evidence_shown import Made, Shown
from normscope.report._parts import Figure, Stepper

__all__ = ["Shown", "figures"]

_WIDE_NETWORK = math.sqrt(math.pi / (math.pi - 1))
"""How gradients grow from layer to layer in wide networks of rectified units (Yang et al. 2019)."""


def figures(key: str, shown: Shown) -> list[Figure | Stepper]:
    """The pictures of the prediction that is called `key`; none where nothing is to be seen."""
    made = [make(shown) for make in _OF.get(key, ())]
    return [each for each in made if each is not None]


_OF: dict[str, tuple[Callable[[Shown], Made], ...]] = {
    "gain": (seeds_of("learned", "batch", "none"),),
    "drift": (bands, layers_stepped, through_training("drift")),
    "noisy": (seeds_of("learned", "batch", "none", "noisy"),),
    "noisy-end": (seeds_of("ended", "batch", "none", "noisy"),),
    "gradient-shift": (through_training("gradient-shift", layers=True),),
    "dead": (through_training("dead", layers=True),),
    "two-sided": (over_depth("one-sided"),),
    "smoothness": (
        curves_stepped("landscape", "gradient", "step"),
        through_training("smoothness"),
    ),
    "scale-free-smoothness": (through_training("scale-free-smoothness"),),
    "detached": (seeds_of("learned", "batch", "none", "detached"),),
    "identity": (through_training("identity"),),
    "taken-away": (through_training("taken-away", layers=True),),
    "small-rate": (at_smallest_rate,),
    "safe-step": (curves_stepped("safe", "far"), through_training("safe-step")),
    "flat": (over_rates("batch", "none"),),
    "angles": (angles,),
    "orthogonal": (through_training("orthogonality"),),
    "weight-norm-flat": (over_rates("batch", "none", "weight"),),
    "variance-only": (seeds_of("learned", "batch", "none", "variance"),),
    "mean-only": (seeds_of("learned", "batch", "none", "mean"),),
    "weight-norm": (seeds_of("learned", "batch", "none", "weight"),),
    "radial": (through_training("radial"),),
    "one-shot": (seeds_of("early", "batch", "none", "one-shot"),),
    "independent": (over_depth("input-independence"),),
    "rank": (over_depth("rank"),),
    "dose": (dose,),
    "noise-falls": (through_training("noise"), through_training("noise-of-a-quarter")),
    "calm": (seeds_of("ended", "batch", "calm"),),
    "layer": (seeds_of("ended", "batch", "layer"),),
    "last": (seeds_of("learned", "batch", "none", "last"),),
    "growth": (over_depth("growth", 1.0, _WIDE_NETWORK),),
    "stale": (lag,),
    "rival": (seeds_of("ended", "batch", "rival"),),
}
"""By the prediction's key."""
