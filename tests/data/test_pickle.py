"""The article's pickle: every protocol, both Pythons, and what people store in it."""

import gzip
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from normscope.data import load
from normscope.data._stream import Stream
from normscope.data._unpickle import Stored, unpickle
from tests.data.build import CLASSES, six, write_pickle
from tests.data.claims import assert_sound, refusal


def parse(data: bytes) -> Any:
    return unpickle(Stream(io.BytesIO(data), len(data)))


def python2_text(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def python2_array(array: np.ndarray, *, fortran: bool = False) -> bytes:
    """A Python 2 array in protocol 2, opcode by opcode as in a genuine file."""
    kind = array.dtype.str
    shape = b"(" + b"".join(b"K" + bytes([length]) for length in array.shape) + b"t"
    data = array.tobytes(order="F" if fortran else "C")
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\n"
        + python2_text(kind[1:])
        + b"K\x00K\x01\x87R(K\x03"
        + python2_text(kind[0])
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + (b"\x88" if fortran else b"\x89")
        + b"T"
        + struct.pack("<i", len(data))
        + data
        + b"tb"
    )


def python2_array_as_text(array: np.ndarray) -> bytes:
    """The same in protocol 0, where everything is text and bytes are escaped."""
    kind = array.dtype.str
    shape = b"(" + b"".join(f"I{length}\n".encode() for length in array.shape) + b"t"
    data = "".join(f"\\x{byte:02x}" for byte in array.tobytes()).encode()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\np4\n"
        b"tp5\nRp6\n(I1\n" + shape + b"cnumpy\ndtype\n"
        b"(S'" + kind[1:].encode() + b"'\nI0\nI1\ntR(I3\nS'" + kind[:1].encode() + b"'\n"
        b"NNNI-1\nI-1\nI0\ntbI00\nS'" + data + b"'\ntb"
    )


def python2_file(arrays: dict[str, np.ndarray]) -> bytes:
    items = b"".join(python2_text(key) + python2_array(array) for key, array in arrays.items())
    return b"\x80\x02}(" + items + b"u."


def python2_file_as_text(arrays: dict[str, np.ndarray]) -> bytes:
    items = b"".join(
        f"S'{key}'\n".encode() + python2_array_as_text(array) + b"s"
        for key, array in arrays.items()
    )
    return b"(dp0\n" + items + b"."


def assert_same(path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = load(path)
    assert_sound(data)
    for role in ("train", "valid", "test"):
        split = getattr(data, role)
        np.testing.assert_array_equal(split.images, arrays[f"{role}_dataset"].astype(np.float32))
        np.testing.assert_array_equal(split.labels, arrays[f"{role}_labels"])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_every_protocol_gives_the_arrays_that_went_in(
    tmp_path: Path, protocol: int, packed: bool
) -> None:
    arrays = six()
    data = pickle.dumps(arrays, protocol)
    # The name says the opposite of what is in it.
    path = tmp_path / ("set.pickle" if packed else "set.pickle.gz")
    path.write_bytes(gzip.compress(data) if packed else data)
    assert_same(path, arrays)


@pytest.mark.parametrize("write", [python2_file, python2_file_as_text])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_python_2_pickles_assembled_by_hand(tmp_path: Path, write: Any, order: str) -> None:
    arrays = six()
    stored = {key: array.astype(array.dtype.newbyteorder(order)) for key, array in arrays.items()}
    path = tmp_path / "set.pickle"
    path.write_bytes(write(stored))
    assert_same(path, arrays)


@pytest.mark.parametrize("protocol", range(6))
def test_fortran_order_is_undone(tmp_path: Path, protocol: int) -> None:
    arrays = six()
    stored = {key: np.asfortranarray(array) for key, array in arrays.items()}
    assert stored["train_dataset"].flags.f_contiguous
    assert_same(write_pickle(tmp_path / "set.pickle", stored, protocol), arrays)


def test_fortran_order_of_python_2_is_undone() -> None:
    array = np.arange(24, dtype="<f4").reshape(2, 3, 4)
    stored = parse(b"\x80\x02" + python2_array(array, fortran=True) + b".")
    np.testing.assert_array_equal(stored.array, array)


@given(
    array=arrays_of.arrays(
        dtype=st.sampled_from(["b1", "u1", "<i2", ">i4", "<i8", "<f2", ">f4", "<f8"]),
        shape=arrays_of.array_shapes(min_dims=0, max_dims=4, max_side=5),
    ),
    protocol=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_array_of_numbers_survives(array: np.ndarray, protocol: int) -> None:
    stored = parse(pickle.dumps({"a": array}, protocol))["a"]
    assert isinstance(stored, Stored)
    assert stored.array is not None
    assert stored.array.dtype == array.dtype
    np.testing.assert_array_equal(stored.array, array)


@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
    protocol=st.integers(3, 5),
)
@settings(max_examples=60, deadline=None)
def test_plain_containers_survive(content: Any, protocol: int) -> None:
    assert repr(parse(pickle.dumps(content, protocol))) == repr(content)


def test_keys_of_bytes(tmp_path: Path) -> None:
    arrays = six()
    for protocol in (2, 4):
        content = {key.encode(): array for key, array in arrays.items()}
        assert_same(write_pickle(tmp_path / f"set{protocol}.pickle", content, protocol), arrays)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_one_hot_labels(tmp_path: Path, dtype: Any) -> None:
    arrays = six()
    content = {
        key: np.eye(CLASSES, dtype=dtype)[array] if key.endswith("labels") else array
        for key, array in arrays.items()
    }
    assert_same(write_pickle(tmp_path / "set.pickle", content), arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels.astype(np.float64),
        lambda labels: labels.astype(np.uint8)[:, None],
        lambda labels: labels.tolist(),
        list,
    ],
    ids=["floats", "column", "list", "list of NumPy scalars"],
)
def test_other_ways_to_store_labels(tmp_path: Path, change: Any) -> None:
    arrays = six()
    content = {
        key: change(array) if key.endswith("labels") else array for key, array in arrays.items()
    }
    assert_same(write_pickle(tmp_path / "set.pickle", content), arrays)


