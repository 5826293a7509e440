"""The `normscope` command: its subcommands, its version, and what becomes of errors."""

import sys
from typing import Annotated

import typer

from normscope._errors import InputError, NormscopeError, TrainingInterruptedError
from normscope._version import __version__
from normscope.cli import (
    _console,
    check,
    compare,
    explain,
    fold,
    predict,
    recalibrate,
    report,
    test,
    train,
)
from normscope.cli._usage import UsageError, usage_told

_WIDE_ENOUGH = 70
"""Columns below which the boxes of a rich help cut words off, and plain text does not."""

app = typer.Typer(
    name="normscope",
    rich_markup_mode="rich" if _console.out.width >= _WIDE_ENOUGH else None,
    help="Train networks with batch normalization, and see what it does inside them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("test")(test.test)
app.command("predict")(predict.predict)
app.command("compare")(compare.compare)
app.command("explain")(explain.explain)
app.command("check")(check.check)
app.command("recalibrate")(recalibrate.recalibrate)
app.command("fold")(fold.fold)
app.command("report")(report.report)

_INTERRUPTED = 130


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback form
    if wanted:
        _console.say(f"normscope {__version__}")
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


def run() -> None:
    """Run a command; an error of ours becomes one sentence and its exit code.

    Raises:
        KeyboardInterrupt: after a Ctrl-C that no command answered.
        SystemExit: with the exit code, as every command ends.
    """
    _console.use_what_the_terminal_can_show()
    try:
        _refuse_undecodable(sys.argv[1:])
        code = app(prog_name="normscope", standalone_mode=False)
    except UsageError as error:
        if sentence := usage_told(error):
            _console.say_error(sentence)
        sys.exit(InputError.exit_code)
    except TrainingInterruptedError as stopped:
        _console.say_stopped(stopped)
        sys.exit(stopped.exit_code)
    except NormscopeError as error:
        _console.say_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader left; nobody is there to be told
        _console.out.on_broken_pipe()
        sys.exit(1)
    except OSError as error:
        _console.say_error(f"{error.filename or 'The output'}: {error.strerror or error}.")
        sys.exit(InputError.exit_code)  # 1 is an answer: of `check`, that something was found
    if code == _INTERRUPTED:  # typer's answer to a Ctrl-C that it caught
        raise KeyboardInterrupt
    sys.exit(code)


def _refuse_undecodable(words: list[str]) -> None:
    """Refuse names that are not text: no record, which is JSON, could hold them.

    Raises:
        InputError: naming the word.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            msg = f"{word!a}: this name is not valid UTF-8. Rename the file or folder."
            raise InputError(msg) from None
