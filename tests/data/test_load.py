"""The door: which reader a source needs, what is held out, and the fingerprint."""

import dataclasses
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normscope.data
from normscope._errors import DataError
from normscope.data import BUILT_IN, Dataset, Split, fingerprint, load
from normscope.data._assemble import assemble
from normscope.data._contents import Contents, Table
from tests.data.build import idx, keras, six, write_idx, write_images, write_npz, write_pickle
from tests.data.claims import assert_sound, assert_teaches, refusal


def test_the_built_in_letters() -> None:
    letters = Path(normscope.data.__file__).parent / "letters" / "letters.npz"
    if not letters.is_file():
        pytest.skip("letters.npz is not built yet")
    data = load("letters")
    assert_sound(data)
    assert (data.name, data.source) == ("letters", "letters")
    assert data.classes == tuple("ABCDEFGHIJ")
    assert data.train.images.shape[1:] == (28, 28)


def test_an_installation_without_letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("normscope.data._letters.files", lambda package: tmp_path)
    with pytest.raises(DataError, match="letters is missing from this installation"):
        load("letters")


def test_built_in_names() -> None:
    assert BUILT_IN == ("letters",)


def test_a_path_may_be_text_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_npz(tmp_path / "set.npz", six())
    monkeypatch.chdir(tmp_path)
    for source in ("set.npz", Path("set.npz"), str(path)):
        data = load(source)
        assert (data.name, data.source) == ("set.npz", str(path))


def test_the_source_loads_it_again(tmp_path: Path) -> None:
    for path in (
        write_pickle(tmp_path / "set.pickle", six()),
        write_idx(tmp_path / "idx"),
        write_images(tmp_path / "images"),
        write_npz(tmp_path / "keras.npz", keras(six())),
    ):
        data = load(path)
        assert fingerprint(load(data.source)) == fingerprint(data)


def test_nothing_there(tmp_path: Path) -> None:
    refusal(tmp_path / "letter", "does not exist", "or a built-in name: letters")
    refusal(tmp_path / ("x" * 300), "name too long")
    refusal(tmp_path / "a\0b".replace("\0", "") / "b", "does not exist")


def test_printed_it_is_a_line_however_much_it_holds(tmp_path: Path) -> None:
    data = load(write_npz(tmp_path / "set.npz", six()))
    assert re.fullmatch(
        rf"Dataset\('set.npz': {len(data.classes)} classes; "
        rf"{len(data.train)} \+ {len(data.valid)} \+ {len(data.test)} rows of \d+ x \d+\)",
        repr(data),
    )
    assert str(data.train).startswith(f"Split({len(data.train)} rows of ")


def test_a_name_that_is_nearly_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "notMNIST.npz", six())
    monkeypatch.chdir(tmp_path)
    for wrong, right in (
        ("leters", "letters"),
        ("notMNIS.npz", "notMNIST.npz"),
        (tmp_path / "notmnist.npz", tmp_path / "notMNIST.npz"),
    ):
        with pytest.raises(DataError) as caught:
            load(wrong)
        assert str(caught.value) == f"{wrong} does not exist; did you mean {right}?"
    refusal(tmp_path / "leters", "a built-in name")  # which has no folder


@pytest.mark.parametrize("source", [3, None, np.zeros((2, 28, 28)), (1, 2)])
def test_what_is_no_name_at_all(source: object) -> None:
    with pytest.raises(DataError, match="The data are of type .*give a path.*or make a Dataset"):
        load(source)


def test_a_name_with_a_line_break_stays_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path / "a\nb\x1b[31m")
    assert_teaches(caught.value, r"a\nb\x1b[31m")


def test_a_null_byte() -> None:
    with pytest.raises(DataError, match="does not exist"):
        load("a\0b")


def test_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refusal(tmp_path / "pipe", "neither a file nor a folder")


