"""What a command line got wrong before its command ran, as one sentence of ours."""

from difflib import get_close_matches
from typing import Any

import typer
from pydantic import ValidationError

from normscope.records import told

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""The base of typer's refusals, which stands in different libraries in different versions of it."""


def usage_told(error: Any) -> str:
    """One of typer's refusals: what is wrong, and where to look; empty if help has been shown."""
    said = _said(error)
    if not said:
        return ""
    command = error.ctx.command_path if error.ctx else "normscope"
    return f"{said}{'' if said[-1] in '.?' else '.'} See `{command} --help`."


def _said(error: Any) -> str:
    """What is wrong."""
    parameter, option = getattr(error, "param", None), getattr(error, "option_name", None)
    if hasattr(error, "possibilities") and option:
        near = get_close_matches(option, error.possibilities or [], n=1, cutoff=0.7)
        return f"There is no option {option}{f'; did you mean {near[0]}?' if near else ''}"
    if parameter is None:
        return str(error.format_message()).replace("argument(s)", "argument")
    name = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
    if hasattr(error, "param_type"):  # which those have that miss one
        return f"{name} is missing"
    if isinstance(error.__cause__, ValidationError):
        problem = error.__cause__.errors()[0]
        if problem["type"] != "value_error":
            return told(name, problem)
    return f"{name}: {error.message.removeprefix('Value error, ')}"
