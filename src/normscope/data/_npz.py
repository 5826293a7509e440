"""NumPy's .npz: the article's six keys, or Keras's."""

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from normscope._errors import DataError
from normscope.data._contents import Array, Contents, Table
from normscope.data._keyed import KERAS, Keys, article_keys, letters_if_notmnist, unused_note
from normscope.data._limits import allowance
from normscope.data._stream import unreadable
from normscope.data._text import brief, shown

# What zipfile and NumPy's header reader raise on damaged bytes.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    OverflowError,
)
_AGAIN = "write it again with numpy.savez_compressed"


def read_npz(path: Path) -> Contents:
    """Read the arrays of an archive, and nothing that is not an array of numbers.

    Raises:
        DataError: if it is damaged, misses a key, or holds objects.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _read_archive(archive, path)
    except _DAMAGE as error:
        reason = brief(error) or type(error).__name__
        msg = f"{shown(path)}: this archive is damaged ({reason}); {_AGAIN}."
        raise DataError(msg) from None
    except OSError as error:
        raise DataError(unreadable(path, error)) from None


def _read_archive(archive: zipfile.ZipFile, path: Path) -> Contents:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(members) < len(archive.infolist()):
        msg = f"{shown(path)} holds two arrays of one name; {_AGAIN}."
        raise DataError(msg)
    keys = _keys(members, path)
    needed = [members[key] for pair in keys.values() for key in pair]
    unpacked = sum(info.file_size for info in needed)
    if unpacked > (limit := allowance(path.stat().st_size)):
        msg = (
            f"{shown(path)} would unpack to {unpacked:,} bytes, more than the {limit:,} that we "
            "allow an archive of its size; save it without compression, with numpy.savez."
        )
        raise DataError(msg)
    at = shown(path)
    tables = {}
    for role, (images, labels) in keys.items():
        images_at, labels_at = f"{at}: {images}", f"{at}: {labels}"
        tables[role] = Table(
            _read_member(archive, members[images], images_at),
            _read_member(archive, members[labels], labels_at),
            images_at,
            labels_at,
        )
    classes = (
        None
        if "x_train" in members
        else letters_if_notmnist(path, len(np.unique(tables["train"].labels)))
    )
    return Contents(path, tables, classes, unused_note(members, keys))


def _keys(members: dict[str, zipfile.ZipInfo], path: Path) -> Keys:
    if "x_train" not in members:
        return article_keys(members, path)
    keys = {role: pair for role, pair in KERAS.items() if role != "valid" or "x_valid" in members}
    for pair in keys.values():
        for key in pair:
            if key not in members:
                msg = (
                    f"{shown(path)} has x_train but no {key}; Keras's keys are x_train, y_train, "
                    "x_test, y_test, and, where there is a validation split, x_valid, y_valid."
                )
                raise DataError(msg)
    return keys


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, at: str) -> Array:
    # Other methods unpack without a bound on the way, and NumPy writes none of them.
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        msg = f"{at} is compressed in a way that NumPy does not write; {_AGAIN}."
        raise DataError(msg)
    with archive.open(info) as file, warnings.catch_warnings():
        # NumPy and Python warn of odd headers; an odd header either reads or is an error here.
        warnings.simplefilter("ignore")
        shape, fortran, dtype = _header(file, at)
        size = math.prod(shape) * dtype.itemsize
        if size != info.file_size - file.tell():
            msg = (
                f"{at} announces shape {list(shape)} of {dtype}, {size:,} bytes, but the archive "
                f"holds {info.file_size - file.tell():,} for it; {_AGAIN}."
            )
            raise DataError(msg)
        data = file.read(size)
        # Looking past the end makes zipfile compare the checksum.
        if len(data) != size or file.read(1):
            msg = f"{info.filename} is cut short"
            raise EOFError(msg)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes], at: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    else:
        msg = f"{at} is in NumPy's format {version}, which is for records; {_AGAIN}."
        raise DataError(msg)
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype.shape:
        msg = f"{at} holds {brief(dtype)}, not plain numbers; store uint8 or float32."
        raise DataError(msg)
    if any(length < 0 for length in shape):
        msg = f"{at} announces the shape {brief(shape)}; {_AGAIN}."
        raise DataError(msg)
    return shape, fortran, dtype
