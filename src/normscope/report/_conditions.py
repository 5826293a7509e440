"""What the figures rest on: recipe, data, machine."""

from collections.abc import Mapping, Sequence

import tomlkit

from normscope.records import DataRecord, Environment, Recipe
from normscope.report import _numbers as numbers
from normscope.report._parts import Facts, Table
from normscope.report._words import Words


def recipe_table(
    recipe: Recipe, say: Words, *, varied: Mapping[str, Sequence[object]] | None = None
) -> Table:
    """Every field of the recipe that decides something, and what it means.

    What was varied comes first, with all of its values.
    """
    varied = varied or {}
    several = [
        [
            name,
            f"{say('varied')} {', '.join(map(_toml, values))}",
            say(f"recipe {name if name in Recipe.model_fields else 'model_options'}"),
        ]
        for name, values in varied.items()
    ]
    return Table(
        title=say("recipe"),
        head=[say("field"), say("value"), say("meaning")],
        rows=several
        + [
            [name, _toml(getattr(recipe, name)), say(f"recipe {name}")]
            for name in Recipe.model_fields
            if name not in {*recipe.idle_fields, *varied}
        ],
        open=True,
        text=frozenset({1, 2}),
    )


def again(command: str, say: Words) -> Facts:
    """The command that does it again."""
    return Facts(title=say("again"), pairs=[(say("command"), command)])


def _toml(value: object) -> str:
    """As it would stand in a recipe file."""
    if value is None or value == {}:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_toml(one)}" for name, one in value.items())
    return tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string()


def data_facts(data: DataRecord, say: Words) -> Facts:
    """Which data, how many rows, and how they were read."""
    rows = [f"{count:,}" for count in (data.train_rows, data.valid_rows, data.test_rows)]
    shape = " × ".join(map(str, data.image_size))
    return Facts(
        title=say("data"),
        pairs=[
            (say("name"), data.name),
            (say("source"), data.source),
            (say("rows"), " / ".join(rows)),
            (say("classes"), f"{len(data.classes)}: {' '.join(data.classes[:40])}"),
            (say("images" if data.picture_size else "inputs"), shape),
            (say("fingerprint"), data.fingerprint),
        ],
        notes=data.notes,
    )


def machine_facts(environment: Environment, say: Words, notes: Sequence[str] = ()) -> Facts:
    """Where it ran, by which versions."""
    versions = (
        f"Normscope {environment.normscope}, PyTorch {environment.torch}, "
        f"NumPy {environment.numpy}, Python {environment.python}"
    )
    return Facts(
        title=say("machine"),
        pairs=[
            (say("processor"), environment.processor),
            (say("platform"), environment.platform),
            (say("device"), environment.device),
            (say("threads"), numbers.number(environment.threads, 0)),
            (say("versions"), versions),
        ],
        notes=notes,
    )
