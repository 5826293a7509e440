"""What a time budget is spent on: arms, learning rates and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from normscope.records import Recipe
from normscope.studies._explanations import PROBED

CORE = ("none", "batch")
"""Without these two there is nothing to explain; they are trained whatever the budget."""
_FEW, _MANY = (0.1, 1.0, 10.0), (0.1, 0.3, 1.0, 3.0, 10.0)
FEWEST_SEEDS, SOME_SEEDS, MANY_SEEDS, MOST_SEEDS = 3, 5, 10, 20

_VALIDATION = 1.25
"""What validations and checkpoints add to the steps (`steps_between_validations` adds a tenth)."""
_SECONDS_OF_A_RUN = 0.5
"""To begin a run, to test it, to save it."""
_STEPS_OF_A_LOOK = 35
"""What the probes' passes at one moment cost, in training steps: 17 of the landscape, 8 of the
safe step, as many as layers of the covariate shift, and what the cheap ones share."""


@dataclass(frozen=True)
class Cost:
    """What one run of each arm takes, in seconds.

    Attributes:
        seconds: by the arm's key.
        workers: runs that are trained at a time.
    """

    seconds: Mapping[str, float]
    workers: int

    def of(self, design: "Allotment") -> float:
        """The wall time of a whole design."""
        one_seed = sum(self.seconds[arm] for arm in design.arms) * len(design.rates)
        return one_seed * design.seeds / self.workers


@dataclass(frozen=True)
class Allotment:
    """What is trained.

    Attributes:
        arms: keys of arms.
        rates: learning rates.
        seeds: how many.
    """

    arms: tuple[str, ...]
    rates: tuple[float, ...]
    seeds: int


def run_seconds(recipe: Recipe, arm: str, *, step: float, steps: int) -> float:
    """What one run is expected to take.

    Args:
        recipe: whose epochs count.
        arm: its key: some are looked at by probes.
        step: seconds of a training step.
        steps: of an epoch.
    """
    in_all = recipe.epochs * steps
    looks = _STEPS_OF_A_LOOK * in_all / steps_between_looks(in_all) if arm in PROBED else 0
    return _SECONDS_OF_A_RUN + step * (_VALIDATION * in_all + looks)


def steps_between_looks(steps: int) -> int:
    """How far apart the probes' moments are, in a training of so many steps: 3 to 8 of them.

    Example:
        >>> [steps // steps_between_looks(steps) for steps in (8200, 820, 60)]
        [8, 4, 3]
    """
    return max(1, steps // min(8, max(3, steps // 200)))


def rates_around(rate: float, *, many: bool) -> tuple[float, ...]:
    """Two decades of learning rates.

    Example:
        >>> rates_around(0.02, many=True)
        (0.002, 0.006, 0.02, 0.06, 0.2)
    """
    return tuple(float(f"{rate * multiple:.6g}") for multiple in (_MANY if many else _FEW))


def allotted(
    arms: Sequence[str],
    cost: Cost,
    budget: float,
    rate: float,
    *,
    always: Sequence[str] = CORE,
    rates: Sequence[float] | None = None,
    seeds: int | None = None,
) -> Allotment:
    """The largest design that the budget has room for.

    It begins as no norm and batch norm at three rates with three seeds, whatever the budget, and
    grows as long as it fits: to five seeds; by the arms, one after another; to ten seeds; to five
    rates; to twenty seeds.

    Args:
        arms: keys, most telling first.
        cost: of a run of each.
        budget: seconds.
        rate: in the middle of the grid.
        always: those that are trained whatever the budget.
        rates: the grid, where somebody has decided that.
        seeds: how many, where somebody has decided that.

    Example:
        >>> cost = Cost(dict.fromkeys(("none", "batch", "layer"), 1.0), workers=1)
        >>> allotted(("none", "batch", "layer"), cost, 50, rate=1.0)
        Allotment(arms=('none', 'batch', 'layer'), rates=(0.1, 1.0, 10.0), seeds=5)
    """
    first = tuple(arm for arm in arms if arm in always)
    grid = tuple(rates) if rates else rates_around(rate, many=False)
    chosen = Allotment(first, grid, seeds or FEWEST_SEEDS)
    growth: list[dict[str, Any]] = [{"seeds": SOME_SEEDS}]
    for arm in (arm for arm in arms if arm not in always):
        first = (*first, arm)
        growth.append({"arms": first})
    wider = {"rates": rates_around(rate, many=True)}
    growth += [{"seeds": MANY_SEEDS}, wider, {"seeds": MOST_SEEDS}]
    decided = {"seeds"} if seeds else set()
    decided |= {"rates"} if rates else set()
    for change in growth:
        larger = replace(chosen, **change)
        if decided & change.keys():
            continue
        if cost.of(larger) > budget:
            break
        chosen = larger
    return chosen
