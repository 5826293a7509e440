"""What the commands that repair a model have in common: the model, the receipt, and the file."""

from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normscope._errors import InputError
from normscope.cli import _console
from normscope.cli._places import try_place
from normscope.cli._words import errors_as_typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from normscope.anatomy import Forward
    from normscope.records import Receipt

TARGET = Annotated[
    str, typer.Argument(metavar="TARGET", help="package.module:factory, or a run folder.")
]


class Format(StrEnum):
    """How a receipt is written."""

    TABLE = "table"
    JSON = "json"


FORMAT = Annotated[
    Format, typer.Option("--format", metavar="table|json", help="How the receipt is printed.")
]


def refuse_file(file: Path | None, suffix: str) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        InputError: if the file exists, is of another kind, or the disk refuses it.
    """
    if file is None:
        return
    if file.suffix != suffix:
        msg = f"--out {file}: the file's name has to end in {suffix}."
        raise InputError(msg)
    if file.exists():
        msg = f"--out {file}: this file exists. Choose another name, or delete it first."
        raise InputError(msg)
    try_place(file)


@dataclass(frozen=True)
class Patient:
    """What is repaired.

    Attributes:
        model: it.
        loader: its data.
        forward: how it is called.
    """

    model: "nn.Module"
    loader: "Iterable[Any]"
    forward: "Forward"


@contextmanager
def repair_of(
    operation: str,
    target: str,
    data: str | None,
    forward: str | None,
    form: Format,
    *,
    most: int | None = None,
) -> "Iterator[Patient]":
    """Find what an operation needs; what somebody's code prints in the block is no result.

    Args:
        operation: the command's name.
        target: as the person typed it.
        data: as the person typed it.
        forward: as the person typed it.
        form: of the receipt.
        most: how many batches are needed, of what can be gone through only once.

    Raises:
        InputError: if the target is no model that can be changed, or there are no data.
    """
    from normscope.cli._target import (
        Seen,
        forward_of,
        loader_of,
        prints_to_stderr,
        refuse_program,
        target_of,
    )

    with (
        prints_to_stderr(wanted=form is not Format.TABLE),
        errors_as_typed(),
        _console.working(f"{operation}: building {target}") as work,
    ):
        found = target_of(target)
        refuse_program(found, operation)
        loader = loader_of(found, data, most=most)
        if loader is None:
            msg = f"{operation} needs data: --data package.module:loader."
            raise InputError(msg)
        yield Patient(found.model, Seen(loader, work, most), forward_of(forward))


def tell(
    receipt: "Receipt", name: str, form: Format, file: Path | None, content: bytes, use: str
) -> None:
    """Write the file, and print the receipt.

    Args:
        receipt: of the operation.
        name: of the model, as the person typed it.
        form: of what is printed.
        file: where the result goes, if it goes anywhere.
        content: of the file.
        use: how the file is loaded, in a line of Python.
    """
    from normscope.records import storage_errors, write_atomically

    if file:
        with storage_errors(file):
            write_atomically(file, content)
    if form is Format.JSON:
        _console.say(receipt.model_dump_json(indent=2))
        return
    from normscope.cli._receipt_display import shown

    _console.say_block(shown(receipt, name))
    _console.say()
    if file is None:
        _console.say("Nothing was written. --out FILE keeps the result.", style="dim")
        return
    _console.say(f"Wrote {quote(str(file))}. To load it:")
    _console.say(f"    {use}", style="dim")
