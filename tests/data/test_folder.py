"""Folders of images: values against Pillow, and what people's folders hold besides."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from normscope.data import load
from tests.data.build import write_images, write_split_images
from tests.data.claims import assert_sound, refusal


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def one_of_each(folder: Path, image: Image.Image, suffix: str = "png", **options: Any) -> Path:
    """A split data set in which every image is this one."""
    for split in ("train", "test"):
        for name in "AB":
            for number in range(2):
                save(folder / split / name / f"{number}.{suffix}", image, **options)
    return folder


def test_a_split_folder_holds_what_was_saved(tmp_path: Path) -> None:
    data = load(write_split_images(tmp_path / "set"))
    assert_sound(data)
    assert (data.name, data.classes, data.notes) == ("set", ("A", "B", "C"), ())
    random = np.random.default_rng(0)
    expected = np.stack([random.integers(0, 256, (4, 4), dtype=np.uint8) for _ in range(12)])
    np.testing.assert_allclose(data.train.images, expected / 255 - 0.5, atol=1e-7)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("name", ["valid", "val", "validation", "Valid"])
def test_names_of_the_validation_split(tmp_path: Path, name: str) -> None:
    data = load(write_split_images(tmp_path / "set", name))
    assert (len(data.train), len(data.valid), len(data.test)) == (12, 12, 12)


def test_without_a_validation_split_one_is_cut(tmp_path: Path) -> None:
    folder = write_split_images(tmp_path / "set")
    (folder / "valid").rename(tmp_path / "elsewhere")
    data = load(folder)
    assert (len(data.train), len(data.valid), len(data.test)) == (9, 3, 12)
    assert "no valid split" in data.notes[0]


def test_an_unsplit_folder_is_cut_in_three(tmp_path: Path) -> None:
    data = load(write_images(tmp_path / "set", per_class=20))
    assert_sound(data)
    assert (len(data.train), len(data.valid), len(data.test)) == (48, 6, 6)
    assert np.bincount(data.test.labels).tolist() == [2, 2, 2]
    images = np.concatenate([data.train.images, data.valid.images, data.test.images])
    assert len(np.unique(images, axis=0)) == 60
    assert "no valid and no test split" in data.notes[0]


def test_classes_of_digits_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set")
    for old, new in zip("ABC", ("10", "2", "1"), strict=True):
        (folder / old).rename(folder / new)
    assert load(folder).classes == ("1", "2", "10")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set")
    (folder / "A").rename(folder / "train")
    assert load(folder).classes == ("B", "C", "train")


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff", "pgm"])
def test_lossless_formats(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3), dtype=np.uint8)
    data = load(one_of_each(tmp_path / "set", Image.fromarray(pixels), suffix))
    np.testing.assert_allclose(data.test.images[0], pixels / 255 - 0.5, atol=1e-7)


def test_jpeg(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8), 200)
    data = load(one_of_each(tmp_path / "set", image, "jpg"))
    np.testing.assert_allclose(data.test.images, 200 / 255 - 0.5, atol=2 / 255)


@pytest.mark.parametrize(
    ("image", "grey", "note"),
    [
        (Image.new("RGB", (3, 3), (255, 0, 0)), 0.299 * 255, "turned to grey"),
        (Image.new("RGB", (3, 3), (0, 255, 0)).quantize(2), 0.587 * 255, "turned to grey"),
        (Image.new("RGBA", (3, 3), (0, 0, 0, 0)), 255, "laid over white"),
        (Image.new("RGBA", (3, 3), (0, 0, 0, 127)), 128, "laid over white"),
        (Image.new("LA", (3, 3), (0, 127)), 128, "laid over white"),
        (Image.new("1", (3, 3), 1), 255, None),
        (Image.fromarray(np.full((3, 3), 65535, np.uint16)), 255, "16 bits"),
        (Image.fromarray(np.full((3, 3), 32896, np.uint16)), 128, "16 bits"),
    ],
)
def test_colour_transparency_and_depth(
    tmp_path: Path, image: Image.Image, grey: float, note: str | None
) -> None:
    data = load(one_of_each(tmp_path / "set", image))
    np.testing.assert_allclose(data.test.images, grey / 255 - 0.5, atol=0.51 / 255)
    assert any(note in found for found in data.notes) if note else len(data.notes) == 1


def test_a_moving_gif_counts_by_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("L", (3, 3), grey) for grey in (10, 200)]
    folder = one_of_each(
        tmp_path / "set", frames[0], "gif", save_all=True, append_images=frames[1:]
    )
    data = load(folder)
    np.testing.assert_allclose(data.test.images, 10 / 255 - 0.5, atol=1e-7)
    assert any("first was used" in note for note in data.notes)


def test_images_are_turned_as_their_marks_say(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3), dtype=np.uint8)
    folder = one_of_each(tmp_path / "set", Image.fromarray(pixels))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    sideways = Image.fromarray(np.rot90(pixels).copy())
    save(folder / "test" / "A" / "0.png", sideways, exif=turned)
    np.testing.assert_allclose(load(folder).test.images[0], pixels / 255 - 0.5, atol=1e-7)
    save(folder / "test" / "A" / "0.png", sideways)
    refusal(folder, "test/A/1.png is 3x5 pixels", "test/A/0.png is 5x3")


def test_hidden_files_are_skipped_and_said(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "A" / "Thumbs.db").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    notes = load(folder).notes
    assert "Skipped, as no images: .DS_Store, Thumbs.db, __MACOSX." in notes


def test_two_sizes(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set")
    Image.new("L", (5, 4)).save(folder / "B" / "3.png")
    refusal(folder, "B/3.png is 5x4", "A/0.png is 4x4")


def test_two_sizes_in_two_splits(tmp_path: Path) -> None:
    folder = write_split_images(tmp_path / "set")
    Image.new("L", (5, 4)).save(folder / "test" / "C" / "3.png")
    refusal(folder, "test/C/3.png is 5x4", "4x4")


def text_file(folder: Path) -> None:
    (folder / "A" / "notes.txt").write_text("hello")


def text_file_beside(folder: Path) -> None:
    (folder / "README.txt").write_text("hello")


def truncated(folder: Path) -> None:
    path = folder / "A" / "3.png"
    path.write_bytes(path.read_bytes()[:60])


def cut_bmp(folder: Path) -> None:
    path = folder / "A" / "3.png"
    Image.new("L", (4, 4)).save(path, "BMP")
    path.write_bytes(path.read_bytes()[:-5])


def empty_file(folder: Path) -> None:
    (folder / "A" / "3.png").write_bytes(b"")


def empty_class(folder: Path) -> None:
    (folder / "D").mkdir()


def only_hidden_in_class(folder: Path) -> None:
    empty_class(folder)
    (folder / "D" / ".DS_Store").write_bytes(b"")


def nested(folder: Path) -> None:
    (folder / "A" / "more").mkdir()


def dangling(folder: Path) -> None:
    (folder / "A" / "3.png").unlink()
    (folder / "A" / "3.png").symlink_to("nowhere.png")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "A" / "pipe.png")


def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def bomb(folder: Path) -> None:
    """A PNG of 50,000 x 50,000."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    (folder / "A" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)


