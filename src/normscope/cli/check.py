"""`normscope check TARGET`: what is wrong with a model's normalization?"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normscope._errors import InputError, StorageError
from normscope.cli import _console
from normscope.cli._places import try_place
from normscope.cli._words import errors_as_typed

if TYPE_CHECKING:
    from normscope.cli._target import Target
    from normscope.records import Diagnosis

_FOUND = 1
_BATCHES = 64


class Format(StrEnum):
    """How findings are written."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"


class _Severity(StrEnum):
    """How bad a finding has to be."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


DATA = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Returns batches, or holds them, best of the training data: a DataLoader, or a list. "
        "Of a run folder: its own training data, or where these are now.",
    ),
]
FORWARD = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION", help="Called with model and batch; calls the model with it."
    ),
]


def check(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="package.module:factory, a run folder, or a program of torch.export or "
            "TorchScript.",
            show_default=False,
        ),
    ] = None,
    *,
    data: DATA = None,
    forward: FORWARD = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Called with the model; returns its optimizer."
        ),
    ] = None,
    suppress: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE:MODULE=REASON",
            help="What is on purpose, and why: NS501:backbone.*=AdaBN. Can be given again.",
        ),
    ] = None,
    batches: Annotated[
        int, typer.Option(metavar="N", help="How many batches to look at, at most.", min=1)
    ] = _BATCHES,
    fail_on: Annotated[
        _Severity,
        typer.Option(metavar="error|warning|info", help="How bad a finding makes the exit code 1."),
    ] = _Severity.WARNING,
    format: Annotated[  # noqa: A002 - the option's name
        Format, typer.Option(metavar="table|json|sarif", help="How findings are written.")
    ] = Format.TABLE,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write them to this file; the table is printed as well."),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="CODE|SYMPTOM",
            help="What a rule's code means; or which rules cause what you see, in your words.",
        ),
    ] = None,
) -> None:
    """Look for what is wrong with a model's normalization, and change nothing.

    Exit codes: 0, nothing at or above --fail-on; 1, there is; 2, the check could not be made;
    130, Ctrl-C.
    """  # noqa: DOC501 - typer shows this text to users
    if explain is not None:
        _explain(explain)
        return
    if target is None:
        msg = "TARGET is missing: package.module:factory, a run folder, or a saved program."
        raise InputError(msg)
    if out is not None:
        try_place(out)
    from normscope.cli._target import prints_to_stderr, target_of

    with (
        prints_to_stderr(wanted=format is not Format.TABLE and out is None),
        errors_as_typed(),
        _console.working(f"check: building {target}") as work,
    ):
        found = target_of(target)
        reasons = _reasons(suppress or [])
        diagnosis = _diagnosis(found, data, forward, optimizer, reasons, batches, work)
    _tell(diagnosis, found, format, out)
    if diagnosis.at_least(fail_on.value):
        raise typer.Exit(_FOUND)


def _explain(text: str) -> None:
    """A page: set on a terminal, as it is written in a pipe."""
    from normscope.doctor import explain

    page = explain(text)
    if not _console.out.is_terminal:
        _console.say(page.rstrip())
        return
    from rich.markdown import Markdown

    _console.say_block(Markdown(page))


def _reasons(texts: list[str]) -> dict[str, str]:
    """What is suppressed, and why."""
    pairs = [text.partition("=") for text in texts]
    return {key.strip(): reason for key, _, reason in pairs}


def _diagnosis(
    target: "Target",
    data: str | None,
    forward: str | None,
    optimizer: str | None,
    reasons: dict[str, str],
    batches: int,
    work: _console.Work,
) -> "Diagnosis":
    from normscope.cli._target import Seen, forward_of, loader_of, optimizer_of
    from normscope.doctor import check as look

    work.say(f"check: looking at {target.name}")
    loader = loader_of(target, data, most=batches)
    return look(
        target.model,
        None if loader is None else Seen(loader, work, batches),
        optimizer=optimizer_of(optimizer, target.model),
        forward=forward_of(forward),
        suppress=reasons,
        most_batches=batches,
    )


def _tell(diagnosis: "Diagnosis", target: "Target", form: Format, out: Path | None) -> None:
    """Print it; or write it, and print the table."""
    from normscope.cli._check_display import shown

    if form is Format.TABLE or out:
        _console.say_block(shown(diagnosis, target.name))
    if form is Format.TABLE and not out:
        return
    text = _written(diagnosis, target, form)
    if out is None:
        _console.say(text)
        return
    _write(out, text)
    _console.say_wrapped(f"Wrote {out}.", style="dim")


def _written(diagnosis: "Diagnosis", target: "Target", form: Format) -> str:
    if form is Format.JSON:
        return diagnosis.model_dump_json(indent=2)
    if form is Format.SARIF:
        from normscope.doctor import sarif

        return sarif(diagnosis, target.model, built_by=target.built_by)
    from normscope.cli._check_display import shown

    return _console.plain(shown(diagnosis, target.name))


def _write(file: Path, text: str) -> None:
    """Write it; what cannot be written is no finding, so its exit code is another.

    Raises:
        InputError: if the disk refuses.
    """
    from normscope.records import storage_errors, write_atomically

    try:
        with storage_errors(file):
            write_atomically(file, f"{text}\n".encode())
    except StorageError as error:
        raise InputError(str(error)) from error
