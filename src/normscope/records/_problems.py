"""What pydantic found wrong with a value, in words for the person who gave it."""

from typing import Any

from pydantic import ValidationError

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "names with values",
}
"""What is wanted where the type is wrong: ``int_type``, ``int_parsing``, ``int_from_float``, …"""

_WANTED = {
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "string_too_short": "text that is not empty",
}
_PRESENCE = {"missing": "is missing", "extra_forbidden": "is no field of it"}
_LONGEST = 80


def told(subject: str, problem: Any) -> str:
    """One of a `ValidationError`'s problems as a clause, without a full stop.

    Args:
        subject: what the person calls the value: a field, a flag.
        problem: one of its ``errors()``.

    Example:
        >>> from pydantic import TypeAdapter, ValidationError
        >>> try:
        ...     TypeAdapter(int).validate_python("many")
        ... except ValidationError as error:
        ...     told("--epochs", error.errors()[0])
        "--epochs has to be a whole number, got 'many'"
    """
    kind, seen = problem["type"], f"got {_cut(repr(problem['input']))}"
    if kind in _PRESENCE:
        return f"{subject} {_PRESENCE[kind]}"
    wanted = _WANTED.get(kind) or _KINDS.get(kind.partition("_")[0])
    if wanted:
        limits = {name: _plain(limit) for name, limit in problem.get("ctx", {}).items()}
        words = wanted.format(**limits).replace("'", "")
        return f"{subject} has to be {words}, {seen}"
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{subject}: {message[0].lower()}{message[1:]}, {seen}"


def first_told(error: ValidationError) -> str:
    """The first thing that is wrong with a file's content, by the field's path.

    Example:
        >>> from normscope.records import Recipe, Run
        >>> try:
        ...     Run.model_validate({"recipe": Recipe()})
        ... except ValidationError as error:
        ...     first_told(error)
        'status is missing'
    """
    problem = error.errors()[0]
    return told(".".join(map(str, problem["loc"])) or "the file", problem)


def _plain(limit: Any) -> Any:
    """``1.0`` is 1."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
