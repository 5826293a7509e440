"""Where the commands print: results to standard output, errors to standard error.

Nothing is read as markup: file names may hold brackets and colons.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

WIDEST = 100
"""Columns beyond which sentences are hard to read."""


class _PatientConsole(Console):
    """A console whose reader may leave (``normscope train | head``): the work goes on unseen."""

    def on_broken_pipe(self) -> None:
        """Print into nothing from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


out = _PatientConsole(soft_wrap=True, markup=False, emoji=False, highlight=False)
_err = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)


def say(text: str | Text = "", *, style: str | None = None) -> None:
    """Print a line of a result."""
    out.print(text, style=style)


def say_wrapped(text: str, *, style: str = "") -> None:
    """Print sentences, broken between words where the terminal ends."""
    out.print(Text(text, style=style), soft_wrap=False)


def say_block(block: RenderableType) -> None:
    """Print tables and text, no wider than can be read; to a file, without colours and padding."""
    if out.is_terminal:
        out.print(block, width=min(out.width, WIDEST), soft_wrap=False)
    else:
        out.print(plain(block))


def plain(block: RenderableType) -> str:
    """Tables and text as lines for a file."""
    file = io.StringIO()
    console = Console(file=file, width=WIDEST, markup=False, emoji=False, highlight=False)
    console.print(block)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def say_error(error: Exception | str) -> None:
    """Print one sentence to standard error: one line, but on a terminal broken between words."""
    _err.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=not _err.is_terminal)


def say_stopped(stopped: Exception) -> None:
    """What a person asked for is no error; it begins below the terminal's own ``^C``."""
    sentence, *command = str(stopped).split("\n")
    _err.print(f"\n{sentence}", soft_wrap=not _err.is_terminal)
    for line in command:  # is to be copied, so it stays whole
        _err.print(line)


def counted(number: int, thing: str) -> str:
    """How many of a thing.

    Example:
        >>> counted(1, "epoch"), counted(1800, "row")
        ('1 epoch', '1,800 rows')
    """
    return f"{number:,} {thing}{'s' * (number != 1)}"


class Work:
    """What goes on, in a line on standard error that goes away; where nobody looks, nothing."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def say(self, what: str) -> None:
        """Something begins."""
        self._progress.update(self._task, description=what)


@contextmanager
def working(what: str) -> Iterator[Work]:
    """Inside the block a terminal shows what goes on, and for how long it has."""
    with Progress(
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=_err,
        transient=True,
        disable=not _err.is_terminal,
        redirect_stdout=False,  # what somebody's code prints stays where it is
        redirect_stderr=False,
    ) as progress:
        work = Work(progress)
        work.say(what)
        yield work


_NEAREST = {
    "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "…": "...", "·": "-",
    "×": "x", "÷": "/", "±": "+/-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "√": "sqrt",
    "→": "->", "←": "<-", "•": "*", "′": "'", "²": "^2", "³": "^3", "⁴": "^4", "ⁿ": "^n",
    "½": "1/2", "∞": "inf", "‖": "||", "α": "alpha", "β": "beta", "γ": "gamma", "Δ": "delta",
    "ε": "eps", "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "π": "pi",
    "σ": "sigma", "Σ": "sum", "∇": "grad", "▲": "^", "▼": "v", "■": "#", "●": "o", "◆": "*",
    "✚": "+", "▌": "|", "\u00a0": " ",
}  # fmt: skip
"""What stands for a character where a terminal has no such."""


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """Write what is nearest to the characters that an encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_NEAREST.get(each, "?") for each in lacking), error.end


def use_what_the_terminal_can_show() -> None:
    """Where the terminal's encoding lacks a character, print one like it, and no traceback."""
    codecs.register_error("normscope.nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="normscope.nearest")
