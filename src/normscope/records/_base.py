"""The base of every record: frozen, strict, and closed to unknown fields."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen result. Strict types, no unknown fields, every field described.

    Non-finite numbers are kept (a run that diverged has them) and are written to JSON as the
    strings ``"NaN"`` and ``"Infinity"``, which pydantic reads back.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        ser_json_inf_nan="strings",
        use_attribute_docstrings=True,
    )