def test_a_folder_of_neither(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    refusal(tmp_path / "set", "it holds nothing", "folder of images per class")
    (tmp_path / "set" / "a.png").write_bytes(b"")
    refusal(tmp_path / "set", "it holds a.png")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "in no format that we read"),
        (b"%PDF-1.4 and so on", "in no format that we read"),
        (b"\x93NUMPY\x01\x00", "in no format that we read"),
        (idx(np.zeros((3, 4, 4))), "the folder that holds all four"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "set.bin"
    path.write_bytes(data)
    refusal(path, words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "set.npz", six())
    path.chmod(0)
    refusal(path, "Permission denied")


@pytest.mark.parametrize("name", ["set.npz", "set.pickle"])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    write_npz(path, six()) if name.endswith("npz") else write_pickle(path, six())

    def failing(self: Path, *arguments: object) -> None:
        raise OSError(5, "Input/output error", str(self))

    monkeypatch.setattr(Path, "open", failing)
    refusal(path, "cannot be read: Input/output error")


@pytest.mark.parametrize("fraction", [0, 0.5, -0.1, 1, float("nan")])
def test_a_fraction_that_is_none(tmp_path: Path, fraction: float) -> None:
    path = write_npz(tmp_path / "set.npz", keras(six()))
    with pytest.raises(DataError, match=f"valid_fraction is {fraction}"):
        load(path, valid_fraction=fraction)


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    fraction=st.floats(0.01, 0.3),
    both=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_held_out_rows_are_a_stratified_partition(
    counts: list[int], fraction: float, both: bool
) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = len(labels)
    # Each image is its own row number.
    images = np.arange(rows, dtype=np.float32)[:, None, None] / rows
    whole = Table(images, labels, "x: images", "x: labels")
    tables = {"train": whole} if both else {"train": whole, "test": whole}

    def cut() -> Dataset:
        contents = Contents(Path("x"), dict(tables))
        return assemble(contents, name="x", source="x", valid_fraction=fraction)

    data = cut()
    assert_sound(data)
    parts = [data.train, data.valid, *([data.test] if both else [])]
    numbers = [np.rint(part.images[:, 0, 0] * rows).astype(int) for part in parts]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(rows))
    for part, number in zip(parts, numbers, strict=True):
        np.testing.assert_array_equal(part.labels, labels[number])
        assert np.all(np.diff(number) > 0)
    for held in parts[1:]:
        for label, count in enumerate(counts):
            expected = max(1, int(fraction * count + 0.5))
            assert (held.labels == label).sum() == expected
    assert fingerprint(cut()) == fingerprint(data)


def test_held_out_rows_do_not_depend_on_numpys_seed(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "set.npz", keras(six()))
    np.random.seed(1)
    first = fingerprint(load(path))
    np.random.seed(2)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    assert fingerprint(load(path)) == first
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # type: ignore[arg-type]


def test_the_held_out_rows_are_these() -> None:
    """Another seed or generator would make old runs incomparable with new ones."""
    images = np.arange(20, dtype=np.uint8)[:, None, None]
    table = Table(images, np.arange(20) % 2, "x", "x")
    contents = Contents(Path("x"), {"train": table, "test": table})
    data = assemble(contents, name="x", source="x", valid_fraction=0.2)
    rows = np.rint((data.valid.images[:, 0, 0] + 0.5) * 255).astype(int)
    assert rows.tolist() == [3, 4, 7, 16]


def variants(data: Dataset) -> list[Dataset]:
    split = data.valid
    pixel, label = split.images.copy(), split.labels.copy()
    pixel[0, 0, 0] += 1e-6
    label[0] = 1 - label[0]
    swapped = np.ascontiguousarray(split.images.transpose(0, 2, 1))
    wide = split.images.reshape(len(split), 2, 8)
    return [
        dataclasses.replace(data, valid=Split(pixel, split.labels)),
        dataclasses.replace(data, valid=Split(split.images, label)),
        dataclasses.replace(data, valid=Split(swapped, split.labels)),
        dataclasses.replace(data, valid=Split(wide, split.labels)),
        dataclasses.replace(data, valid=Split(split.images[:-1], split.labels[:-1])),
        dataclasses.replace(data, valid=data.test, test=data.valid),
        dataclasses.replace(data, valid=Split(split.images, split.labels.astype(np.int32))),
    ]


def test_the_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    data = load(write_npz(tmp_path / "set.npz", six()))
    seen = {fingerprint(data), *(fingerprint(other) for other in variants(data))}
    assert len(seen) == 8


def test_the_fingerprint_is_of_the_data_alone(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "set.npz", six())
    data = load(path)
    copy = Path(shutil.copy(path, tmp_path / "copy.npz"))
    pickled = write_pickle(tmp_path / "set.pickle", six())
    assert fingerprint(load(copy)) == fingerprint(data) == fingerprint(load(pickled))
    reversed_bytes = Split(data.valid.images.astype(">f4"), data.valid.labels.astype(">i8"))
    assert fingerprint(dataclasses.replace(data, valid=reversed_bytes)) == fingerprint(data)
