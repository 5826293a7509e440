"""A recipe: everything that decides what a training run computes."""

import difflib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import tomlkit
from pydantic import Field, ValidationError, field_validator, model_validator

from normscope._errors import RecipeError
from normscope._factories import names_a_function
from normscope.records._base import Record
from normscope.records._problems import told


def _field(default: Any, section: str, description: str, **limits: Any) -> Any:
    """A recipe field: its default, the heading that it stands under, and what it means."""
    return Field(default, description=description, json_schema_extra={"section": section}, **limits)


Option = str | int | bool | Annotated[float, Field(allow_inf_nan=False)]
"""What a recipe can hand to a function: what TOML and JSON both can write, and read back alike."""

Norm = Literal[
    "batch",
    "none",
    "layer",
    "noisy",
    "calm",
    "detached",
    "mean",
    "variance",
    "calibrated",
    "weight",
    "last",
    "clipped",
]
"""What `Recipe.norm` can be."""

_WHOLE_BATCHES_ONLY = ("noisy", "calm", "detached", "mean", "variance")
"""The norms that go by the batch, and know no ghosts."""

_BUILT_IN_ONLY = (
    "hidden",
    "ghost_size",
    "weights",
    "eps",
    "average",
    "decay",
    "warm_up",
    "running_variance",
    "clipping",
)
"""The fields that shape the built-in network, and mean nothing to a model of somebody's own."""

_UNNAMED = "the recipe"
"""What an error calls a recipe that came from no file."""


