"""`normscope compare`: variants of a recipe, trained with the same seeds, and judged."""

import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normscope._errors import StudyError, TrainingInterruptedError
from normscope.cli import _console
from normscope.cli._recipe_options import flag, takes_recipe_options
from normscope.cli._vary import seeds as parsed_seeds
from normscope.cli._vary import varied
from normscope.records import Recipe, Study, storage_errors, study_csv, write_atomically

if TYPE_CHECKING:
    from normscope.cli._study_display import StudyDisplay

_STUDIES = Path("studies")


@takes_recipe_options
def compare(
    *,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=A,B",
            help="A recipe field and the values to compare; again for more fields. Widths have an "
            "x between them: hidden=1000x500,250x250.",
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="N", help="How many seeds, or which (0,3,7).")
    ] = "5",
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A recipe file (TOML); flags win over its fields."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The study's folder; again to go on. Default: studies/DATA-FIELDS.",
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Validation accuracy to reach, in percent. Default: where the reference ends, "
            "less one standard error.",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD=A",
            help="What the others are compared with. Default: norm=none, where it is varied.",
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(metavar="X", help="Of every interval.")] = 0.95,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Runs at a time. Default: one for every core.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a table of all runs to this file."),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", metavar="", help="Print the study's folder and nothing else."
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print study.json and nothing else.")
    ] = False,
    **recipe_options: Any,
) -> None:
    """Does it help? Train variants of a recipe, and judge them with intervals.

    Stopped or killed, the same command goes on; with more seeds, it adds them.
    """
    fields, chosen_seeds = varied(vary or []), parsed_seeds(seeds)
    _refuse_twice(fields, recipe_options)
    base = Recipe.from_toml(recipe).model_dump() if recipe else {}
    chosen = Recipe.parse(base | recipe_options, where="the options")
    folder = out or _STUDIES / _name(chosen.data, fields)
    if csv:
        _refuse_what_cannot_be_written(csv)
    study = _compared(
        _display(shown=not (quiet or json)),
        fields,
        chosen,
        seeds=chosen_seeds,
        out=folder,
        target=target,
        reference=reference,
        confidence=confidence,
        workers=workers,
    )
    if csv:
        with storage_errors(csv):
            write_atomically(csv, study_csv(study).encode())
    _say(study, folder, quiet=quiet, json=json)


def _compared(display: "StudyDisplay | None", *arguments: Any, **options: Any) -> Study:
    """Run the study, on display.

    Raises:
        RunsFailedError: if runs failed.
        TrainingInterruptedError: after Ctrl-C, with the command that goes on.
    """
    from normscope import studies

    try:
        if display is None:
            return studies.compare(*arguments, **options)
        with display:
            return studies.compare(
                *arguments, **options, on_plan=display.plan, on_progress=display.heard
            )
    except studies.RunsFailedError as failed:
        msg = str(failed).replace("the same call", "the same command")
        raise studies.RunsFailedError(msg, failed.failures) from None
    except TrainingInterruptedError as stopped:
        again = shlex.join(["normscope", *sys.argv[1:]])
        msg = f"{str(stopped).replace('the same call', 'the same command')}\n  {again}"
        raise TrainingInterruptedError(msg) from None


def _display(*, shown: bool) -> "StudyDisplay | None":
    """What shows the study as it goes, where anybody wants to see it."""
    if not shown:
        return None
    from normscope.cli._study_display import StudyDisplay

    return StudyDisplay(_console.out)


def _say(study: Study, folder: Path, *, quiet: bool, json: bool) -> None:
    """Print what came out, as it was asked for."""
    from normscope.cli._study_result import say_study

    if json:
        _console.say(study.model_dump_json(indent=2))
    elif quiet:
        _console.say(str(folder))
    else:
        say_study(study, str(folder))


def _name(data: str, fields: Iterable[str]) -> str:
    """What a study is called by its data and what it varies: ``letters-norm-learning-rate``."""
    parts = [re.split("[.:]", Path(data).name)[0], *fields]
    return "-".join(part.replace("_", "-") for part in parts)


def _refuse_what_cannot_be_written(csv: Path) -> None:
    """Refuse, before hours of training, a table that has no place.

    Raises:
        StudyError: saying why.
    """
    if csv.is_dir():
        msg = f"--csv {csv}: this is a folder. Name a file in it."
        raise StudyError(msg)
    if not csv.parent.is_dir():
        msg = f"--csv {csv}: there is no folder {csv.parent}. Make it first."
        raise StudyError(msg)


def _refuse_twice(vary: dict[str, list[Any]], options: dict[str, Any]) -> None:
    """Refuse a field that is varied and set.

    Raises:
        StudyError: naming it.
    """
    for field in vary:
        if field in options:
            msg = f"{field} is varied, so {flag(field)} cannot set it as well."
            raise StudyError(msg)
