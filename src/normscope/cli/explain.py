"""`normscope explain`: each explanation of why batch norm works, against the evidence."""

import re
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normscope._errors import InputError, TrainingInterruptedError
from normscope.cli import _console
from normscope.cli._recipe_options import takes_recipe_options
from normscope.records import Recipe

if TYPE_CHECKING:
    from normscope.records import EvidenceTable
    from normscope.studies import Explaining

_STUDIES = Path("studies")
_UNITS = {"s": 1, "m": 60, "h": 3600}


class Format(StrEnum):
    """How the evidence is written."""

    TABLE = "table"
    JSON = "json"


@takes_recipe_options
def explain(
    *,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="What training may take: 90s, 20m, 2h, 1h30m. It picks the rest."
        ),
    ] = "20m",
    arms: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Which arms to train, in the place of those the budget picks."
        ),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="Which learning rates. Default: two decades, by budget."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="How many seeds. Default: by budget.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A recipe file (TOML); flags win over its fields."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The study's folder; again to go on. Default: studies/DATA-why."
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(metavar="X", help="Of every interval.")] = 0.95,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Runs at a time. Default: one for every core.")
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option(metavar="table|json", help="How the evidence is written.")
    ] = Format.TABLE,
    **recipe_options: Any,
) -> None:
    """Why does it work? Train what tells the explanations apart, and judge each of them.

    Without --epochs or --recipe, runs have 10 epochs. Stopped or killed, the same command goes on;
    with a larger budget, it adds arms, rates and seeds.
    """
    seconds, chosen_rates = _seconds(budget), _rates(rates)
    from normscope import studies

    base = Recipe.from_toml(recipe).model_dump() if recipe else {"epochs": studies.EXPLAIN_EPOCHS}
    chosen = Recipe.parse(base | recipe_options, where="the options")
    folder = out or _STUDIES / f"{_stem(chosen.data)}-why"
    table = _explained(
        _Screen() if format is Format.TABLE else None,
        chosen,
        out=folder,
        budget=seconds,
        arms=[word.strip() for word in arms.split(",")] if arms else None,
        learning_rates=chosen_rates,
        seeds=seeds,
        confidence=confidence,
        workers=workers,
    )
    if format is Format.JSON:
        _console.say(table.model_dump_json(indent=2))
        return
    from normscope.cli._evidence_display import shown

    _console.say()
    _console.say_block(shown(table))
    path = shlex.quote(str(folder))
    _console.say(f"\nThe evidence is in {path}. Look at the runs:\n  normscope report {path}")


class _Screen:
    """What is shown before the first run, and while they train."""

    def __init__(self) -> None:
        from normscope.cli._study_display import StudyDisplay

        self._explaining: Explaining | None = None
        self.display: StudyDisplay = StudyDisplay(_console.out, self._say)

    def plan(self, explaining: "Explaining") -> None:
        """Say it, and begin to show the runs."""
        self._explaining = explaining
        self.display.plan(explaining.study, explaining.plan)

    def _say(self, *_: object) -> None:
        from normscope.cli._evidence_display import plan_told

        assert self._explaining
        heading, *details = plan_told(self._explaining)
        _console.say_wrapped(heading)
        for line in details:
            _console.say_wrapped(line, style="dim")


def _explained(screen: _Screen | None, recipe: Recipe, **options: Any) -> "EvidenceTable":
    """Train and judge, on display.

    Raises:
        RunsFailedError: if runs failed.
        TrainingInterruptedError: after Ctrl-C, with the command that goes on.
    """
    from normscope import studies

    try:
        if screen is None:
            return studies.explain(recipe, **options)
        with screen.display:
            return studies.explain(
                recipe, **options, on_plan=screen.plan, on_progress=screen.display.heard
            )
    except studies.RunsFailedError as failed:
        msg = str(failed).replace("the same call", "the same command")
        raise studies.RunsFailedError(msg, failed.failures) from None
    except TrainingInterruptedError as stopped:
        again = shlex.join(["normscope", *sys.argv[1:]])
        msg = f"{str(stopped).replace('the same call', 'the same command')}\n  {again}"
        raise TrainingInterruptedError(msg) from None


def _stem(data: str) -> str:
    """What a study is called by its data."""
    return re.split("[.:]", Path(data).name)[0].replace("_", "-")


def _seconds(text: str) -> float:
    """A time as a person types it.

    Raises:
        InputError: if it is none.

    Example:
        >>> _seconds("20m"), _seconds("1h30m"), _seconds("90")
        (1200.0, 5400.0, 90.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.replace(" ", ""))
    if not parts or "".join(f"{n}{u}" for n, u in parts) != text.replace(" ", ""):
        msg = f"--budget {text}: give a time, such as 90s, 20m or 1h30m."
        raise InputError(msg)
    return float(sum(float(number) * _UNITS[unit or "s"] for number, unit in parts))


def _rates(text: str | None) -> list[float] | None:
    """Learning rates as a person types them.

    Raises:
        InputError: if one is no number.
    """
    try:
        return [float(word) for word in text.split(",")] if text else None
    except ValueError:
        msg = f"--rates {text}: give numbers with commas between them, such as 0.002,0.02,0.2."
        raise InputError(msg) from None
