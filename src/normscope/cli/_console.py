"""Where the commands print: results to standard output, everything else to standard error."""

from rich.console import Console
from rich.text import Text

out = Console(soft_wrap=True)
err = Console(stderr=True)


def print_error(error: Exception | str) -> None:
    """One sentence in plain words; markup characters in file names stay as they are."""
    message = Text.assemble(("error: ", "bold red"), str(error))
    err.print(message, soft_wrap=True, highlight=False)


def print_json(content: str) -> None:
    """A JSON document, for a program to read: no colour, no wrapping."""
    out.print(content, soft_wrap=True, highlight=False, markup=False)
