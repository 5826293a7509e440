"""What somebody types to do it again."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from normscope.records import Design, EvidenceTable, Recipe

_RATE = "learning_rate"


def train_command(recipe: Recipe) -> str:
    """The command that trains by this recipe.

    Example:
        >>> train_command(Recipe(norm="none", hidden=(20, 10), warm_up=True))
        'normscope train --hidden 20,10 --norm none --warm-up'
    """
    return shlex.join(["normscope", "train", *_flags(recipe, varied=())])


def compare_command(design: Design) -> str:
    """The command that makes this study.

    Example:
        >>> from normscope.records import Arm
        >>> arms = tuple(Arm(name=f"norm={n}", settings={"norm": n}) for n in ("batch", "none"))
        >>> compare_command(Design(recipe=Recipe(), arms=arms, reference="norm=none",
        ...     learning_rates=(0.01, 0.02), seeds=(0, 1, 2), steps_between_validations=9))
        'normscope compare --vary norm=batch,none --vary learning_rate=0.01,0.02 --seeds 3'
    """
    fields = varied_fields(design)
    words = ["normscope", "compare"]
    for field, values in fields.items():
        words += ["--vary", f"{field}={','.join(map(typed, values))}"]
    words += ["--seeds", _seeds(design)]
    if design.reference != _usual_reference(design):
        words += ["--reference", design.reference]
    if design.target is not None:
        words += ["--target", typed(design.target)]
    if design.confidence != Design.model_fields["confidence"].default:
        words += ["--confidence", typed(design.confidence)]
    return shlex.join([*words, *_flags(design.recipe, varied=tuple(fields))])


def explain_command(evidence: EvidenceTable) -> str:
    """The command that trains the same arms at the same rates with the same seeds."""
    arms, recipe = [arm.key for arm in evidence.arms], evidence.recipe
    words = ["normscope", "explain", "--arms", ",".join(arms)]
    words += ["--rates", ",".join(map(typed, evidence.learning_rates))]
    words += ["--seeds", str(len(evidence.seeds)), "--epochs", str(recipe.epochs)]
    if evidence.confidence != Design.model_fields["confidence"].default:
        words += ["--confidence", typed(evidence.confidence)]
    return shlex.join([*words, *_flags(recipe, varied=("epochs",))])


def varied_fields(design: Design) -> dict[str, list[Any]]:
    """What the arms differ in, and the learning rates where there are several: field by field."""
    fields: dict[str, list[Any]] = {}
    for arm in design.arms:
        for field, value in arm.settings.items():
            values = fields.setdefault(field, [])
            if value not in values:
                values.append(value)
    if len(design.learning_rates) > 1 and _RATE not in fields:
        fields[_RATE] = list(design.learning_rates)
    return fields


def typed(value: Any) -> str:
    """A value as a person types it after ``--vary``.

    Example:
        >>> typed((1000, 500)), typed(()), typed(True), typed(100.0), typed(1e-10)
        ('1000x500', 'none', 'true', '100', '1e-10')
    """
    if isinstance(value, tuple | list):
        return "x".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _seeds(design: Design) -> str:
    """How many where they are counted from the recipe's; or which."""
    first, seeds = design.recipe.seed, design.seeds
    if seeds == tuple(range(first, first + len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + "," * (len(seeds) == 1)


def _usual_reference(design: Design) -> str | None:
    """The arm that is the reference where nobody names one: the plain one of the first values."""
    wanted = dict(design.arms[0].settings)
    if any(arm.settings.get("norm") == "none" for arm in design.arms):
        wanted["norm"] = "none"
    return next((arm.name for arm in design.arms if dict(arm.settings) == wanted), None)


def _flags(recipe: Recipe, varied: Sequence[str]) -> list[str]:
    """Every field that is not as by default, as it is typed."""
    words = []
    for name, field in Recipe.model_fields.items():
        value, flag = getattr(recipe, name), name.replace("_", "-")
        if name in varied or value == field.default:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", _argument(value)]
    return words


def _argument(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={typed(one)}" for name, one in value.items())
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return typed(value)
