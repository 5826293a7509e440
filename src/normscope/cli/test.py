"""`normscope test RUN`: one network, three kinds of statistics, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from normscope.cli import _console


def test(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    *,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Other data than the run's, or where they are now."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print the scores as JSON.")
    ] = False,
) -> None:
    """Test a run under running, population and batch statistics."""
    from normscope import training
    from normscope.cli._training_display import say_scores
    from normscope.records import Run

    record = Run.load(run)
    dataset = training.dataset_of(record.recipe, data)
    scores = training.test_run(run, dataset)
    if json:
        _console.say(scores.model_dump_json(indent=2))
        return
    _console.say_wrapped(
        f"{run}: {record.status}, {len(record.epochs)} of "
        f"{_console.counted(record.recipe.epochs, 'epoch')}; "
        f"tested on {dataset.name}, {_console.counted(len(dataset.test), 'row')}"
    )
    if dataset.classes != record.data.classes:
        _console.say_wrapped(
            f"note: the run's classes are {', '.join(record.data.classes)}, these data's are "
            f"{', '.join(dataset.classes)}; they are matched by their order.",
            style="dim",
        )
    say_scores(scores)
