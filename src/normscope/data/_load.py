"""The door: which reader a source needs."""

from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from normscope._errors import DataError
from normscope._factories import names_a_function
from normscope.data._assemble import assemble
from normscope.data._contents import Contents
from normscope.data._dataset import Dataset
from normscope.data._factory import read_function
from normscope.data._folder import read_folder
from normscope.data._idx import is_idx_name, read_idx
from normscope.data._letters import read_letters
from normscope.data._npz import read_npz
from normscope.data._pickle import read_pickle
from normscope.data._stream import opened, unreadable
from normscope.data._text import listed, shown

_BUILT_IN: dict[str, Callable[[], Contents]] = {"letters": read_letters}

BUILT_IN = tuple(_BUILT_IN)
"""The names of the sets that come with Normscope."""

_MOST_ENTRIES = 1000
"""How many names of a folder are compared with one that is not there."""

_FORMATS = (
    "the article's pickle (.pickle, .pkl, plain or .gz), an .npz with the same keys or Keras's, "
    "a folder of MNIST's four IDX files, or a folder with one folder of images per class"
)


def load(source: str | Path, *, valid_fraction: float = 0.1) -> Dataset:
    """Read a data set: a built-in one, a file or folder in a format people have, or a function's.

    Formats: the article's pickle, plain or gzipped, from Python 2 or 3, of which nothing is run;
    an ``.npz`` with the same six keys, or with Keras's; a folder of MNIST's four IDX files; a
    folder of images per class. Which one it is shows in the content, not in the name.

    Functions: ``package.module:function``, unless there is a file of that name. It is called
    without arguments and returns a `Dataset`, or pairs of inputs and labels, as arrays or tensors:
    (train, valid, test), or (train, test). Inputs are ``[rows, ...]`` and keep their shape.

    Pixels become float32: whole numbers ``x`` become ``x / 255 - 0.5``, floats stay as they are.

    Args:
        source: a name from `BUILT_IN`, a path, or a function. A folder called ``letters`` is
            ``"./letters"``.
        valid_fraction: where the source has no validation split, the fraction of each class that
            is held out from its training rows: the same rows every time. From a folder of images
            that is not split at all, the test split takes as much again.

    Raises:
        DataError: if the source cannot be used: one sentence on the file, the key and the row.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 2
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "tiny.npz"
        ...     np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
        ...     data = load(path)
        >>> data.name, data.classes, len(data.train), len(data.valid), len(data.test)
        ('tiny.npz', ('0', '1'), 18, 2, 20)
        >>> data.train.images.dtype, float(data.train.images[0, 0, 0])
        (dtype('float32'), -0.5)
    """
    if not 0 < valid_fraction < 0.5:
        msg = f"valid_fraction is {valid_fraction}; it must lie between 0 and 0.5."
        raise DataError(msg)
    _refuse_what_is_no_source(source)
    if isinstance(source, str) and source in _BUILT_IN:
        contents = _BUILT_IN[source]()
        return assemble(contents, name=source, source=source, valid_fraction=valid_fraction)
    if not str(source):
        msg = f"The data have an empty name; give {_FORMATS}, or a built-in name."
        raise DataError(msg)
    path = Path(source)
    if isinstance(source, str) and names_a_function(source) and not path.exists():
        contents, name = read_function(source)
        return assemble(contents, name=name, source=source, valid_fraction=valid_fraction)
    contents = _read(path)
    absolute = path.absolute()
    return assemble(
        contents, name=absolute.name, source=str(absolute), valid_fraction=valid_fraction
    )


def _refuse_what_is_no_source(source: object) -> None:
    if not isinstance(source, str | Path):
        msg = (
            f"The data are of type {type(source).__name__}; give a path, a built-in name or a "
            "function (package.module:function), or make a Dataset of your arrays."
        )
        raise DataError(msg)


def _read(path: Path) -> Contents:
    try:
        if path.is_dir():
            return _read_folder(path)
        exists, is_file = path.exists(), path.is_file()
    except OSError as error:
        raise DataError(unreadable(path, error)) from None
    if not exists:
        msg = f"{shown(path)} does not exist; {_nearest(path)}"
        raise DataError(msg)
    if not is_file:
        msg = f"{shown(path)} is neither a file nor a folder; give {_FORMATS}."
        raise DataError(msg)
    return _read_file(path)


def _nearest(path: Path) -> str:
    """What may have been meant by a path that leads nowhere."""
    known = list(BUILT_IN) if path.parent == Path() else []
    with suppress(OSError):
        known += [entry.name for entry in islice(path.parent.iterdir(), _MOST_ENTRIES)]
    in_any_case = {name.lower(): name for name in known}
    if near := get_close_matches(path.name.lower(), in_any_case, n=1):
        return f"did you mean {shown(path.parent / in_any_case[near[0]])}?"
    return f"give a file or a folder, or a built-in name: {listed(BUILT_IN)}."


def _read_folder(folder: Path) -> Contents:
    entries = sorted(folder.iterdir())
    names = [entry.name for entry in entries]
    if any(is_idx_name(name) for name in names):
        return read_idx(folder, names)
    if any(entry.is_dir() for entry in entries):
        return read_folder(folder)
    msg = f"{shown(folder)} is no data set (it holds {listed(names)}); give {_FORMATS}."
    raise DataError(msg)


def _read_file(path: Path) -> Contents:
    start = _start(path)
    if start.startswith(b"PK"):
        return read_npz(path)
    # Protocol 2 and later start with 0x80; what starts a dict in the older ones is "(" or "}".
    if start[:1] in {b"\x80", b"(", b"}", b"c"} or _is_pickle_name(path):
        return read_pickle(path)
    if start.startswith(b"\x00\x00\x08"):
        msg = f"{shown(path)} is one IDX file; give the folder that holds all four of them."
        raise DataError(msg)
    msg = f"{shown(path)} is in no format that we read; give {_FORMATS}."
    raise DataError(msg)


def _start(path: Path) -> bytes:
    with opened(path) as stream:
        try:
            return stream.read(3)
        except EOFError:
            return b""


def _is_pickle_name(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".pickle", ".pkl", ".p"))
