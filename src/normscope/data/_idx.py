"""A folder of MNIST's four IDX files, plain or gzipped."""

import re
from pathlib import Path

from normscope._errors import DataError
from normscope.data._contents import Array, Contents, Table
from normscope.data._gzip import DAMAGE
from normscope.data._stream import Stream, opened
from normscope.data._text import listed, shown

# train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz, emnist-letters-test-images-idx3-ubyte …
_NAME = re.compile(
    r"(?:.*[-_. ])?(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte(?:\.gz)?",
    re.IGNORECASE,
)
_UNREADABLE: tuple[type[Exception], ...] = (EOFError, MemoryError, *DAMAGE)
_MAGIC = {"images": b"\x00\x00\x08\x03", "labels": b"\x00\x00\x08\x01"}


def is_idx_name(name: str) -> bool:
    """Whether a file's name says that it is one of the four.

    >>> is_idx_name("emnist-letters-train-images-idx3-ubyte.gz"), is_idx_name("a.png")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def read_idx(folder: Path, names: list[str]) -> Contents:
    """Read the four files of a folder that has at least one of them.

    Args:
        folder: where they are.
        names: every name in the folder.

    One that is missing, doubled, damaged, or of another length than it says is a `DataError`.
    """
    found = _roles(folder, names)
    tables = {}
    for role in ("train", "test"):
        images, labels = folder / found[role, "images"], folder / found[role, "labels"]
        tables[role] = Table(
            _read(images, "images"), _read(labels, "labels"), shown(images), shown(labels)
        )
    left = sorted(set(names) - set(found.values()))
    notes = [f"Not used: {listed(left)}."] if left else []
    return Contents(folder, tables, notes=notes)


def _roles(folder: Path, names: list[str]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        if match := _NAME.fullmatch(name):
            split, kind = match[1].lower(), match[2].lower()
            role = ("train" if split == "train" else "test", kind)
            if name == f"{found.get(role)}.gz":
                continue  # torchvision keeps what it unpacked beside what it fetched
            if role in found:
                msg = (
                    f"{shown(folder)} has two files of {role[0]} {kind}, {shown(found[role])} and "
                    f"{shown(name)}; keep one of them."
                )
                raise DataError(msg)
            found[role] = name
    roles = [(split, kind) for split in ("train", "test") for kind in ("images", "labels")]
    if missing := [" ".join(role) for role in roles if role not in found]:
        msg = (
            f"{shown(folder)} has no IDX file of {listed(missing)} (it has {listed(sorted(names))}"
            "); put all four there, with names such as train-images-idx3-ubyte.gz and "
            "t10k-labels-idx1-ubyte.gz."
        )
        raise DataError(msg)
    return found


def _read(path: Path, kind: str) -> Array:
    with opened(path) as stream:
        try:
            array = _read_array(stream, kind, path)
            more = stream.has_more()
        except _UNREADABLE as error:
            msg = f"{shown(path)} is damaged or cut short ({error}); fetch it again."
            raise DataError(msg) from None
    if more:
        msg = f"{shown(path)} goes on after its {list(array.shape)} values; fetch it again."
        raise DataError(msg)
    return array


def _read_array(stream: Stream, kind: str, path: Path) -> Array:
    magic = stream.read(4)
    if magic != _MAGIC[kind]:
        msg = (
            f"{shown(path)} starts with {magic.hex(' ')}, but an IDX file of {kind} with "
            f"{_MAGIC[kind].hex(' ')}; it is another kind of file."
        )
        raise DataError(msg)
    shape = [int.from_bytes(stream.read(4), "big") for _ in range(magic[3])]
    count = 1
    for length in shape:
        count *= length
    return stream.read_array(count).reshape(shape)
