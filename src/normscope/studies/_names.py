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
    _refuse_one_alone(recipes)
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


def _refuse_one_alone(recipes: object) -> None:
    """Refuse a recipe that is not in a list; it is iterable, but over its fields."""
    if isinstance(recipes, Recipe):
        msg = "Give a list of recipes, such as [recipe]; this is one recipe."
        raise RecipeError(msg)


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
    """Each recipe's name, from the settings in which not all are the same."""
    settings = [_settings(recipe) for recipe in recipes]
    known = dict.fromkeys(name for each in settings for name in each if name != "seed")
    differing = [name for name in known if len({each.get(name) for each in settings}) > 1]
    return [
        name_of({name: each[name] for name in [*differing, "seed"] if name in each})
        for each in settings
    ]


def _settings(recipe: Recipe) -> dict[str, Any]:
    """All fields of a recipe, and its model's options, by name."""
    fields = dict(recipe)
    options: dict[str, Any] = fields.pop("model_options")
    return fields | options


def name_of(settings: Mapping[str, Any]) -> str:
    """What a run is called by some settings of its recipe.

    Example:
        >>> name_of({"norm": "batch", "hidden": (20, 10), "learning_rate": 0.02, "seed": 0})
        'norm-batch-hidden-20x10-learning-rate-0.02-seed-0'
    """
    return "-".join(f"{f.replace('_', '-')}-{_in_a_name(v)}" for f, v in settings.items())


def shown(value: Any) -> str:
    """A setting's value as a person types it.

    Example:
        >>> shown((1000, 500)), shown(()), shown(True), shown("a/b.npz")
        ('1000x500', 'none', 'true', 'a/b.npz')
        >>> shown(1e-10), shown(100.0), shown(0.02000001)
        ('1e-10', '100', '0.02000001')
    """
    if isinstance(value, tuple | list):
        return "x".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text.removesuffix(".0") if isinstance(value, float) else text


def _in_a_name(value: Any) -> str:
    """A setting's value as a part of a name: of a path, the last part."""
    if isinstance(value, str):
        return Path(value).name
    return str(value) if isinstance(value, bool) else shown(value)