def text_bomb(folder: Path) -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    text = chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(2**26)))
    body = chunk(b"IDAT", zlib.compress(bytes(20))) + chunk(b"IEND", b"")
    (folder / "A" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + text + body)


def long_side(folder: Path) -> None:
    Image.new("L", (1025, 1)).save(folder / "A" / "3.png")


def float_image(folder: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "A" / "3.png", "TIFF")


def only_hidden(folder: Path) -> None:
    for name in "ABC":
        (folder / name).rename(folder / f".{name}")


def huge_file(folder: Path) -> None:
    with (folder / "A" / "3.png").open("wb") as file:
        file.truncate(2**30)


def few(folder: Path) -> None:
    for number in range(2, 10):
        (folder / "B" / f"{number}.png").unlink()


def one_class(folder: Path) -> None:
    for name in "BC":
        (folder / name).rename(folder.parent / name)


def one_split(folder: Path) -> None:
    for old, new in zip("ABC", ("train", "valid", "val"), strict=True):
        (folder / old).rename(folder / new)


def train_and_valid(folder: Path) -> None:
    one_split(folder)
    (folder / "val").rename(folder.parent / "val")


def splits_and_classes(folder: Path) -> None:
    for old, new in zip("AB", ("train", "test"), strict=True):
        (folder / old).rename(folder / new)


def images_beside(folder: Path) -> None:
    splits_and_classes(folder)
    (folder / "C").rename(folder.parent / "C")


DAMAGE = {
    text_file: "A/notes.txt: this is not a picture that we read",
    text_file_beside: "README.txt lies beside folders of images",
    truncated: "A/3.png is a damaged picture",
    cut_bmp: "A/3.png is a damaged picture",
    empty_file: "A/3.png: this is not a picture that we read",
    empty_class: "set/D holds no image",
    only_hidden_in_class: "set/D holds no image",
    nested: "A/more is not a file",
    dangling: "A/3.png is not a file",
    pipe: "A/pipe.png is not a file",
    long_side: "A/3.png is 1025x1 pixels; more than 1024 on a side",
    bomb: "A/3.png is",
    text_bomb: "A/3.png is",
    float_image: "A/3.png has pixels of 32 bits",
    only_hidden: "set holds no folder",
    huge_file: "A/3.png is larger than",
    few: "has 2 of class B, too few to hold out 1 for each of valid and test",
    one_class: "takes at least 2",
    one_split: "two folders for valid",
    train_and_valid: "give it train and test",
    splits_and_classes: "give it train and test",
    images_beside: "lies beside folders of images",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damage(tmp_path: Path, damage: Any) -> None:
    folder = write_images(tmp_path / "set")
    damage(folder)
    refusal(folder, DAMAGE[damage])


def test_a_class_that_is_not_in_train(tmp_path: Path) -> None:
    folder = write_split_images(tmp_path / "set")
    (folder / "test" / "C").rename(folder / "test" / "D")
    refusal(folder, "test/D is a class without training images (those are A, B, C)")


def test_a_class_that_is_only_in_train_is_said(tmp_path: Path) -> None:
    folder = write_split_images(tmp_path / "set")
    (folder / "test" / "C").rename(tmp_path / "C")
    assert "The test split has no row of class C." in load(folder).notes


def test_files_that_unpack_to_far_more_than_they_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normscope.data._limits.FLOOR", 0)
    folder = one_of_each(tmp_path / "set", Image.new("L", (1000, 1000)))
    refusal(folder, "would unpack to 4,000,000 bytes")
