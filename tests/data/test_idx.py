"""MNIST's four files, against their definition and against the real ones."""

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from normscope.data import load
from tests.data.build import idx, six, write_idx
from tests.data.claims import assert_sound, refusal


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(("prefix", "sep"), [("", "-"), ("", "."), ("emnist-letters-", "-")])
def test_values(tmp_path: Path, packed: bool, prefix: str, sep: str) -> None:
    arrays = six(dtype=np.uint8)
    data = load(write_idx(tmp_path / "set", packed=packed, prefix=prefix, sep=sep))
    assert_sound(data)
    assert (data.name, data.source) == ("set", str(tmp_path / "set"))
    expected = (arrays["test_dataset"] / 255 - 0.5).astype(np.float32)
    np.testing.assert_allclose(data.test.images, expected, atol=1e-7)
    np.testing.assert_array_equal(data.test.labels, arrays["test_labels"])
    # 30 rows, 10 of each class: one of each is held out, and none is lost.
    assert (len(data.train), len(data.valid)) == (27, 3)
    assert data.valid.labels.tolist().count(0) == 1
    both = np.concatenate([data.train.images, data.valid.images])
    whole = (arrays["train_dataset"] / 255 - 0.5).astype(np.float32)
    key = lambda images: sorted(image.round(4).tobytes() for image in images + 0.0)  # noqa: E731
    assert key(both) == key(whole)
    assert "no valid split: 3 rows" in data.notes[0]


def test_labels_from_one_are_named_as_they_stand(tmp_path: Path) -> None:
    """EMNIST's letters count from 1."""
    folder = write_idx(tmp_path / "set")
    for name, count in (("train", 30), ("t10k", 9)):
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 3 + 1))
    data = load(folder)
    assert_sound(data)
    assert data.classes == ("1", "2", "3")
    assert data.test.labels.tolist() == [0, 1, 2] * 3


def test_other_files_are_said_to_be_unread(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "set")
    (folder / "LICENSE").write_text("free")
    assert load(folder).notes[0] == "Not used: LICENSE."


def test_a_missing_file(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "set")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    refusal(folder, "no IDX file of test labels", "train-images-idx3-ubyte")


def test_a_file_and_the_gz_that_it_was_unpacked_from(tmp_path: Path) -> None:
    """torchvision's MNIST/raw keeps both: the plain files are read, and the rest is said."""
    plain = load(write_idx(tmp_path / "set"))
    both = load(write_idx(tmp_path / "set", packed=True))
    np.testing.assert_array_equal(plain.train.images, both.train.images)
    assert "train-images-idx3-ubyte.gz" in both.notes[0]


@pytest.mark.parametrize("other", ["y-train-images-idx3-ubyte.gz", "x-train-images.idx3-ubyte"])
def test_two_files_of_one_role(tmp_path: Path, other: str) -> None:
    folder = write_idx(tmp_path / "set")
    (folder / other).write_bytes(b"")
    refusal(folder, "two files of train images", other)


IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (IMAGES, b"", "damaged or cut short"),
        (IMAGES, b"\x00\x00\x08", "damaged or cut short"),
        (IMAGES, idx(np.zeros(30)), "starts with 00 00 08 01, but an IDX file of images"),
        (LABELS, idx(np.zeros((30, 4, 4))), "starts with 00 00 08 03, but an IDX file of labels"),
        (IMAGES, b"\x00\x00\x0d\x03" + bytes(12), "starts with 00 00 0d 03"),
        (IMAGES, b"\x89PNG\r\n\x1a\n", "starts with 89 50 4e 47"),
        (IMAGES, idx(np.zeros((30, 4, 4)))[:-1], "480 bytes are announced"),
        (IMAGES, idx(np.zeros((30, 4, 4))) + b"\x00", "goes on after its [30, 4, 4]"),
        (IMAGES, struct.pack(">BBBBIII", 0, 0, 8, 3, *[2**32 - 1] * 3), "are announced"),
        (IMAGES, idx(np.zeros((29, 4, 4))), "29 rows"),
        (IMAGES, idx(np.zeros((30, 4, 0))), "no pixel at all"),
        (IMAGES, idx(np.zeros((30, 5, 4))), "5x4"),
        (LABELS, idx(np.zeros(0)), "0"),
        (LABELS, idx(np.zeros(30)), "at least 2"),
        (LABELS, idx(np.r_[np.arange(29) % 3, 106]), "row 29 is 106"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_damage(tmp_path: Path, name: str, data: bytes, words: str, packed: bool) -> None:
    folder = write_idx(tmp_path / "set")
    (folder / name).write_bytes(gzip.compress(data) if packed else data)
    if packed:
        words = words.replace("480 bytes are announced", "it ends after")
    refusal(folder, name, words)


@pytest.mark.parametrize("cut", [1, 4, 8, 30])
def test_gzip_cut_short(tmp_path: Path, cut: int) -> None:
    folder = write_idx(tmp_path / "set", packed=True)
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-cut])
    refusal(folder, path.name)


@pytest.mark.parametrize("place", [-1, -6, -12, 30])
def test_gzip_damaged(tmp_path: Path, place: int) -> None:
    folder = write_idx(tmp_path / "set", packed=True)
    path = folder / f"{IMAGES}.gz"
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(bytes(data))
    refusal(folder, path.name)


def test_a_gzip_bomb(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "set", packed=True)
    head = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**20, 32, 32)
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(gzip.compress(head) + gzip.compress(bytes(2**24)) * 64)
    tracemalloc.start()
    try:
        refusal(folder, path.name, "are announced")
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file may announce more than there is room for, and hold less."""
    folder = write_idx(tmp_path / "set", packed=True)
    head = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**31, 2**10, 2**10)
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(head))
    monkeypatch.setattr("normscope.data._stream.allowance", lambda size: 2**60)
    refusal(folder, IMAGES, "allocate")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "set")
    (folder / IMAGES).unlink()
    os.mkfifo(folder / IMAGES)
    refusal(folder, IMAGES, "not a file")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files(real_data: Path, name: str) -> None:
    folder = real_data / name
    data = load(folder)
    assert_sound(data)
    assert (len(data.train), len(data.valid), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.classes == tuple("0123456789")
    raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)
    np.testing.assert_allclose(data.test.images, pixels / 255 - 0.5, atol=1e-7)
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    np.testing.assert_array_equal(data.test.labels, np.frombuffer(labels, np.uint8, offset=8))
