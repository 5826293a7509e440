"""`--vary FIELD=VALUE,VALUE,…`: what is compared, read by the recipe's own types."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from normscope._errors import StudyError
from normscope.cli._recipe_options import field_named, scalar
from normscope.records import Recipe, told

_WIDTHS, _NO_WIDTHS = "hidden", "none"
_OPTIONS = "model_options"


def varied(words: Sequence[str]) -> dict[str, list[Any]]:
    """Every field's values; a field may be typed as its flag is, ``learning-rate`` or ``lr``.

    Commas stand between values. So widths, which are several themselves, have an ``x`` between
    them (``hidden=1000x500,250x250``), and no hidden layers are ``none``. A name that is no field
    of the recipe is an option of the user's own model; its values are numbers, ``true`` and
    ``false`` where they look like it, and text.

    Raises:
        StudyError: naming the field and what was seen.

    Example:
        >>> varied(["norm=batch,none", "hidden=20x10,none"])
        {'norm': ['batch', 'none'], 'hidden': [(20, 10), ()]}
    """
    fields: dict[str, list[Any]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        field = field_named(name.strip())
        if not equals or not field:
            msg = f"--vary {word}: write a field and its values, as in --vary norm=batch,none."
            raise StudyError(msg)
        if field in fields:
            msg = f"--vary {field} is there twice; give all of its values at once, with commas."
            raise StudyError(msg)
        if field == _OPTIONS:
            msg = "--vary model_options: vary an option of your model by its own name."
            raise StudyError(msg)
        fields[field] = [_value(field, value.strip()) for value in values.split(",")]
    return fields


def _value(field: str, text: str) -> Any:
    """One value, of the type that the recipe's field has.

    Raises:
        StudyError: if it is of another.
    """
    if field not in Recipe.model_fields:
        return scalar(text)
    kind: Any = Recipe.model_fields[field].annotation
    seen: Any = text
    if field == _WIDTHS:
        seen = () if text == _NO_WIDTHS else text.split("x")
    try:
        return TypeAdapter(kind).validate_python(seen)
    except ValidationError as error:
        near = get_close_matches(text, map(str, get_args(kind)), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        hint = " Widths are written 1000x500." if field == _WIDTHS else hint
        msg = f"--vary {told(field, error.errors()[0])}.{hint}"
        raise StudyError(msg) from None


def seeds(text: str) -> int | list[int]:
    """``5`` is how many seeds; ``0,3,7`` are which.

    Raises:
        StudyError: if it is neither.

    Example:
        >>> seeds("5"), seeds("0,3,7"), seeds("7,")
        (5, [0, 3, 7], [7])
    """
    try:
        if "," in text:
            return [int(part) for part in text.split(",") if part.strip()]
        return int(text)
    except ValueError:
        msg = f"--seeds: give how many (5), or which, with commas (0,3,7), got {text!r}."
        raise StudyError(msg) from None
