"""Unusable labels and pixels: the sentence names the file, the key, the row and the value."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normscope.data import load
from tests.data.build import six, write_npz
from tests.data.claims import assert_sound, refusal


def changed(key: str, index: Any, value: Any, dtype: Any = None) -> dict[str, np.ndarray]:
    arrays = six()
    if dtype is not None:
        arrays[key] = arrays[key].astype(dtype)
    arrays[key][index] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (changed("train_labels", 17, 106), "train_labels row 17 is 106"),
        (changed("train_labels", 17, 4), "no training row is of class 3 (present are 0, 1, 2, 4)"),
        (changed("train_labels", 5, -1), "train_labels row 5 is -1"),
        (changed("train_labels", 5, 1.5, float), "train_labels row 5 is 1.5"),
        (changed("train_labels", 5, np.nan, float), "train_labels row 5 is nan"),
        (changed("train_labels", 5, np.inf, float), "train_labels row 5 is inf"),
        (changed("train_labels", 5, 1e300, float), "train_labels row 5 is 1e+300"),
        (changed("train_labels", 5, 2**63 + 1, np.uint64), "row 5 is 9223372036854775809"),
        (changed("train_labels", slice(None), 1), "holds 1 in every row"),
        (changed("train_labels", 5, 1.5, np.float16), "train_labels row 5 is 1.5"),
        (changed("train_labels", 5, np.inf, np.float16), "train_labels row 5 is inf"),
        (changed("train_dataset", (7, 2, 1), np.inf, np.float16), "row 7 has the pixel inf"),
        (changed("valid_labels", 3, 3), "valid_labels row 3 is 3, a class without training rows"),
        (changed("test_labels", 8, 106), "test_labels row 8 is 106"),
        (
            changed("train_dataset", (7, 2, 1), np.nan),
            "train_dataset row 7 has the pixel nan at line 2, column 1",
        ),
        (changed("valid_dataset", (3, 0, 0), np.inf), "valid_dataset row 3 has the pixel inf"),
        (changed("test_dataset", (0, 3, 3), -np.inf), "test_dataset row 0 has the pixel -inf"),
        (changed("test_dataset", (1, 0, 0), 1e39, float), "test_dataset row 1 has the pixel 1e+39"),
        (changed("train_dataset", (1, 0, 0), 256, np.int64), "row 1 has the pixel 256"),
        (changed("train_dataset", (1, 0, 3), -1, np.int64), "row 1 has the pixel -1"),
        (six() | {"test_labels": np.arange(8) % 3}, "test_dataset has 9 rows, but"),
        (six() | {"test_dataset": np.zeros((9, 5, 4))}, "test_dataset has images of 5x4"),
        (six() | {"test_dataset": np.zeros((9, 4, 4, 3))}, "must be grey"),
        (six() | {"test_dataset": np.zeros((9, 15))}, "shape [9, 15]"),
        (six() | {"test_dataset": np.zeros(9)}, "shape [9]"),
        (six() | {"test_dataset": np.zeros(())}, "shape []"),
        (six() | {"test_dataset": np.zeros((0, 4, 4))}, "no pixel at all"),
        (six() | {"test_dataset": np.zeros((9, 0, 4))}, "no pixel at all"),
        (six() | {"test_labels": np.zeros((9, 3, 1))}, "shape [9, 3, 1]"),
        (six() | {"test_labels": np.zeros(())}, "shape []"),
        (six() | {"test_labels": np.ones((9, 3))}, "test_labels row 0 is [1.0, 1.0, 1.0]"),
        (six() | {"train_labels": np.eye(4)[np.arange(30) % 3]}, "4 one-hot columns"),
        (six() | {"train_labels": np.full(30, "A")}, "not plain numbers"),
        (six() | {"train_dataset": np.zeros((30, 4, 4), complex)}, "not plain numbers"),
        (six() | {"train_dataset": np.zeros((30, 4, 4), np.longdouble)}, "not plain numbers"),
    ],
)
def test_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    refusal(write_npz(tmp_path / "set.npz", arrays), words)


@pytest.mark.parametrize("count", [2, 10, 26, 47, 100])
def test_any_number_of_classes(tmp_path: Path, count: int) -> None:
    arrays = six(rows=2 * count)
    arrays["train_labels"] = np.arange(2 * count) % count
    arrays["valid_labels"] %= 2
    arrays["test_labels"] %= 2
    data = load(write_npz(tmp_path / "set.npz", arrays))
    assert_sound(data)
    assert data.classes == tuple(str(number) for number in range(count))


def test_a_constant_image_is_an_image(tmp_path: Path) -> None:
    arrays = {
        key: np.zeros_like(array) if key.endswith("dataset") else array
        for key, array in six().items()
    }
    assert_sound(load(write_npz(tmp_path / "set.npz", arrays)))


def test_floats_on_another_scale_are_left_alone_and_said(tmp_path: Path) -> None:
    arrays = six(dtype=np.uint8)
    arrays = {
        key: array.astype(np.float64) if key.endswith("dataset") else array
        for key, array in arrays.items()
    }
    data = load(write_npz(tmp_path / "set.npz", arrays))
    np.testing.assert_array_equal(data.train.images, arrays["train_dataset"])
    assert "were left on that scale" in data.notes[0]


def test_a_class_that_is_only_in_train_is_said(tmp_path: Path) -> None:
    arrays = six()
    arrays["test_labels"] = np.zeros(9, int)
    data = load(write_npz(tmp_path / "set.npz", arrays))
    assert data.notes == ("The test split has no row of class 1, 2.",)


@pytest.mark.parametrize("dtype", ["b1", "i1", "u1", ">i2", "u4", "i8", "u8", "f2", ">f4", "f8"])
@pytest.mark.parametrize("one_hot", [False, True], ids=["numbers", "one-hot"])
def test_labels_of_any_type(tmp_path: Path, dtype: str, one_hot: bool) -> None:
    arrays = six()
    for key in ("train_labels", "valid_labels", "test_labels"):
        numbers = arrays[key] % 2
        arrays[key] = (np.eye(2)[numbers] if one_hot else numbers).astype(dtype)
    data = load(write_npz(tmp_path / "set.npz", arrays))
    assert_sound(data)
    np.testing.assert_array_equal(data.test.labels, six()["test_labels"] % 2)
