"""`normscope predict RUN IMAGE...`: read pictures of letters."""

from pathlib import Path
from typing import Annotated

import typer

from normscope.cli import _console


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures of one letter each.")],
    *,
    top: Annotated[int, typer.Option(help="How many letters to print.", min=1)] = 3,
    json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Read pictures of a letter: any size, dark on light or light on dark."""
    from normscope import training

    predictions = training.predict_run(run, images)
    if json:
        import json as json_module

        rows = [{"image": str(p.image), "probabilities": p.probabilities} for p in predictions]
        _console.say(json_module.dumps(rows, indent=2))
        return
    for prediction in predictions:
        best = list(prediction.probabilities.items())[:top]
        text = "   ".join(f"{letter} {100 * share:.1f} %" for letter, share in best)
        _console.say(f"{prediction.image}: {text}")
