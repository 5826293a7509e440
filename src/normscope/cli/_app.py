"""The `normscope` command: its subcommands, its version, and what becomes of errors."""

import sys
from typing import Annotated

import typer

from normscope._errors import NormscopeError
from normscope._version import __version__
from normscope.cli import _console, predict, test, train

app = typer.Typer(
    name="normscope",
    help="Train networks with batch normalization, and see what it does inside them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("test")(test.test)
app.command("predict")(predict.predict)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback form
    if wanted:
        _console.out.print(f"normscope {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train networks with batch normalization, and see what it does inside them."""


def main() -> None:
    """Run a command; an error of ours becomes one sentence and its exit code."""
    try:
        app()
    except NormscopeError as error:
        _console.print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _console.print_error("Stopped at once; what had been saved before is intact.")
        sys.exit(130)
