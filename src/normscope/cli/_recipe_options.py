"""Every field of the recipe as a flag, made from the recipe itself."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer

from normscope._errors import RecipeError
from normscope.records import Recipe

_SHORT = {"learning_rate": ["--lr"], "epochs": ["-e"], "data": ["-d"]}


def takes_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` one option per recipe field, in place of its ``**recipe_options``.

    The command is called with the fields that the user named, and with no others.
    """
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [_option(name) for name in Recipe.model_fields]

    def wrapper(**arguments: Any) -> None:
        fields = Recipe.model_fields
        command(**{k: v for k, v in arguments.items() if k not in fields or v is not None})

    wrapper.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
    wrapper.__doc__ = command.__doc__
    return wrapper


def field_named(word: str) -> str:
    """The recipe's field that a flag's word stands for: ``lr`` is ``learning_rate``.

    Example:
        >>> field_named("lr"), field_named("batch-size"), field_named("depth")
        ('learning_rate', 'batch_size', 'depth')
    """
    short = {alias.lstrip("-"): name for name, aliases in _SHORT.items() for alias in aliases}
    return short.get(word, word.replace("-", "_"))


def flag(name: str) -> str:
    """A field's name as it is typed: ``learning_rate`` is ``--learning-rate``."""
    return "--" + name.replace("_", "-")


def _option(name: str) -> inspect.Parameter:
    """One recipe field as an optional keyword of a typer command."""
    field = Recipe.model_fields[name]
    flags = [flag(name)]
    if field.annotation is bool:
        flags = [f"{flag(name)}/{flag('no_' + name)}"]
    read = _READ.get(name)
    option = typer.Option(
        *flags,
        *_SHORT.get(name, []),
        # An absent flag is None, so that a recipe file's field stands; so words tell the default.
        help=f"{field.description}{_choices(name)} Default: {_told(field.default)}.",
        rich_help_panel=f"Recipe: {Recipe.section_of(name)}",
        parser=read,
        metavar=_metavar(name),
    )
    kind: Any = Any if read else field.annotation | None  # type: ignore[operator]
    annotation: Any = Annotated[kind, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _widths(text: str) -> tuple[int, ...]:
    """``1000,500`` as widths; an empty text is a network without hidden layers.

    Raises:
        RecipeError: if a part is no whole number.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        msg = (
            f"--hidden: widths are whole numbers separated by commas (1000,500,250), got {text!r}."
        )
        raise RecipeError(msg) from None


def _options(text: str) -> dict[str, str | int | float | bool]:
    """``depth=3,norm=batch`` as options for a model of one's own.

    Raises:
        RecipeError: if a part is not a name and a value.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for name, equals, _ in pairs:
        if not equals or not name.strip():
            msg = (
                "--model-options: give names and values, separated by commas (depth=3,norm=batch), "
                f"got {text!r}."
            )
            raise RecipeError(msg)
    return {name.strip(): scalar(value.strip()) for name, _, value in pairs}


def scalar(text: str) -> str | int | float | bool:
    """A word of a command line as what a TOML file would hold: a number, true, false, or text.

    Example:
        >>> [scalar(word) for word in ("64", "0.5", "true", "gelu")]
        [64, 0.5, True, 'gelu']
    """
    if text in {"true", "false"}:
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _metavar(name: str) -> str:
    """What stands for a value in the help: by the field's name, or else by its type."""
    kind: Any = Recipe.model_fields[name].annotation
    return _METAVARS.get(name) or {bool: "", int: "N", float: "X"}.get(kind, "WORD")


def _choices(name: str) -> str:
    """The words that a field has to be one of, as a sentence; nothing where there are none."""
    words = get_args(Recipe.model_fields[name].annotation)
    are_words = words and all(isinstance(word, str) for word in words)
    return f" One of {', '.join(words)}." if are_words else ""


def _told(default: Any) -> str:
    """A field's default, in words."""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    if isinstance(default, bool):
        return "on" if default else "off"
    return "none" if default is None or default == {} else str(default)


_READ: dict[str, Callable[[str], Any]] = {"hidden": _widths, "model_options": _options}
_METAVARS = {
    "data": "DATA",
    "model": "MODULE:FUNCTION",
    "model_options": "NAME=VALUE,…",
    "hidden": "WIDTHS",
}
