"""`normscope test RUN`: one network, three kinds of statistics, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from normscope.cli import _console


def test(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    *,
    data: Annotated[
        str | None, typer.Option(help="Other data than the run's, or where they are now.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Test a run under running, population and batch statistics."""
    from normscope import training
    from normscope.cli._training_display import print_scores

    scores = training.test_run(run, data)
    if json:
        _console.print_json(scores.model_dump_json(indent=2))
    else:
        print_scores(scores)
