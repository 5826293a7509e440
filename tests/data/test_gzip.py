"""The two libraries that unpack gzip: either reads what the other does, and refuses what it does.

The other tests of this folder run with the one that is installed.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normscope._errors import DataError
from normscope.data import _gzip, _stream, load
from tests.data.build import write_idx, write_pickle
from tests.data.claims import assert_teaches
from tests.data.test_corruptions import BYTES


@pytest.fixture(params=["zlib", "isal"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[gzip.GzipFile]:
    """The readers use the one or the other."""
    kind: type[gzip.GzipFile] = gzip.GzipFile
    if request.param == "isal":
        kind = pytest.importorskip("isal.igzip").IGzipFile
    monkeypatch.setattr(_stream, "GzipFile", kind)
    return kind


def test_what_is_installed_is_used() -> None:
    isal = pytest.importorskip("isal.igzip")
    assert _gzip.GzipFile is isal.IGzipFile


def test_the_same_arrays(tmp_path: Path, library: type[gzip.GzipFile]) -> None:
    packed = load(write_idx(tmp_path / "packed", packed=True))
    plain = load(write_idx(tmp_path / "plain"))
    np.testing.assert_array_equal(packed.train.images, plain.train.images)
    np.testing.assert_array_equal(packed.test.labels, plain.test.labels)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("padding", [0, 7])
def test_members_and_padding(
    tmp_path: Path, library: type[gzip.GzipFile], members: int, padding: int
) -> None:
    """A gzip file is one member or several, and zeros may follow (RFC 1952; gzip's manual)."""
    data = np.random.default_rng(0).bytes(600_000)
    parts = [data[start::members] for start in range(members)]
    path = tmp_path / "file.gz"
    path.write_bytes(b"".join(map(gzip.compress, parts)) + bytes(padding))
    with _stream.opened(path) as stream:
        array = stream.read_array(len(data))
        assert not stream.has_more()
    assert array.tobytes() == b"".join(parts)
    assert array.flags.writeable


@pytest.mark.parametrize("corrupt", BYTES, ids=lambda corrupt: corrupt.__name__)
def test_the_same_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corrupt: Any) -> None:
    """Whatever is done to the bytes, both refuse it or both read the same."""
    isal = pytest.importorskip("isal.igzip")
    sound = gzip.compress(zlib.compress(bytes(2000)) + bytes(range(256)) * 20, mtime=0)
    path = tmp_path / "file.gz"
    for seed in range(60):
        path.write_bytes(corrupt(sound, np.random.default_rng(seed)))
        outcomes = []
        for kind in (gzip.GzipFile, isal.IGzipFile):
            monkeypatch.setattr(_stream, "GzipFile", kind)
            outcomes.append(unpacked(path))
        assert outcomes[0] == outcomes[1], seed
    assert "refused" in outcomes or corrupt.__name__ in {"pack_twice", "random_bytes", "empty"}


def test_a_sound_file_is_not_refused(tmp_path: Path, library: type[gzip.GzipFile]) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(bytes(2000)))
    assert unpacked(path) == bytes(2000)


def unpacked(path: Path) -> bytes | str:
    """Everything in a file; one word where it cannot be read to its end."""
    found = bytearray()
    try:
        with _stream.opened(path) as stream:
            while byte := stream._file.read(1):
                found += byte
    except (DataError, EOFError):
        return "refused"
    return bytes(found)


def test_a_pickle_that_ends_early(tmp_path: Path, library: type[gzip.GzipFile]) -> None:
    path = write_pickle(tmp_path / "set.pickle.gz", {"a": np.arange(1000)})
    path.write_bytes(gzip.compress(path.read_bytes())[:-30])
    with pytest.raises(DataError) as refusal:
        load(path)
    assert_teaches(refusal.value, path.name)
