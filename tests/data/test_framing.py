"""Any picture of a glyph is made to sit as the training images' glyphs do."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from normscope._errors import InputError
from normscope.data import Framing, read_picture


def glyph_l(height: int, width: int, stroke: int) -> np.ndarray:
    """An L: 1 where there is ink. Not symmetric in any way."""
    ink = np.zeros((height, width), dtype=np.float32)
    ink[:, :stroke] = 1
    ink[-stroke:] = 1
    return ink


def on_page(ink: np.ndarray, margins: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = margins
    return np.pad(ink, ((top, bottom), (left, right)))


def save(path: Path, ink: np.ndarray, *, dark_on_light: bool) -> Path:
    tone = (1 - ink if dark_on_light else ink) * 255
    Image.fromarray(tone.astype(np.uint8)).save(path)
    return path


FILLED = Framing.of(np.stack([glyph_l(28, 28, 6), glyph_l(28, 28, 4)]) - 0.5)
MARGINS = Framing.of(
    np.stack([on_page(glyph_l(20, w, 4), (4, 4, 4, 24 - w)) for w in (10, 16, 20)]) * 255
)


def test_what_is_measured_on_images_that_fill_their_box() -> None:
    assert (FILLED.background, FILLED.ink) == (-0.5, 0.5)
    assert (FILLED.box_height, FILLED.box_width, FILLED.stretched) == (1, 1, True)


def test_what_is_measured_on_images_with_margins() -> None:
    assert (MARGINS.background, MARGINS.ink) == (0, 255)
    assert MARGINS.box_height == pytest.approx(20 / 28)
    assert not MARGINS.stretched


def test_dark_ink_on_light_training_images_is_understood() -> None:
    framing = Framing.of(np.stack([0.5 - on_page(glyph_l(14, 14, 3), (7, 7, 7, 7))] * 3))
    assert (framing.background, framing.ink) == (0.5, -0.5)


def test_blank_training_images_are_no_crash() -> None:
    assert Framing.of(np.zeros((3, 8, 8), dtype=np.float32)).ink == 1


@pytest.mark.parametrize("dark_on_light", [True, False])
@pytest.mark.parametrize("scale", [1, 3, 40])
def test_either_polarity_and_any_size_give_the_same_image(
    tmp_path: Path, dark_on_light: bool, scale: int
) -> None:
    page = on_page(glyph_l(14, 14, 3), (5, 9, 12, 2)).repeat(scale, 0).repeat(scale, 1)
    [ink] = read_picture(save(tmp_path / "l.png", page, dark_on_light=dark_on_light))
    framed = FILLED.frame(ink, (28, 28))
    np.testing.assert_allclose(framed, glyph_l(28, 28, 6) - 0.5, atol=0.15)


def test_proportions_are_kept_where_the_training_images_keep_them(tmp_path: Path) -> None:
    page = on_page(glyph_l(100, 50, 20), (30, 30, 30, 30))
    [ink] = read_picture(save(tmp_path / "l.png", page, dark_on_light=True))
    framed = MARGINS.frame(ink, (28, 28)) > 127
    rows, columns = np.flatnonzero(framed.any(1)), np.flatnonzero(framed.any(0))
    assert (len(rows), len(columns)) == (20, 10)
    assert rows[0] == 4


def test_a_glyph_that_is_cropped_tightly_is_read_both_ways(tmp_path: Path) -> None:
    readings = read_picture(save(tmp_path / "l.png", glyph_l(28, 28, 9), dark_on_light=False))
    assert len(readings) == 2
    np.testing.assert_array_equal(readings[0], 1 - readings[1])


@pytest.mark.parametrize("tone", [0, 255], ids=["black ink", "white ink"])
def test_ink_on_transparency(tmp_path: Path, tone: int) -> None:
    picture = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    ImageDraw.Draw(picture).rectangle((20, 10, 30, 50), fill=(tone, tone, tone, 255))
    picture.save(tmp_path / "i.png")
    [ink] = read_picture(tmp_path / "i.png")
    assert ink[30, 25] == 1
    assert ink[5, 5] == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "I;16"])
def test_every_kind_of_picture(tmp_path: Path, mode: str) -> None:
    page = on_page(glyph_l(40, 40, 10), (10, 10, 10, 10))
    picture = Image.fromarray((255 * page).astype(np.uint8))
    if mode == "I;16":
        picture = Image.fromarray((65535 * page).astype(np.uint16))
    else:
        picture = picture.convert(mode)
    path = tmp_path / ("l.tif" if mode in {"CMYK", "I;16"} else "l.png")
    picture.save(path)
    [ink] = read_picture(path)
    np.testing.assert_allclose(ink, page, atol=0.02)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such picture"), (b"", "not a picture"), (b"\x89PNG\r\n\x1a\n12", "not a picture")],
)
def test_what_is_no_picture_is_a_sentence(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)


def test_a_truncated_picture_is_a_sentence(tmp_path: Path) -> None:
    path = save(tmp_path / "l.png", np.random.default_rng(0).random((90, 90)), dark_on_light=True)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="not a picture"):
        read_picture(path)


def test_an_empty_page_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one tone only"):
        read_picture(save(tmp_path / "x.png", np.zeros((30, 30)), dark_on_light=True))


def test_a_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_picture(tmp_path)
