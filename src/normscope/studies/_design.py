"""What is compared, decided before the first run: arms, learning rates, seeds."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normscope._errors import RecipeError, StudyError
from normscope.records import Arm, Design, Recipe
from normscope.studies._names import name_of, shown

_RATE, _SEED = "learning_rate", "seed"
_SHARED = {
    _SEED: "every arm is trained with the same seeds: give seeds (--seeds) instead",
    "data": "all arms see the same data: make one study for each data set",
    "valid_fraction": "all arms see the same data: make one study for each fraction",
}
_PLAIN = ("norm", "none")


@dataclass(frozen=True)
class Planned:
    """One run of a design.

    Attributes:
        name: of its folder; it depends on the run alone, so that more arms, rates and seeds leave
            the names that are there as they are.
        arm: the name of its arm.
        learning_rate: Adam's step at the start.
        recipe: what it is trained by.
    """

    name: str
    arm: str
    learning_rate: float
    recipe: Recipe


def designed(
    vary: Mapping[str, Sequence[Any]],
    recipe: Recipe,
    *,
    seeds: int | Sequence[int] = 5,
    target: float | None = None,
    reference: str | None = None,
    confidence: float = 0.95,
) -> Design:
    """The design of a study; the steps between validations are left 0, for the data decide them.

    Args:
        vary: recipe fields, and the values of each. Every combination is an arm, but for the
            learning rate, which all arms are tried with; alone, its values are the arms.
        recipe: what all runs have in common.
        seeds: how many, counted from the recipe's; or which.
        target: percent of the validation set that counts as reached.
        reference: the arm that the others are compared with, as ``norm=none``, or ``none`` where
            one field alone has that value; fields that it does not name take their first value. By
            default the plain one, where there is one.
        confidence: of every interval.

    Raises:
        StudyError: naming what cannot be, and what to give instead.
        RecipeError: if an arm's settings do not go together.

    Example:
        >>> design = designed({"norm": ["batch", "none"], "learning_rate": [0.01, 0.02]}, Recipe())
        >>> [arm.name for arm in design.arms], design.reference, design.learning_rates
        (['norm=batch', 'norm=none'], 'norm=none', (0.01, 0.02))
        >>> len(planned_runs(design))
        20
    """
    varied = {field: _distinct(field, values) for field, values in vary.items()}
    if not varied:
        msg = "Nothing is varied; name a recipe field and its values, such as norm=batch,none."
        raise StudyError(msg)
    for field in varied.keys() & _SHARED:
        msg = f"{field} cannot be varied; {_SHARED[field]}."
        raise StudyError(msg)
    rates = varied.pop(_RATE, [recipe.learning_rate])
    tuned = [float(_checked(recipe, _RATE, rate)) for rate in rates]
    arms = _arms(varied or {_RATE: tuned})
    design = Design(
        recipe=recipe,
        arms=tuple(arms),
        reference=_reference(reference, arms, varied or {_RATE: tuned}),
        learning_rates=tuple(tuned),
        seeds=_seeds(seeds, recipe.seed),
        steps_between_validations=0,
        target=_percent(target),
        confidence=checked_confidence(confidence),
    )
    planned_runs(design)
    return design


def planned_runs(design: Design) -> list[Planned]:
    """Every run of a design, by arm, learning rate and seed.

    Raises:
        RecipeError: if an arm's settings do not go together.
        StudyError: if two runs would have one name.
    """
    runs: dict[str, Planned] = {}
    for arm in design.arms:
        for rate, seed in itertools.product(design.rates_of(arm), design.seeds):
            settings = {**arm.settings, _RATE: rate, _SEED: seed}
            name = name_of(settings)
            if name in runs:
                msg = f"{arm.name} and {runs[name].arm}: the runs of both would be called {name}."
                raise StudyError(msg)
            runs[name] = Planned(name, arm.name, rate, _recipe(design.recipe, settings, arm.name))
    return list(runs.values())


def _recipe(recipe: Recipe, settings: Mapping[str, Any], arm: str) -> Recipe:
    """A recipe with some settings changed.

    Raises:
        RecipeError: naming the arm.
    """
    try:
        return recipe.with_settings(settings)
    except RecipeError as error:
        msg = str(error).replace("the settings", arm, 1)
        raise RecipeError(msg) from None


def _checked(recipe: Recipe, field: str, value: Any) -> Any:
    """A value as the recipe takes it: a number of the right kind, a tuple for a list.

    Raises:
        RecipeError: if the recipe refuses it.
    """
    return getattr(_recipe(recipe, {field: value}, f"{field}={shown(value)}"), field)


def _distinct(field: str, values: Sequence[Any]) -> list[Any]:
    """At least two values, no two alike, as JSON would give them back.

    Raises:
        StudyError: if there are fewer, or one is there twice.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        msg = f"{field}: give a list of values to compare, got {values!r}."
        raise StudyError(msg)
    plain = [list(value) if isinstance(value, tuple) else value for value in values]
    if len(plain) < 2:
        msg = (
            f"{field} has {len(plain) or 'no'} value{'s' * (not plain)} to compare; give two at "
            "least, or set the field in the recipe instead of varying it."
        )
        raise StudyError(msg)
    kinds = [(type(value) is bool, value) for value in plain]  # for True == 1
    for number, value in enumerate(plain):
        if kinds[number] in kinds[:number]:
            msg = f"{field}={shown(value)} is there twice; an arm is compared with other arms."
            raise StudyError(msg)
    return plain


