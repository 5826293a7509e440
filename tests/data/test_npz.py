"""Archives of arrays: the article's keys, Keras's, and archives that lie."""

import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normscope.data import load
from tests.data.build import keras, npy, npz_members, six, write_npz, write_zip
from tests.data.claims import assert_sound, refusal


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_six_keys(tmp_path: Path, dtype: Any, save: Any) -> None:
    arrays = six(dtype=dtype)
    save(tmp_path / "set.npz", **arrays)
    data = load(tmp_path / "set.npz")
    assert_sound(data)
    assert data.notes == ()
    for role in ("train", "valid", "test"):
        expected = arrays[f"{role}_dataset"].astype(np.float64)
        if np.dtype(dtype).kind != "f":
            expected = expected / 255 - 0.5
        np.testing.assert_allclose(getattr(data, role).images, expected, atol=1e-7)
        np.testing.assert_array_equal(getattr(data, role).labels, arrays[f"{role}_labels"])


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    write_npz(tmp_path / "set.npz", six()).rename(tmp_path / "set.pickle")
    assert_sound(load(tmp_path / "set.pickle"))


def test_black_and_white_pixels_are_the_ends_of_the_scale(tmp_path: Path) -> None:
    arrays = six(dtype=bool)
    data = load(write_npz(tmp_path / "set.npz", arrays))
    np.testing.assert_array_equal(data.train.images, arrays["train_dataset"] - np.float32(0.5))


def test_keras_without_and_with_a_validation_split(tmp_path: Path) -> None:
    arrays = six(dtype=np.uint8)
    cut = load(write_npz(tmp_path / "cut.npz", keras(arrays)))
    assert_sound(cut)
    assert (len(cut.train), len(cut.valid), len(cut.test)) == (27, 3, 9)
    assert "no valid split" in cut.notes[0]
    whole = load(write_npz(tmp_path / "whole.npz", keras(arrays, valid=True)))
    assert (len(whole.train), len(whole.valid), len(whole.test)) == (30, 6, 9)
    assert whole.notes == ()


def test_fortran_order_is_undone(tmp_path: Path) -> None:
    arrays = six()
    stored = {key: np.asfortranarray(array) for key, array in arrays.items()}
    data = load(write_npz(tmp_path / "set.npz", stored))
    np.testing.assert_array_equal(data.train.images, arrays["train_dataset"])


def test_missing_keys(tmp_path: Path) -> None:
    arrays = six()
    del arrays["test_dataset"]
    refusal(write_npz(tmp_path / "set.npz", arrays), "no test_dataset", "train_labels")
    arrays = keras(six())
    del arrays["y_test"]
    refusal(write_npz(tmp_path / "keras.npz", arrays), "no y_test")


def test_what_is_left_unread_is_said(tmp_path: Path) -> None:
    assert load(write_npz(tmp_path / "set.npz", six() | {"extra": np.zeros(1)})).notes == (
        "Not used: extra.",
    )


def test_objects_are_refused_unread(tmp_path: Path) -> None:
    arrays: dict[str, Any] = six() | {"train_labels": np.array([print] * 30, dtype=object)}
    refusal(write_npz(tmp_path / "set.npz", arrays), "train_labels holds object")


PIXELS = bytes(30 * 16)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (b"", "damaged"),
        (b"\x93NUMPY", "damaged"),
        (b"not an npy file at all", "damaged"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (31, 4, 4), }", PIXELS), "496"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (30, 4, 3), }", PIXELS), "360"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (30, 4, 4), }", PIXELS), "3,840"),
        (
            npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**62}, 4, 4), }}", PIXELS),
            "announces shape",
        ),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-30, -4, 4), }", PIXELS), "-30"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': 30, }", PIXELS), "damaged"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (30, 4, 4), }", PIXELS), "object"),
        (npy("{'descr': '|S16', 'fortran_order': False, 'shape': (30,), }", PIXELS), "S16"),
        (npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (480,), }"), "plain"),
        (npy("{'descr': '|u1', 'shape': (30, 4, 4), }", PIXELS), "damaged"),
        (npy("__import__('os').mkdir('canary')", PIXELS), "damaged"),
        (npy("(" * 9000, PIXELS), "damaged"),
        (npy("-" * 9000 + "1", PIXELS), "damaged"),
        (npy("'\\d'", PIXELS), "damaged"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (30L, 4L, 4L), }", PIXELS), ""),
        (npy(b"x" * 60000, PIXELS), "damaged"),
        (npy("{}", PIXELS, b"\x03\x00"), "format (3, 0)"),
        (npy("{}", PIXELS, b"\x09\x00"), "format (9, 0)"),
        (npy(b"\xff" * 20, PIXELS), "damaged"),
    ],
)
def test_a_header_that_lies(tmp_path: Path, member: bytes, words: str) -> None:
    members = npz_members(six(dtype=np.uint8)) | {"train_dataset.npy": member}
    path = write_zip(tmp_path / "set.npz", members)
    if words:
        refusal(path, words)
    else:  # NumPy reads what Python 2 wrote, and so do we: without its warning
        assert_sound(load(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "set.npz", npz_members(six()), method)
    refusal(path, "compressed in a way that NumPy does not write")


def test_a_zip_bomb(tmp_path: Path) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**27 // 16}, 4, 4), }}"
    bomb = npy(header, bytes(2**27))
    members = npz_members(six(dtype=np.uint8)) | {"train_dataset.npy": bomb}
    path = write_zip(tmp_path / "set.npz", members)
    del bomb, members
    tracemalloc.start()
    try:
        refusal(path, "more than the 67,108,864 that we allow")
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_a_member_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (30, 4, 4), }"
    bomb = npy(header, bytes(2**27))
    members = npz_members(six(dtype=np.uint8)) | {"train_dataset.npy": bomb}
    path = write_zip(tmp_path / "set.npz", members)
    honest, lie = struct.pack("<I", len(bomb)), struct.pack("<I", len(npy(header, PIXELS)))
    path.write_bytes(path.read_bytes().replace(honest, lie))
    del bomb, members
    tracemalloc.start()
    try:
        refusal(path, "damaged")
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "set.npz", six())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_labels", b"")
    refusal(path, "two arrays of one name")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    refusal(write_zip(tmp_path / "set.zip", {"a.txt": b"text"}), "it holds a.txt")
    refusal(write_zip(tmp_path / "empty.zip", {}), "it holds nothing")
