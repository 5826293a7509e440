"""`normscope train`: the article's network, on built-in letters or on the user's data."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normscope._errors import InputError
from normscope.cli import _console
from normscope.cli._recipe_options import flag, takes_recipe_options
from normscope.records import Recipe, storage_errors, write_atomically

if TYPE_CHECKING:
    from normscope.data import Dataset
    from normscope.training import Observer, TrainResult

_RUNS = Path("runs")


@takes_recipe_options
def train(
    *,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A recipe file (TOML); flags win over its fields."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A new folder for the run. Default: runs/DATA-NORM-N."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take up the run in this folder where it stopped."),
    ] = None,
    write_recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the recipe to this file and stop.")
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", help="Print the run folder and nothing else."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print run.json and nothing else.")
    ] = False,
    inspect: Annotated[
        bool,
        typer.Option(
            metavar="", help="Look inside the network for the report, as it trains and at the end."
        ),
    ] = True,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Probes that read as it trains: NAME,NAME or all.",
        ),
    ] = None,
    probe_every: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Steps between two readings. Default: each its own."),
    ] = None,
    **recipe_options: Any,
) -> None:
    """Train the article's network; without options, on built-in letters.

    Ctrl-C finishes the step, saves, and says how to resume.
    """
    shown = _Shown(quiet=quiet, json=json)
    looks = _Looks(inspect, _names(probe, probe_every), probe_every)
    if resume:
        others = {"recipe": recipe, "out": out, "write_recipe": write_recipe}
        named = [name for name, value in others.items() if value]
        _refuse_beside_resume([*named, *(set(recipe_options) - {"data"})])
        _resume(resume, recipe_options.get("data"), shown, looks)
        return
    fields = Recipe.from_toml(recipe).model_dump() if recipe else {}
    chosen = Recipe.parse(fields | recipe_options, where="the options")
    if write_recipe:
        _write_recipe(write_recipe, chosen)
    else:
        _train(chosen, out, shown, looks)


class _Shown:
    """What a person or a program sees of a training: everything, the folder, or the record."""

    def __init__(self, *, quiet: bool, json: bool) -> None:
        self._quiet, self._json = quiet or json, json

    def observers(self, dataset: "Dataset") -> "list[Observer]":
        """Show the data; what shows the training as it goes."""
        if self._quiet:
            return []
        from normscope.cli._training_display import TrainingDisplay, say_data

        say_data(dataset)
        return [TrainingDisplay(_console.out)]

    def result(self, result: "TrainResult", *, probed: bool) -> None:
        """Show what came out, and where what probes read is."""
        from normscope.cli._training_display import say_result

        if self._json:
            _console.say(result.run.model_dump_json(indent=2))
        elif self._quiet:
            _console.say(str(result.folder))
        else:
            say_result(result.run, str(result.folder))
            if probed and result.folder:
                _say_readings(result.folder)


@dataclass(frozen=True)
class _Looks:
    """What looks inside the network while it trains, and whether something does afterwards."""

    inspect: bool
    probes: list[str]
    every: int | None

    def observers(self, dataset: "Dataset") -> "list[Observer]":
        """Those that look on."""
        from normscope.probes import HistoryProbe, ProbeObserver

        seen: list[Observer] = [HistoryProbe(dataset.valid)] if self.inspect else []
        if self.probes:
            seen.append(ProbeObserver(dataset.valid, self.probes, self.every))
        return seen


def _names(probe: str | None, every: int | None) -> list[str]:
    """The probes that a person typed, with commas between them; refused before data are read.

    Raises:
        InputError: if there is no such probe, or only the interval is there.
    """
    if probe is None:
        if every is not None:
            msg = "--probe-every says how often probes read; say which, as in --probe all."
            raise InputError(msg)
        return []
    from normscope.probes import chosen

    names = [name.strip() for name in probe.split(",")]
    chosen(names)
    return names


def _train(recipe: Recipe, out: Path | None, shown: _Shown, looks: _Looks) -> None:
    """Train by a recipe into a new folder."""
    from normscope import training

    dataset = training.dataset_of(recipe)
    stem = _RUNS / _name(recipe, dataset)
    where, number = (stem, True) if out is None else (out, False)
    observers = [*shown.observers(dataset), *looks.observers(dataset)]
    result = training.train(recipe, dataset, out=where, number=number, observers=observers)
    _finish(result, dataset, shown, looks)


def _name(recipe: Recipe, dataset: "Dataset") -> str:
    """What a run is called: ``letters-batch``, or ``letters-net`` of a user's own ``mine:net``."""
    network = recipe.model.split(":")[1] if recipe.model else recipe.norm
    return f"{dataset.name.split('.')[0]}-{network}"


def _resume(folder: Path, data: str | None, shown: _Shown, looks: _Looks) -> None:
    """Take up the run in a folder."""
    from normscope import training

    dataset = training.dataset_of(training.unfinished_run(folder).recipe, data)
    observers = [*shown.observers(dataset), *looks.observers(dataset)]
    result = training.resume(folder, dataset, observers=observers)
    _finish(result, dataset, shown, looks)


def _finish(result: "TrainResult", dataset: "Dataset", shown: _Shown, looks: _Looks) -> None:
    """Look inside the trained network, and show what came out, also where the look failed."""
    from normscope.studies import inspect_run

    try:
        if looks.inspect and result.folder:
            inspect_run(result.folder, dataset)
    finally:
        shown.result(result, probed=bool(looks.probes))


def _say_readings(folder: Path) -> None:
    """How much was read, where it is, and how to get at it; and what could not be read."""
    from normscope.probes import read_readings

    readings = read_readings(folder)
    failed = sorted({reading.probe for reading in readings if reading.quantity == "failed"})
    _console.say_wrapped(
        f"The probes left {_console.counted(len(readings), 'reading')}, a line each, in "
        f"{quote(str(folder / 'readings.jsonl'))}; normscope.probes.read_readings reads them."
        + (f" Not all could be read: {', '.join(failed)}." if failed else "")
    )


def _refuse_beside_resume(names: list[str]) -> None:
    """A resumed run keeps its recipe: an option that would change it is refused, not ignored."""
    if names:
        msg = (
            f"--resume takes up a run with its own recipe; {', '.join(map(flag, sorted(names)))} "
            "cannot change it. Only --data goes with it, where the same data have moved."
        )
        raise InputError(msg)


def _write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe file for a person to change; never over one that is there."""
    if path.exists():
        msg = f"{path}: this file exists. Choose another name, or delete it first."
        raise InputError(msg)
    with storage_errors(path):
        write_atomically(path, recipe.to_toml().encode())
    name = quote(str(path))
    _console.say(f"Wrote {name}. Train by it: normscope train --recipe {name}")
