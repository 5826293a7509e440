"""The disk's refusals: what they say, and what they tell a person to do."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from normscope._errors import StorageError
from normscope.records import storage_errors, write_atomically


def no_folder(here: Path) -> Path:
    return here / "missing" / "a.toml"


def through_a_file(here: Path) -> Path:
    (here / "file").write_bytes(b"")
    return here / "file" / "a.toml"


def over_a_folder(here: Path) -> Path:
    (here / "folder").mkdir()
    return here / "folder"


def too_long(here: Path) -> Path:
    return here / ("x" * 300)


@pytest.mark.parametrize(
    ("path_in", "advice"),
    [
        (no_folder, "Choose a folder that is there, or make it first"),
        (through_a_file, "a part of this path is a file"),
        (over_a_folder, "Choose another name"),
        (too_long, "Choose a shorter name"),
    ],
)
def test_every_refusal_says_what_to_do(
    tmp_path: Path, path_in: Callable[[Path], Path], advice: str
) -> None:
    path = path_in(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match=advice) as caught, storage_errors(path):
        write_atomically(path, b"content")
    assert str(caught.value).startswith(f"{path} could not be written: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EROFS, "a folder that can be written"),
        (errno.EACCES, "that you may write to"),
        (errno.EIO, "The disk may be failing"),
        (errno.EMFILE, "Choose another place"),
    ],
)
def test_what_the_system_says_is_there_too(tmp_path: Path, number: int, advice: str) -> None:
    with pytest.raises(StorageError, match=advice), storage_errors(tmp_path):
        raise OSError(number, "as the system says it")


def test_what_is_not_the_disks_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), storage_errors(tmp_path):
        raise ValueError("mine")
    with storage_errors(tmp_path):
        write_atomically(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
