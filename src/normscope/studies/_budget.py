"""What a time budget is spent on: arms, learning rates and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

CORE = ("none", "batch")
"""Without these two there is nothing to explain; they are trained whatever the budget."""
_FEW, _MANY = (0.1, 1.0, 10.0), (0.1, 0.3, 1.0, 3.0, 10.0)
FEWEST_SEEDS = 3
FIRST_SEEDS = (5, 8)
"""Before arms are added: most predictions are about no norm and batch norm, and with fewer seeds
Holm's procedure leaves hardly a row decided (`docs/explain.md` has what it asks for)."""
LAST_SEEDS = (10, 20)


@dataclass(frozen=True)
class Cost:
    """What a study takes, in seconds.

    Attributes:
        seconds: of one run, by the arm's key.
        workers: runs that are trained at a time.
        once: before the first run.
        inspection: what a run of the first seed takes longer.
    """

    seconds: Mapping[str, float]
    workers: int
    once: float = 0.0
    inspection: float = 0.0

    def of(self, design: "Allotment") -> float:
        """The wall time of a whole design."""
        one_seed = sum(self.seconds[arm] for arm in design.arms)
        all_seeds = design.seeds * one_seed + len(design.arms) * self.inspection
        return self.once + len(design.rates) * all_seeds / self.workers


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
    grows as long as it fits: to five seeds, to eight; by the arms, one after another; to ten seeds;
    to five rates; to twenty seeds.

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
        >>> allotted(("none", "batch", "layer"), cost, 75, rate=1.0)
        Allotment(arms=('none', 'batch', 'layer'), rates=(0.1, 1.0, 10.0), seeds=8)
    """
    first = tuple(arm for arm in arms if arm in always)
    grid = tuple(rates) if rates else rates_around(rate, many=False)
    chosen = Allotment(first, grid, seeds or FEWEST_SEEDS)
    growth: list[dict[str, Any]] = [{"seeds": number} for number in FIRST_SEEDS]
    for arm in (arm for arm in arms if arm not in always):
        first = (*first, arm)
        growth.append({"arms": first})
    wider = {"rates": rates_around(rate, many=True)}
    many, most = LAST_SEEDS
    growth += [{"seeds": many}, wider, {"seeds": most}]
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