class Recipe(Record):
    """What to train, on what, and how. The defaults are the founding article's own settings.

    A recipe is a TOML file that a person can read and change; every field is also a flag of
    ``normscope train``.

    Raises:
        RecipeError: naming every field that is wrong, and what was seen.

    Example:
        >>> Recipe(norm="none", epochs=20).learning_rate
        0.02
        >>> "seed = 7" in Recipe(seed=7).to_toml().splitlines()
        True
    """

    data: str = _field(
        "letters",
        "Data",
        "A built-in set (letters), a path (pickle, IDX folder, npz, images), or your own function "
        "(package.module:function).",
        min_length=1,
    )
    valid_fraction: float = _field(
        0.1, "Data", "Share held out where the data bring no validation split.", gt=0, lt=0.5
    )

    model: str | None = _field(
        None,
        "Model",
        "Your own function that builds the network (package.module:function), in the place of the "
        "built-in one.",
    )
    model_options: dict[str, Option] = _field(
        {}, "Model", "What your function is called with, by the names of its parameters."
    )

    hidden: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = _field(
        (1000, 500, 250, 250, 250),
        "Network",
        "Widths of the hidden layers; none at all is [] in a file and '' on the command line.",
        strict=False,
    )
    norm: Norm = _field(
        "batch",
        "Network",
        "What normalizes every layer, the logits as well. From noisy on: controls, which change "
        "one thing each (see norms.md).",
    )
    ghost_size: int = _field(
        0,
        "Network",
        "With norm = batch or last: cut every batch into parts of so many rows, each normalized by "
        "its own statistics; 0: do not.",
        ge=0,
    )
    weights: Literal["scaled", "plain"] = _field(
        "scaled",
        "Network",
        "scaled: N(0, 1), divided by sqrt(fan-in) on every use (the article); "
        "plain: drawn from N(0, 1/fan-in).",
    )
    eps: float = _field(
        1e-10, "Network", "Added to the variance before the square root.", gt=0, allow_inf_nan=False
    )

    average: Literal["exponential", "cumulative"] = _field(
        "exponential", "Running statistics", "How the running statistics are tracked."
    )
    decay: float = _field(
        0.99,
        "Running statistics",
        "Weight of the old value in the exponential average.",
        ge=0,
        lt=1,
    )
    warm_up: bool = _field(
        default=False,
        section="Running statistics",
        description="Start the exponential average with decay min(decay, (1 + n) / (10 + n)).",
    )
    running_variance: Literal["population", "bessel"] = _field(
        "population",
        "Running statistics",
        "The variance that is tracked: divided by m (the article) or by m - 1 (PyTorch).",
    )

    epochs: int = _field(100, "Training", "Passes over the training set.", ge=1)
    batch_size: int = _field(120, "Training", "Rows in a mini-batch.", ge=2)
    learning_rate: float = _field(
        0.02, "Training", "Adam's step, at the start.", gt=0, allow_inf_nan=False
    )
    clipping: float = _field(
        0.01,
        "Training",
        "With norm = clipped: how long a unit's gradient may be, for weights of length 1.",
        gt=0,
        allow_inf_nan=False,
    )
    constant_epochs: int = _field(
        15,
        "Training",
        "Epochs before the rate starts to fall linearly, to 0 after the last.",
        ge=1,
    )

    seed: int = _field(
        0, "Run", "Decides the first weights and the order of the data.", ge=0, lt=2**63
    )
    device: Literal["auto", "cpu", "cuda"] = _field(
        "auto", "Run", "auto: the GPU where there is one."
    )
    threads: int = _field(
        1,
        "Run",
        "CPU threads of this training. With more than one, a busy neighbour makes every step wait; "
        "two cores do two runs of one thread each sooner than two runs of two. The same seed and "
        "number of threads give the same bits.",
        ge=1,
        le=256,
    )

    if not TYPE_CHECKING:  # type checkers know the fields better from the class itself

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                problems = "; ".join(_sentence(problem, type(self)) for problem in error.errors())
                msg = f"{_UNNAMED}: {problems}."
                raise RecipeError(msg) from None

    @model_validator(mode="after")
    def _warm_up_has_something_to_warm(self) -> Self:
        if self.warm_up and self.average == "cumulative":
            msg = "warm_up is for average = exponential; the cumulative average needs none"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _ghosts_are_parts_of_a_batch(self) -> Self:
        if self.ghost_size and self.norm in _WHOLE_BATCHES_ONLY:
            msg = f"ghost_size is for norm = batch or last; norm = {self.norm} takes whole batches"
            raise ValueError(msg)
        if self.ghost_size == 1 or self.ghost_size > self.batch_size:
            msg = (
                f"ghost_size is {self.ghost_size}; it has to be 0, or from 2 to batch_size "
                f"({self.batch_size})"
            )
            raise ValueError(msg)
        return self

    @field_validator("model")
    @classmethod
    def _a_model_is_named_by_its_function(cls, model: str | None) -> str | None:
        if model is not None and not names_a_function(model):
            msg = "name the function that builds it, as in package.module:function"
            raise ValueError(msg)
        return model

    @field_validator("model_options", mode="before")
    @classmethod
    def _options_can_be_written_down(cls, options: Any) -> Any:
        for name, value in options.items() if isinstance(options, dict) else ():
            plain = isinstance(value, str | int | float)
            if not plain or (isinstance(value, float) and not math.isfinite(value)):
                msg = f"{name} has to be text, a finite number, true or false"
                raise ValueError(msg)
        return options

    @model_validator(mode="after")
    def _what_shapes_a_network_is_its_own(self) -> Self:
        if self.model is None:
            if self.model_options:
                msg = (
                    f"model_options ({', '.join(self.model_options)}) are for a model of your own, "
                    "and there is no model"
                )
                raise ValueError(msg)
            return self
        fields = type(self).model_fields
        idle = [n for n in _BUILT_IN_ONLY if getattr(self, n) != fields[n].default]
        if idle:
            msg = (
                f"{' and '.join(idle)} shape the built-in network, but the model is {self.model}; "
                "what your function takes goes into model_options"
            )
            raise ValueError(msg)
        return self

    def __hash__(self) -> int:
        """Of the values of all fields, the options in any order."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return hash(tuple(frozenset(v.items()) if isinstance(v, dict) else v for v in values))

    @property
    def idle_fields(self) -> tuple[str, ...]:
        """The fields that decide nothing: those of the kind of network that this is not.

        Example:
            >>> Recipe().idle_fields, "hidden" in Recipe(model="mine:build").idle_fields
            (('model', 'model_options'), True)
        """
        return ("model", "model_options") if self.model is None else _BUILT_IN_ONLY

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The same recipe with some settings changed, such as those of an arm of a study.

        Args:
            settings: fields and their values. Where the recipe has a model of its own, names that
                are no fields, or fields of the built-in network, are among the `model_options`.

        Raises:
            RecipeError: naming every setting that is wrong, and what was seen.

        Example:
            >>> Recipe().with_settings({"norm": "none", "seed": 3}).norm
            'none'
            >>> mine = Recipe(model="mine:build", model_options={"depth": 3})
            >>> mine.with_settings({"width": 64}).model_options
            {'depth': 3, 'width': 64}
        """
        fields = self.model_dump()
        own: dict[str, Any] = {}
        for name, value in settings.items():
            is_own = name not in fields or name in _BUILT_IN_ONLY
            (own if is_own and settings.get("model", self.model) else fields)[name] = value
        if own:
            fields["model_options"] = {**fields["model_options"], **own}
        return self.parse(fields, where="the settings")

    @classmethod
    def parse(cls, fields: dict[str, Any], *, where: str) -> Self:
        """Validate `fields`, which came from `where` (a file's name, or "the options").

        Raises:
            RecipeError: naming `where`, the field, what was seen, and what is allowed.
        """
        try:
            return cls(**fields)
        except RecipeError as error:
            msg = str(error).replace(_UNNAMED, where, 1)
            raise RecipeError(msg) from None

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a recipe file; fields that it leaves out keep their defaults.

        Raises:
            RecipeError: if the file is missing, is not TOML, or a field is wrong.
        """
        try:
            fields = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            msg = (
                f"{path}: there is no such recipe. Write one with "
                f"`normscope train --write-recipe {path}`."
            )
            raise RecipeError(msg) from None
        except OSError as error:
            msg = f"{path}: the recipe cannot be read ({error.strerror})."
            raise RecipeError(msg) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"{path}: this is not TOML ({error}). A recipe has lines such as `epochs = 20`."
            raise RecipeError(msg) from None
        return cls.parse(fields, where=str(path))

    @classmethod
    def section_of(cls, name: str) -> str:
        """The heading that a field stands under."""
        extra = cls.model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        return str(extra["section"])

    def to_toml(self) -> str:
        """The recipe as a file for a person: headings, every field, a comment each."""
        document = tomlkit.document()
        document.add(
            tomlkit.comment("A Normscope recipe. Run it: normscope train --recipe THIS_FILE")
        )
        heading = None
        for name, field in type(self).model_fields.items():
            if (section := self.section_of(name)) != heading:
                document.add(tomlkit.nl())
                document.add(tomlkit.comment(f"--- {section} ---"))
                heading = section
            value = getattr(self, name)
            document.add(tomlkit.comment(field.description or ""))
            if value is None:  # which TOML cannot say
                document.add(tomlkit.comment(f'{name} = "…"'))
            else:
                document.add(name, _toml(value))
        return tomlkit.dumps(document)


def _toml(value: Any) -> Any:
    """A field's value, as TOML writes it on one line."""
    if not isinstance(value, dict):
        return tomlkit.item(list(value) if isinstance(value, tuple) else value)
    table = tomlkit.inline_table()
    table.update(value)
    return table


_ALSO_CALLED = {"lr": ["learning_rate"], "batch": ["batch_size"], "layers": ["hidden"]}


def _sentence(problem: Any, recipe: type[Recipe]) -> str:
    """One of pydantic's problems, as a clause that names the field and what was seen."""
    first, *rest = problem["loc"] or ("",)
    name = f"{first}{''.join(f'[{part}]' for part in rest)}"
    if problem["type"] == "extra_forbidden":
        near = _ALSO_CALLED.get(name) or difflib.get_close_matches(name, recipe.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(recipe.model_fields)}"
        return f"there is no field {name} ({hint})"
    if not name:  # what is wrong with the recipe as a whole
        return str(problem["msg"]).removeprefix("Value error, ")
    return told(name, problem)
