"""The article's pickle: one dict of six arrays, plain or gzipped."""

from pathlib import Path

import numpy as np

from normscope._errors import DataError
from normscope.data._contents import Array, Contents, Table
from normscope.data._keyed import article_keys, letters_if_notmnist, unused_note
from normscope.data._stream import opened
from normscope.data._text import brief, shown
from normscope.data._unpickle import DAMAGE, RefusedError, Stored, unpickle


def read_pickle(path: Path) -> Contents:
    """Read the article's pickle, running nothing that is in it.

    If it is damaged, asks for anything but arrays, or misses a key, that is a `DataError`.
    """
    found = _named(_content(path), path)
    keys = article_keys(found, path)
    at = shown(path)
    tables = {
        role: Table(
            _array(found[images], f"{at}: {images}"),
            _array(found[labels], f"{at}: {labels}"),
            f"{at}: {images}",
            f"{at}: {labels}",
        )
        for role, (images, labels) in keys.items()
    }
    classes = letters_if_notmnist(path, len(np.unique(tables["train"].labels)))
    return Contents(path, tables, classes, unused_note(found, keys))


def _content(path: Path) -> object:
    with opened(path) as stream:
        try:
            return unpickle(stream)
        except RefusedError as error:
            msg = (
                f"{shown(path)}: this pickle {error}, which no stored array needs, so it was not "
                "read further, and nothing in it was run; save the arrays again with numpy.savez."
            )
            raise DataError(msg) from None
        except DAMAGE as error:
            reason = brief(error) or type(error).__name__
            msg = (
                f"{shown(path)}: this pickle is damaged or cut short ({reason}); fetch it or write "
                "it again."
            )
            raise DataError(msg) from None


def _named(content: object, path: Path) -> dict[str, object]:
    """Give the dict with text for keys; Python 2's are bytes.

    Raises:
        DataError: if it is no dict, or holds a key twice.
    """
    if not isinstance(content, dict):
        msg = f"{shown(path)} holds {_kind(content)}; a data set is one dict of six arrays."
        raise DataError(msg)
    found = {
        key.decode("latin1") if isinstance(key, bytes) else str(key): content[key]
        for key in content
    }
    if len(found) < len(content):
        msg = f"{shown(path)} holds a key twice, as text and as bytes; keep one of the two."
        raise DataError(msg)
    return found


def _array(value: object, at: str) -> Array:
    if isinstance(value, Stored) and value.array is not None:
        return value.array
    if isinstance(value, list | tuple) and all(type(item) in {int, float} for item in value):
        try:
            return np.array(value, dtype=np.float64)
        except OverflowError:
            msg = f"{at} holds a number too large for a label."
            raise DataError(msg) from None
    msg = f"{at} is {_kind(value)}, not an array with content; store it as a NumPy array."
    raise DataError(msg)


def _kind(value: object) -> str:
    return "an array" if isinstance(value, Stored) else f"a {type(value).__name__}"
