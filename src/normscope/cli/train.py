"""`normscope train`: the article's network, on built-in letters or on the user's data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from normscope._errors import DivergenceError, InputError, TrainingInterruptedError
from normscope.cli import _console
from normscope.cli._recipe_options import takes_recipe_options
from normscope.records import Recipe, storage_errors, write_atomically

_RUNS = Path("runs")


@takes_recipe_options
def train(
    *,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe file (TOML); flags win over its fields.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder for the run.", show_default="runs/DATA-NORM-N"),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Take up the run in this folder where it stopped.")
    ] = None,
    write_recipe: Annotated[
        Path | None, typer.Option(help="Write the recipe to this file and stop.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the run folder and nothing else.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print run.json and nothing else.")] = False,
    **recipe_options: Any,
) -> None:
    """Train the article's network; without options, on built-in letters.

    Ctrl-C finishes the step, saves, and says how to resume.
    """  # noqa: DOC501 - typer shows this text to users
    if resume and (recipe or out or write_recipe or set(recipe_options) - {"data"}):
        msg = (
            "--resume takes up a run with its own recipe: no other option changes it "
            "(only --data, where the same data have moved)."
        )
        raise InputError(msg)
    if resume:
        _train(resume, None, recipe_options.get("data"), quiet=quiet or json, json=json)
        return
    fields = Recipe.from_toml(recipe).model_dump() if recipe else {}
    chosen = Recipe.parse(fields | recipe_options, where="the options")
    if write_recipe:
        _write_recipe(write_recipe, chosen)
    else:
        _train(out, chosen, None, quiet=quiet or json, json=json)


def _train(
    folder: Path | None, recipe: Recipe | None, data: str | None, *, quiet: bool, json: bool
) -> None:
    """Train or, without a recipe, resume; print as it goes; end with the test."""
    from normscope import training
    from normscope.cli._training_display import (
        TrainingDisplay,
        print_data,
        print_result,
    )
    from normscope.records import Run

    source_recipe = recipe or Run.load(folder or _RUNS).recipe
    dataset = training.dataset_of(source_recipe, data)
    if not quiet:
        print_data(dataset)
    if folder is None:
        stem = f"{dataset.name.split('.')[0]}-{source_recipe.norm}"
        folder = training.new_folder(_RUNS, stem)
    observers = [] if quiet else [TrainingDisplay(_console.out)]
    try:
        if recipe is None:
            result = training.resume(folder, dataset, observers=observers)
        else:
            result = training.train(recipe, dataset, out=folder, observers=observers)
    except TrainingInterruptedError as error:
        msg = f"{error} Go on with: normscope train --resume {folder}"
        raise TrainingInterruptedError(msg) from None
    except DivergenceError as error:
        msg = f"{error} What happened is in {folder / 'run.json'}."
        raise DivergenceError(msg) from None
    if json:
        _console.print_json(result.run.model_dump_json(indent=2))
    elif quiet:
        _console.print_json(str(folder))
    else:
        print_result(result.run, folder)


def _write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe file for a person to change; never over one that is there."""
    if path.exists():
        msg = f"{path}: this file exists. Choose another name, or delete it first."
        raise InputError(msg)
    with storage_errors(path):
        write_atomically(path, recipe.to_toml().encode())
    _console.out.print(
        f"Wrote {path}. Train by it: normscope train --recipe {path}", highlight=False
    )
