"""Data that a user's own function brings: arrays or tensors, in any shape."""

from pathlib import Path
from typing import Any

import numpy as np

from normscope._errors import DataError
from normscope._factories import called, imported, told
from normscope.data._contents import ROLES, Array, Contents, Table
from normscope.data._dataset import Dataset
from normscope.data._text import brief

_WANTED = (
    "return a normscope Dataset, or pairs of inputs and labels: (train, valid, test) or "
    "(train, test)"
)


def read_function(source: str) -> tuple[Contents, str]:
    """Call the function ``package.module:function``; its data, and what to call them.

    Nothing is given to it. Tensors are taken off their graph and their device.

    Raises:
        DataError: if it cannot be imported, raises, or returns something else; one sentence.
    """
    function = imported(source, error=DataError)
    data = called(function, {}, name=source, error=DataError)
    name = source.replace(":", ".")
    if isinstance(data, Dataset):
        splits: list[Any] = [(s.images, s.labels) for s in (data.train, data.valid, data.test)]
        tables = _tables(splits, source)
        contents = Contents(Path(source), tables, data.classes, list(data.notes), pictures=False)
        return contents, data.name
    if not isinstance(data, tuple | list) or len(data) not in {2, 3}:
        raise DataError(_refusal(source, _described(data)))
    return Contents(Path(source), _tables(data, source), pictures=False), name


def _tables(pairs: "tuple[Any, ...] | list[Any]", source: str) -> dict[str, Table]:
    """Two or three pairs, by their role."""
    roles = ROLES if len(pairs) == len(ROLES) else ("train", "test")
    return {
        role: _table(pair, f"{source}: {role}") for role, pair in zip(roles, pairs, strict=True)
    }


def _table(pair: Any, at: str) -> Table:
    """The inputs and labels of a split; `at` says where in a sentence they are."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(_refusal(at, _described(pair)))
    inputs_at, labels_at = f"{at} inputs", f"{at} labels"
    return Table(_array(pair[0], inputs_at), _array(pair[1], labels_at), inputs_at, labels_at)


def _array(values: Any, at: str) -> Array:
    """Numbers as a NumPy array: from an array, nested lists or a tensor.

    A tensor is recognized by its methods, since this room knows no torch.

    Raises:
        DataError: if they are no numbers of at most 64 bits.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as problem:  # ragged lists, bfloat16
        msg = f"{at} cannot become an array: {told(problem)}."
        raise DataError(msg) from problem
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        msg = f"{at} holds {array.dtype}, not numbers of at most 64 bits; {_WANTED}."
        raise DataError(msg)
    return array


def _refusal(at: str, seen: str) -> str:
    return f"{at} is {seen}; {_WANTED}."


def _described(value: object) -> str:
    """What somebody's function returned, in a few words."""
    kind = type(value).__name__
    if isinstance(value, tuple | list):
        return f"a {kind} of {len(value)}"
    return f"of type {brief(kind)}"