def _arms(varied: Mapping[str, Sequence[Any]]) -> list[Arm]:
    """Every combination of the values, the last field's changing fastest."""
    combinations = [
        dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())
    ]
    return [Arm(name=arm_name(settings), settings=settings) for settings in combinations]


def arm_name(settings: Mapping[str, Any]) -> str:
    """What people call an arm."""
    return ", ".join(f"{field}={shown(value)}" for field, value in settings.items())


def _reference(wanted: str | None, arms: Sequence[Arm], varied: Mapping[str, Sequence[Any]]) -> str:
    """The name of the arm that the others are compared with.

    Raises:
        StudyError: if the wanted one is not among the arms.
    """
    chosen = {field: shown(values[0]) for field, values in varied.items()}
    field, plain = _PLAIN
    if plain in varied.get(field, ()):
        chosen[field] = plain
    for part in (wanted or "").split(",") if wanted else ():
        name, equals, value = (word.strip() for word in part.partition("="))
        fields = [name.replace("-", "_")] if equals else list(varied)
        meant = [
            (field, known)
            for field in fields
            for known in varied.get(field, ())
            if _is_typed(known, value if equals else name)
        ]
        if len(meant) != 1:
            whose = " and ".join(f"{field}={name}" for field, _ in meant)
            msg = f"The reference {wanted!r} " + (
                f"may be {whose}; write which."
                if meant
                else f"is none of the arms: {'; '.join(arm.name for arm in arms)}."
            )
            raise StudyError(msg)
        chosen[meant[0][0]] = shown(meant[0][1])
    return ", ".join(f"{field}={value}" for field, value in chosen.items())


def _is_typed(value: Any, text: str) -> bool:
    """Whether a person who types `text` means `value`: numbers may be written in several ways."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return shown(value) == text


def _seeds(seeds: int | Sequence[int], first: int) -> tuple[int, ...]:
    """Which seeds: so many from the first, or those that are given.

    Raises:
        StudyError: if there is none, one is there twice, or one is no whole number from 0.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds >= 1:
        return tuple(range(first, first + seeds))
    chosen = tuple(seeds) if isinstance(seeds, Sequence) else ()
    fit = all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in chosen)
    if not chosen or not fit or len(set(chosen)) < len(chosen):
        msg = f"seeds is {seeds!r}; give how many (5), or a list of different whole numbers from 0."
        raise StudyError(msg)
    return chosen


def _percent(target: float | None) -> float | None:
    """A target that can be reached.

    Raises:
        StudyError: if it is not between 0 and 100.
    """
    if target is not None and not 0 < target <= 100:
        msg = f"target is {target}; give the percent of the validation set to reach, up to 100."
        raise StudyError(msg)
    return None if target is None else float(target)


def checked_confidence(confidence: float) -> float:
    """A confidence that an interval can have.

    Raises:
        StudyError: if it is not between a half and 1.
    """
    if not (math.isfinite(confidence) and 0.5 <= confidence < 1):
        msg = f"confidence is {confidence}; give a number from 0.5 to below 1, such as 0.95."
        raise StudyError(msg)
    return float(confidence)
