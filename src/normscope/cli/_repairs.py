"""What the commands that repair a model have in common: the receipt, and the file."""

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from normscope._errors import InputError, NormscopeError, OwnModelError
from normscope.cli import _console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

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
        InputError: if the file exists, is of another kind, or its folder is not there.
    """
    if file is None:
        return
    if file.suffix != suffix:
        msg = f"--out {file}: the file's name has to end in {suffix}."
        raise InputError(msg)
    if file.exists():
        msg = f"--out {file}: this file exists. Choose another name, or delete it first."
        raise InputError(msg)
    if not file.parent.is_dir():
        msg = f"--out {file}: there is no folder {file.parent}. Make it first."
        raise InputError(msg)


@contextmanager
def model_errors(model: "nn.Module", forward: object) -> "Iterator[None]":
    """Turn what somebody's model raises inside the block into one sentence.

    Raises:
        NormscopeError: one of ours, as it is.
        OwnModelError: naming what was raised, and where.
    """
    from normscope._factories import told

    try:
        yield
    except NormscopeError:
        raise
    except Exception as problem:
        msg = (
            f"{type(model).__name__}: the model raised {told(problem, forward)}. If it is called "
            "otherwise than with a batch's first part: --forward package.module:function."
        )
        raise OwnModelError(msg) from problem


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
