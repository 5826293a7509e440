"""A person's picture of a letter is read as its ink, or refused in one sentence."""

import io
import os
import struct
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFont

from normscope._errors import DataError, InputError
from normscope.data import Framing, _ink, _picture, read_picture
from tests.data.claims import assert_teaches

FILLED = Framing(
    background=-0.5,
    ink=0.5,
    box_height=1,
    box_width=1,
    long_side=1,
    stretched=True,
    centred_by_mass=False,
)


def glyph_l(height: int, width: int, stroke: int) -> np.ndarray:
    """An L: 1 where there is ink. Not symmetric in any way."""
    ink = np.zeros((height, width), dtype=np.float32)
    ink[:, :stroke] = 1
    ink[-stroke:] = 1
    return ink


PAGE = np.pad(glyph_l(40, 30, 10), ((5, 15), (20, 10)))


def save(path: Path, ink: np.ndarray, *, dark_on_light: bool = False, **options: Any) -> Path:
    tone = (1 - ink if dark_on_light else ink) * 255
    Image.fromarray(tone.astype(np.uint8)).save(path, **options)
    return path


def refused(path: str | Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_picture(path)
    assert_teaches(caught.value, str(path), *words)


# What the ink is.


@pytest.mark.parametrize("dark_on_light", [True, False])
def test_either_polarity_gives_the_same_ink(tmp_path: Path, dark_on_light: bool) -> None:
    [ink] = read_picture(save(tmp_path / "l.png", PAGE, dark_on_light=dark_on_light))
    assert ink.dtype == np.float32
    np.testing.assert_array_equal(ink, PAGE)


@pytest.mark.parametrize("dark_on_light", [True, False])
def test_a_glyph_that_is_cropped_tightly_is_read_both_ways(
    tmp_path: Path, dark_on_light: bool
) -> None:
    glyph = glyph_l(28, 28, 9)
    bright, dark = read_picture(save(tmp_path / "l.png", glyph, dark_on_light=dark_on_light))
    np.testing.assert_array_equal(bright, 1 - dark)
    np.testing.assert_array_equal(dark if dark_on_light else bright, glyph)


@pytest.mark.parametrize("side", range(4))
def test_a_border_that_is_partly_dark_is_read_both_ways(tmp_path: Path, side: int) -> None:
    """A photo that shows the table beside the page."""
    page = np.rot90(np.rot90(PAGE, -side).copy(), side).copy()
    np.rot90(page, side)[:3] = 1
    readings = read_picture(save(tmp_path / "l.png", page, dark_on_light=True))
    assert len(readings) == 2
    np.testing.assert_array_equal(readings[1], page)


@pytest.mark.parametrize("tone", [0, 255], ids=["black ink", "white ink"])
def test_ink_on_transparency(tmp_path: Path, tone: int) -> None:
    picture = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((20, 10, 30, 50), fill=(tone, tone, tone, 255))
    picture.save(tmp_path / "i.png")
    [ink] = read_picture(tmp_path / "i.png")
    assert ink[30, 25] == 1
    assert ink[5, 5] == 0


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"]


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_picture(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "l.tif"
    picture = Image.fromarray((255 * PAGE).astype(np.uint8)).convert("RGB").convert(mode)
    picture.save(path)
    [ink] = read_picture(path)
    np.testing.assert_allclose(ink, PAGE, atol=0.02)


DEEP: list[tuple[Any, float, float]] = [
    (np.uint16, 2000, 27500),
    (np.uint16, 0, 65535),
    (np.uint16, 0, 255),
    (np.int32, -7, 9),
    (np.int32, 0, 2**31 - 1),
    (np.float32, 0, 1),
    (np.float32, -0.5, 0.5),
    (np.float32, 1e-42, 1e-40),
    (np.float32, -3e38, 3e38),
]


@pytest.mark.parametrize(
    ("suffix", "kind", "empty", "full"),
    [("tif", *tones) for tones in DEEP] + [("png", *tones) for tones in DEEP[:3]],
)
def test_deep_tones_count_by_their_own_range(
    tmp_path: Path, suffix: str, kind: Any, empty: float, full: float
) -> None:
    path = tmp_path / f"l.{suffix}"
    Image.fromarray(np.where(PAGE > 0, full, empty).astype(kind)).save(path)
    [ink] = read_picture(path)
    np.testing.assert_allclose(ink, PAGE, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_tones_that_are_no_numbers_are_a_sentence(tmp_path: Path, value: float) -> None:
    page = PAGE.copy()
    page[0, 0] = value
    Image.fromarray(page).save(tmp_path / "l.tif")
    refused(tmp_path / "l.tif", "not finite")


STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("mark", STORED)
def test_a_phone_s_mark_of_how_it_was_held_is_heeded(
    tmp_path: Path, mark: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = mark
    [ink] = read_picture(save(tmp_path / f"l.{suffix}", PAGE, exif=exif))
    np.testing.assert_allclose(ink, STORED[mark](PAGE), atol=0.2)


# Paper, cameras and dust.


def drawn(letter: str, size: int) -> np.ndarray:
    """A letter in Pillow's own font, which no one made for us; 1 where there is ink."""
    page = Image.new("L", (2 * size, size + 30))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(page).text((size // 2, 0), letter, fill=255, font=font)
    return np.asarray(page, dtype=np.float32) / 255


def photographed(ink: np.ndarray, *, dark_on_light: bool) -> np.ndarray:
    """Off-white paper, grey ink, noise, a shadow from left to right, and specks of dust."""
    random = np.random.default_rng(0)
    tones = 230 - 190 * ink + random.normal(0, 6, ink.shape) + np.linspace(10, -10, ink.shape[1])
    speck = ink.shape[0] // 40
    for row, column in [(2, 2), (2, -8), (-8, 5), (-8, -8)]:
        tones[row:, column:][:speck, :speck] = 40
    return np.clip(tones if dark_on_light else 255 - tones, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("dark_on_light", [True, False])
@pytest.mark.parametrize("size", [60, 200, 500])
@pytest.mark.parametrize("letter", "ABCDEFGHIJij")
def test_a_photographed_letter_is_framed_as_the_clean_one(
    tmp_path: Path, letter: str, size: int, dark_on_light: bool
) -> None:
    ink = drawn(letter, size)
    photo = photographed(ink, dark_on_light=dark_on_light)
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=75)
    [clean] = read_picture(save(tmp_path / "clean.png", ink))
    [noisy] = read_picture(tmp_path / "photo.jpg")
    away = np.abs(FILLED.frame(noisy, (28, 28)) - FILLED.frame(clean, (28, 28)))
    assert away.mean() < 0.04
    assert away.max() < 0.3
    # The control: with the specks left on, the box is the page's.
    tones = photo / 255 if not dark_on_light else 1 - photo / 255
    assert np.abs(FILLED.frame(tones, (28, 28)) - FILLED.frame(clean, (28, 28))).mean() > 0.1


@pytest.mark.parametrize(("side", "stays"), [(3, False), (4, True)])
def test_what_is_far_smaller_than_the_letter_is_dust(
    tmp_path: Path, side: int, stays: bool
) -> None:
    """9 and 16 pixels beside 400 - 4 per cent of the larger area is 16, and that is the border."""
    page = np.zeros((60, 60), dtype=np.float32)
    page[10:30, 10:30] = 1
    page[40 : 40 + side, 40 : 40 + side] = 1
    [ink] = read_picture(save(tmp_path / "l.png", page))
    assert bool(ink[41, 41] > 0) is stays
    assert ink[10:30, 10:30].min() == 1


# Light, frames and corners.


def small(letter: str) -> np.ndarray:
    """A letter with room around it; 1 where there is ink."""
    return np.pad(drawn(letter, 100), ((20, 30), (0, 20)))


def lit(ink: np.ndarray, *, down: float, across: float) -> np.ndarray:
    """Ink at 0.3 of a paper on which the light falls off, noisy."""
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]] / np.array(ink.shape).reshape(2, 1, 1)
    return (200 - down * y - across * x) * (1 - 0.7 * ink) + np.random.default_rng(0).normal(
        0, 2, ink.shape
    )


def rotated(ink: np.ndarray, corner: int) -> np.ndarray:
    return np.asarray(Image.fromarray(np.uint8(200 - 150 * ink)).rotate(4, fillcolor=corner))


def in_frame(ink: np.ndarray, thick: int = 6) -> np.ndarray:
    return np.pad(200 - 150 * ink, thick)


def is_framed_as(tones: np.ndarray, clean: np.ndarray, path: Path) -> bool:
    """Whether the picture has one reading, and that is as the clean ink, framed."""
    Image.fromarray(np.clip(tones, 0, 255).astype(np.uint8)).save(path)
    readings = read_picture(path)
    away = np.abs(FILLED.frame(readings[0], (28, 28)) - FILLED.frame(clean, (28, 28)))
    return len(readings) == 1 and away.mean() < 0.08


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("letter", "ABCDEFGHJij")
def test_light_frames_and_corners_do_not_hide_a_letter(
    tmp_path: Path, letter: str, inverted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but I, which fills its box, as a page in a frame that is taken for ink does too."""
    clean = small(letter)
    turned = (200.0 - rotated(clean, 200)) / 150
    pictures = {
        "_evenly_lit": (lit(clean, down=40, across=70), clean),
        "_unframed": (in_frame(clean), clean),
        "_not_letter": (rotated(clean, 150), turned),
    }
    not_letter = _ink._not_letter
    undone: dict[str, Any] = {
        "_evenly_lit": lambda grey: grey,
        "_unframed": lambda grey: grey,
        "_not_letter": lambda inked, on_page: not_letter(inked, on_page=False),
    }
    for step, (dark_on_light, ink) in pictures.items():
        tones = 255 - dark_on_light if inverted else dark_on_light
        assert is_framed_as(tones, ink, tmp_path / "x.png"), step
        with monkeypatch.context() as without:  # the control
            without.setattr(_ink, step, undone[step])
            assert not is_framed_as(tones, ink, tmp_path / "x.png"), step


@pytest.mark.parametrize(("down", "across"), [(110, 0), (0, 110), (-110, 0), (0, -110), (-40, 70)])
def test_light_is_subtracted_from_any_side(down: float, across: float) -> None:
    """The oracle is least squares over the page."""
    clean = small("F")
    tones = lit(clean, down=down, across=across)
    even = _ink._evenly_lit(tones)
    rows, columns = np.nonzero(clean == 0)
    plane = np.stack([rows, columns, np.ones(len(rows))], axis=1)
    before, after = (np.linalg.lstsq(plane, t[rows, columns])[0][:2] for t in (tones, even))
    height, width = clean.shape
    assert np.abs(before * (height, width)).max() > 60
    np.testing.assert_allclose(after * (height, width), 0, atol=2)


def test_a_letter_that_touches_the_border_does_not_tilt_the_light() -> None:
    page = np.pad(np.ones((20, 4)), ((0, 40), (20, 36)))
    np.testing.assert_array_equal(_ink._evenly_lit(page), page)
    slope = np.linspace(0, 0.5, 60)
    np.testing.assert_allclose(np.ptp(_ink._evenly_lit(page + slope)[40]), 0, atol=1e-9)


TIGHT = {
    "L": glyph_l(28, 28, 9),
    "F": glyph_l(28, 28, 9)[::-1],
    "bar": np.pad(np.ones((28, 20)), ((0, 0), (0, 8))),
    "D": np.pad(np.pad(np.zeros((14, 10)), 7, constant_values=1), ((0, 0), (0, 4))),
}


@pytest.mark.parametrize("glyph", TIGHT)
@pytest.mark.parametrize("dark_on_light", [True, False])
def test_a_tightly_cropped_glyph_keeps_every_tone(
    tmp_path: Path, glyph: str, dark_on_light: bool
) -> None:
    ink = TIGHT[glyph]
    readings = read_picture(save(tmp_path / "x.png", ink, dark_on_light=dark_on_light))
    assert len(readings) == 2
    np.testing.assert_array_equal(readings[dark_on_light], ink)
    np.testing.assert_array_equal(readings[not dark_on_light], 1 - ink)


@pytest.mark.parametrize(("top", "stays"), [(0, False), (1, True)])
def test_what_touches_the_border_is_the_letter_s_unless_the_largest_does_not(
    tmp_path: Path, top: int, stays: bool
) -> None:
    """100 pixels at the upper edge or one below it, beside 400; then beside nothing larger."""
    page = np.zeros((100, 100), dtype=np.float32)
    page[40:60, 40:60] = 1
    page[top : top + 10, 10:20] = 1
    [ink] = read_picture(save(tmp_path / "x.png", page))
    assert bool(ink[5, 15] > 0) is stays
    assert ink[40:60, 40:60].min() == 1
    page[47:60, 40:60] = page[40:60, 47:60] = 0
    page[top : top + 10, 10:20] = 1
    [ink] = read_picture(save(tmp_path / "y.png", page))
    np.testing.assert_array_equal(ink, page)


NOT_FRAMED = {
    "a bar, and nothing inside": np.pad(np.ones((50, 46)), ((5, 5), (7, 7))),
    "a ring, less than half": np.pad(np.pad(np.zeros((24, 30)), 8, constant_values=1), 10),
    "an L": np.pad(glyph_l(56, 56, 40), 2),
}


@pytest.mark.parametrize("dark_on_light", [True, False])
@pytest.mark.parametrize("kind", NOT_FRAMED)
def test_a_letter_on_an_even_ground_is_no_page_in_a_frame(
    tmp_path: Path, kind: str, dark_on_light: bool
) -> None:
    page = NOT_FRAMED[kind]
    [ink] = read_picture(save(tmp_path / "x.png", page, dark_on_light=dark_on_light))
    np.testing.assert_array_equal(ink, page)


@pytest.mark.parametrize("thick", [1, 3, 12])
def test_a_frame_is_cut_off_and_no_more(tmp_path: Path, thick: int) -> None:
    Image.fromarray(in_frame(small("G"), thick).astype(np.uint8)).save(tmp_path / "x.png")
    [ink] = read_picture(tmp_path / "x.png")
    np.testing.assert_allclose(ink, small("G"), atol=0.02)


def test_a_page_in_a_dusty_frame_may_be_unevenly_lit(tmp_path: Path) -> None:
    clean = small("G")
    tones = np.pad(lit(clean, down=20, across=60), 6)
    tones[2:4, 50:60] = tones[90:99, -3] = 200
    assert is_framed_as(tones, clean, tmp_path / "x.png")


def test_light_on_an_empty_page_is_a_sentence(tmp_path: Path) -> None:
    tones = np.linspace(90, 200, 60) + np.linspace(0, 40, 60)[:, None]
    Image.fromarray(tones.astype(np.uint8)).save(tmp_path / "x.png")
    refused(tmp_path / "x.png", "one tone only")


# The pieces of ink.


def flooded(inked: np.ndarray) -> set[frozenset[tuple[int, int]]]:
    """The connected pieces, each by its pixels: a second derivation, pixel by pixel."""
    left = {(int(row), int(column)) for row, column in np.argwhere(inked)}
    pieces = set()
    while left:
        queue = deque([left.pop()])
        piece = set(queue)
        while queue:
            row, column = queue.popleft()
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            piece |= near
            queue.extend(near)
        pieces.add(frozenset(piece))
    return pieces


def spiral() -> np.ndarray:
    """One line of 1 pixel that winds from the edge to the middle: the longest way for news."""
    inked = np.zeros((31, 31), dtype=bool)
    for ring in range(0, 14, 2):
        far = 31 - ring
        inked[ring, ring:far] = inked[ring:far, far - 1] = inked[far - 1, ring:far] = True
        inked[ring + 2 : far, ring] = True
        inked[ring + 2, ring : ring + 2] = True
    return inked


@pytest.mark.parametrize("share", [0, 0.2, 0.35, 0.5, 0.8, 1, "spiral"])
def test_pieces_of_ink_are_those_that_a_flood_finds(share: Any) -> None:
    inked = spiral() if share == "spiral" else np.random.default_rng(0).random((31, 23)) < share
    blots = _ink._blots(inked)
    assert (blots[~inked] == -1).all()
    found = {
        frozenset(map(tuple, np.argwhere(blots == number).tolist()))
        for number in set(blots[inked].tolist())
    }
    assert found == flooded(inked)
    if share == "spiral":
        assert len(found) == 1


# Large ones.


def test_a_phone_s_photo_is_read(tmp_path: Path) -> None:
    ink = drawn("R", 100)
    photo = Image.fromarray(photographed(ink, dark_on_light=True)).convert("RGB")
    photo.resize((4000, 3000)).save(tmp_path / "photo.jpg")
    [read] = read_picture(tmp_path / "photo.jpg")
    assert read.shape == (384, 512)
    [clean] = read_picture(save(tmp_path / "clean.png", ink))
    away = np.abs(FILLED.frame(read, (28, 28)) - FILLED.frame(clean, (28, 28)))
    assert away.mean() < 0.05


@pytest.mark.parametrize("mode", ["1", "L", "RGBA"])
def test_a_large_picture_is_shrunk_by_the_mean(tmp_path: Path, mode: str) -> None:
    """Grey ink on grey paper, of which a fax leaves black and white dots."""
    page = 0.2 + 0.6 * PAGE.repeat(32, 0).repeat(32, 1)
    fax = Image.fromarray((255 * page).astype(np.uint8)).convert("1")
    assert set(np.unique(fax)) == {False, True}
    (fax.convert("L").convert(mode) if mode != "1" else fax).save(tmp_path / "l.png")
    for ink in read_picture(tmp_path / "l.png"):
        assert ink.shape == (512, 512)
        assert 0.05 < ink[:30, :100].std() < 0.2
    assert np.asarray(fax)[:120, :400].std() > 0.35  # the control


def test_a_picture_of_too_many_pixels_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "l.png", PAGE)
    monkeypatch.setattr(_ink, "LARGEST_PHOTO", PAGE.size)
    assert read_picture(path)
    monkeypatch.setattr(_ink, "LARGEST_PHOTO", PAGE.size - 1)
    refused(path, "60x60 pixels", "scale the picture down")


def test_a_file_of_too_many_bytes_is_a_sentence(tmp_path: Path) -> None:
    path = save(tmp_path / "l.bmp", PAGE)
    os.truncate(path, _picture.LARGEST_FILE)
    assert read_picture(path)
    os.truncate(path, _picture.LARGEST_FILE + 1)
    refused(path, "is larger than")


# What is no picture.


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, side: int = 4) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def postscript() -> bytes:
    """Pillow reads it, but by starting another program on it."""
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer := io.BytesIO(), "EPS")
    return buffer.getvalue()


PIXELS = chunk(b"IDAT", zlib.compress(b"\x00\x00\x00\xff\xff" * 4))
HALF = chunk(b"IDAT", zlib.compress(b"\x00\x00\x00\xff\xff" * 4)[:6])
NAMELESS = b"\x00\x00\x00\x04\x01\x02\x03\x04" * 3
TEXT = chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(2**26)))
NO_PICTURE = {
    "empty": (b"", "not a picture that we read"),
    "text": (b"hello", "not a picture that we read"),
    "a picture for Ghostscript": (postscript(), "not a picture that we read"),
    "only a head": (b"\x89PNG\r\n\x1a\n12", "not a picture that we read"),
    "a chunk without a name": (png(NAMELESS, PIXELS), "not a picture that we read"),
    "the same amid its pixels": (png(HALF, NAMELESS, HALF), "broken PNG file"),
    "2.5 billion pixels": (png(PIXELS, side=50_000), "damaged picture"),
    "text that unpacks to 64 MiB": (png(TEXT, PIXELS), "damaged picture"),
    "2 GiB announced": (png(PIXELS, b"\x7f\xff\xff\xffIDAT"), "damaged picture"),
}


def test_the_control_of_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(PIXELS))
    assert len(read_picture(tmp_path / "x.png")) == 2


@pytest.mark.parametrize("kind", NO_PICTURE)
def test_what_is_no_picture_is_a_sentence(tmp_path: Path, kind: str) -> None:
    content, says = NO_PICTURE[kind]
    (tmp_path / "x.png").write_bytes(content)
    refused(tmp_path / "x.png", says)


def test_an_error_of_a_picture_is_one_of_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such picture"):
        read_picture(tmp_path / "x.png")


@pytest.mark.parametrize("page", [PAGE * 0, PAGE * 7 / 255], ids=["blank", "7 tones of 255"])
def test_an_empty_page_is_a_sentence(tmp_path: Path, page: np.ndarray) -> None:
    refused(save(tmp_path / "x.png", page, dark_on_light=True), "one tone only")
    Image.fromarray((60_000 + 1000 * page).astype(np.uint16)).save(tmp_path / "deep.png")
    refused(tmp_path / "deep.png", "one tone only")


def test_eight_tones_are_a_letter(tmp_path: Path) -> None:
    [ink] = read_picture(save(tmp_path / "x.png", PAGE * 8.5 / 255))
    np.testing.assert_array_equal(ink, PAGE)


def test_a_folder_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, "this is a folder, not a picture")
    monkeypatch.chdir(tmp_path)
    refused(Path(), ".: this is a folder, not a picture")


def test_an_empty_path_is_a_sentence() -> None:
    refused("", "path of a picture is empty")


@pytest.mark.parametrize("name", ["x" * 300, "nul\0", "new\nline"])
def test_a_path_that_cannot_be_is_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_picture(tmp_path / name)
    assert_teaches(caught.value)


def test_a_pipe_is_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a file")


# Damage of every kind, with the seed of the day.


def stored() -> dict[str, bytes]:
    """The page in every format, with what readers stumble over: marks, palettes, depths."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    tones = (20 + 200 * PAGE + np.random.default_rng(0).integers(0, 9, PAGE.shape)).astype(np.uint8)
    grey = Image.fromarray(tones)
    seen = grey.convert("RGBA")
    seen.putalpha(grey)
    deep = Image.fromarray(tones.astype(np.uint16) * 100)
    images: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (grey, "PNG", {"exif": exif}),
        (seen, "PNG", {}),
        (deep, "PNG", {}),
        (seen.convert("P"), "PNG", {"transparency": 3}),
        (grey, "JPEG", {"exif": exif}),
        (grey.convert("CMYK"), "JPEG", {"progressive": True}),
        (grey, "GIF", {"save_all": True, "append_images": [grey.rotate(90)]}),
        (grey, "BMP", {}),
        (grey, "TIFF", {}),
        (Image.fromarray(PAGE), "TIFF", {}),
        (seen, "WEBP", {"exif": exif}),
        (grey, "PPM", {}),
    ]
    files = {}
    for number, (image, kind, options) in enumerate(images):
        image.save(buffer := io.BytesIO(), kind, **options)
        files[f"{kind} {number}"] = buffer.getvalue()
    return files


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut off, or with up to five bytes changed: anywhere, or where the head is."""
    if random.random() < 0.25:
        return content[: random.integers(len(content))]
    bytes_ = bytearray(content)
    end = len(content) if random.random() < 0.5 else min(len(content), 120)
    for place in random.integers(0, end, random.integers(1, 6)):
        bytes_[place] = random.integers(256)
    return bytes(bytes_)


@pytest.mark.parametrize("kind", stored())
def test_damage_gives_ink_or_a_sentence(tmp_path: Path, kind: str) -> None:
    content = stored()[kind]
    path = tmp_path / "x"
    path.write_bytes(content)
    assert read_picture(path)
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(60):
        path.write_bytes(damaged(content, random))
        try:
            readings = read_picture(path)
        except InputError as error:
            assert_teaches(error, str(path))
            refusals += 1
        else:
            assert all(0 <= ink.min() <= ink.max() <= 1 for ink in readings)
    assert refusals > 5
