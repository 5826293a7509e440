"""What runs are called: by what tells their recipes apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from normscope._errors import RecipeError
from normscope.records import Recipe


def named(recipes: Sequence[Recipe] | Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Every recipe under a name that can be a folder's, in the given order.

    A recipe is called by the fields in which the recipes differ, and always by its seed, so the
    names do not depend on the order, and more seeds leave those that are there alone. A mapping
    brings its own names.

    Raises:
        RecipeError: if there is no recipe, two would share a name, or a name is no folder's.

    Example:
        >>> list(named([Recipe(norm=norm, seed=3) for norm in ("batch", "none")]))
        ['norm-batch-seed-3', 'norm-none-seed-3']
        >>> list(named([Recipe(seed=7)]))
        ['seed-7']
    """
    chosen = list(recipes.values() if isinstance(recipes, Mapping) else recipes)
    _refuse_what_is_no_recipe(chosen)
    names = list(recipes) if isinstance(recipes, Mapping) else _names(chosen)
    for number, name in enumerate(names):
        first = names.index(name)
        if first != number:
            msg = (
                f"Recipes {first + 1} and {number + 1} would both be called {name}. Give every run "
                "a seed of its own, or pass a mapping of names to recipes."
            )
            raise RecipeError(msg)
        if not name or name.startswith(".") or Path(name).name != name:
            msg = f"{name!r} cannot be a run's name: it has to be the name of a new folder."
            raise RecipeError(msg)
    return dict(zip(names, chosen, strict=True))


def _refuse_what_is_no_recipe(recipes: Sequence[object]) -> None:
    """Refuse an empty list, and whatever is in it that is no recipe."""
    if not recipes:
        msg = "There are no recipes to train by; give at least one, such as [Recipe(seed=0)]."
        raise RecipeError(msg)
    for recipe in recipes:
        if not isinstance(recipe, Recipe):
            msg = f"Give a list of recipes; one of them is {recipe!r}."
            raise RecipeError(msg)


def _names(recipes: Sequence[Recipe]) -> list[str]:
    """Each recipe's name, from the fields in which not all are the same."""
    differing = [
        field
        for field in Recipe.model_fields
        if field != "seed" and len({getattr(recipe, field) for recipe in recipes}) > 1
    ]
    return [
        "-".join(f"{field.replace('_', '-')}-{_text(getattr(recipe, field))}" for field in fields)
        for recipe in recipes
        for fields in [[*differing, "seed"]]
    ]


def _text(value: Any) -> str:
    """A field's value as a part of a name."""
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    if isinstance(value, str):  # of a path, the last part
        return Path(value).name
    return str(value)
