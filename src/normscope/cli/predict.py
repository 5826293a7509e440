"""`normscope predict RUN IMAGE...`: read pictures of letters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normscope._errors import InputError
from normscope.cli import _console

if TYPE_CHECKING:
    from normscope.training import Prediction


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Pictures of one letter each.")
    ],
    *,
    top: Annotated[int, typer.Option(metavar="N", help="How many letters to print.", min=1)] = 3,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print the answers as JSON.")
    ] = False,
) -> None:
    """Read pictures of one letter each: any size, dark on light or light on dark.

    The letters are those that the run was trained on: A to J for the built-in ones.
    """  # noqa: DOC501 - typer shows this text to users
    from normscope import training

    reader = training.Reader(run)
    predictions, problems = [], []
    for image in images:
        try:
            predictions.append(reader.read(image))
        except InputError as error:
            problems.append(error)
    if json:
        _say_json(predictions)
    else:
        for prediction in predictions:
            best = list(prediction.probabilities.items())[:top]
            shares = "   ".join(f"{letter} {100 * share:.1f} %" for letter, share in best)
            _console.say(f"{prediction.image}: {shares}")
    for problem in problems:
        _console.say_error(problem)
    if problems:
        raise typer.Exit(InputError.exit_code)


def _say_json(predictions: "list[Prediction]") -> None:
    """One object per picture, for a program to read."""
    import json

    rows = [{"image": str(p.image), "probabilities": p.probabilities} for p in predictions]
    _console.say(json.dumps(rows, indent=2))