@pytest.mark.parametrize("shape", [(-1, 16), (-1, 4, 4, 1)], ids=["flat", "channel"])
def test_other_shapes_of_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays = six()
    content = {
        key: array.reshape(shape) if key.endswith("dataset") else array
        for key, array in arrays.items()
    }
    assert_same(write_pickle(tmp_path / "set.pickle", content), arrays)


def test_letters_are_named_only_where_the_file_says_notmnist(tmp_path: Path) -> None:
    arrays = six(rows=30)
    arrays["train_labels"] = np.arange(30) % 10
    assert load(write_pickle(tmp_path / "my-NotMNIST.pickle", arrays)).classes == tuple(
        "ABCDEFGHIJ"
    )
    assert load(write_pickle(tmp_path / "mnist.pickle", arrays)).classes == tuple("0123456789")


def test_what_is_left_unread_is_said(tmp_path: Path) -> None:
    content = six() | {"save": "yes"}
    assert "Not used: save." in load(write_pickle(tmp_path / "set.pickle", content)).notes


def test_a_missing_key_is_named_beside_those_that_are_there(tmp_path: Path) -> None:
    content = six()
    del content["valid_labels"]
    refusal(write_pickle(tmp_path / "set.pickle", content), "no valid_labels", "train_dataset")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "a list"),
        ({}, "it holds nothing"),
        (six() | {"train_labels": None}, "train_labels is a NoneType"),
        (six() | {"train_labels": [2**2000] * 30}, "train_labels"),
        (six() | {b"train_labels": 3}, "a key twice"),
        (six() | {"train_dataset": np.array([None])}, "type O8"),
        (six() | {"train_dataset": np.array(["a"])}, "type U1"),
        (six() | {"train_dataset": np.zeros(3, [("a", "f4")])}, "type V4"),
        (six() | {"train_dataset": np.zeros(3, np.complex64)}, "type c8"),
        (six() | {"train_dataset": np.zeros((0, 4, 4))}, "train_dataset has shape [0, 4, 4]"),
    ],
)
def test_content_that_is_no_data_set(tmp_path: Path, content: object, words: str) -> None:
    refusal(write_pickle(tmp_path / "set.pickle", content), words)


def test_an_empty_array_of_the_old_protocols_is_called_empty(tmp_path: Path) -> None:
    content = six() | {"test_dataset": np.zeros((0, 4, 4), np.float32)}
    refusal(write_pickle(tmp_path / "set.pickle", content, 2), "test_dataset has shape [0, 4, 4]")


@pytest.mark.parametrize("keep", [0, 1, 2, 10, 100, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_truncated(tmp_path: Path, keep: float, packed: bool) -> None:
    data = pickle.dumps(six(), 4)
    if packed:
        data = gzip.compress(data)
    path = tmp_path / "set.pickle"
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    refusal(path)


def test_bytes_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "set.pickle"
    path.write_bytes(pickle.dumps(six()) + b"x")
    refusal(path, "bytes follow its end")


def test_the_genuine_python_2_file(real_data: Path) -> None:
    path = real_data / "notmnist" / "xeaphii-notMNIST-py2.pickle"
    data = load(path)
    assert_sound(data)
    assert (len(data.train), len(data.valid), len(data.test)) == (100, 100, 100)
    assert data.classes == tuple("ABCDEFGHIJ")
    # This file is known: pickle itself may run it.
    with path.open("rb") as file:
        known = pickle.load(file, encoding="latin1")
    for role in ("train", "valid", "test"):
        split = getattr(data, role)
        np.testing.assert_array_equal(split.images, known[f"{role}_dataset"])
        np.testing.assert_array_equal(split.labels, known[f"{role}_labels"])


def test_notmnist(real_data: Path) -> None:
    data = load(real_data / "notmnist" / "notMNIST.pickle.gz")
    assert_sound(data)
    assert (len(data.train), len(data.valid), len(data.test)) == (12_166, 1_538, 2_512)
    assert data.classes == tuple("ABCDEFGHIJ")
    assert data.notes == ()
    assert (data.train.images.min(), data.train.images.max()) == (-0.5, 0.5)
