"""Any picture of a glyph is made to sit as the training images' glyphs do."""

import numpy as np
import pytest

from normscope.data import Framing


def glyph_l(height: int, width: int, stroke: int) -> np.ndarray:
    """An L: 1 where there is ink. Not symmetric in any way."""
    ink = np.zeros((height, width), dtype=np.float32)
    ink[:, :stroke] = 1
    ink[-stroke:] = 1
    return ink


def on_page(ink: np.ndarray, margins: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = margins
    return np.pad(ink, ((top, bottom), (left, right)))


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


@pytest.mark.parametrize("scale", [1, 3, 40])
def test_any_size_gives_the_same_image(scale: int) -> None:
    page = on_page(glyph_l(14, 14, 3), (5, 9, 12, 2)).repeat(scale, 0).repeat(scale, 1)
    framed = FILLED.frame(page, (28, 28))
    np.testing.assert_allclose(framed, glyph_l(28, 28, 6) - 0.5, atol=0.15)


def box_of(framed: np.ndarray) -> tuple[int, int, int, int]:
    """Top, height, left and width of the ink."""
    rows, columns = np.flatnonzero(framed.any(1)), np.flatnonzero(framed.any(0))
    return int(rows[0]), int(np.ptp(rows)) + 1, int(columns[0]), int(np.ptp(columns)) + 1


def test_proportions_are_kept_where_the_training_images_keep_them() -> None:
    framed = MARGINS.frame(on_page(glyph_l(100, 50, 20), (30, 30, 30, 30)), (28, 28))
    assert box_of(framed > 127)[:2] == (4, 20)
    assert box_of(framed > 127)[3] == 10


def data_set(size: tuple[int, int], glyphs: list[tuple[int, int]]) -> np.ndarray:
    """One L of each height and width, in the middle of images of one size."""
    return np.stack(
        [
            on_page(
                glyph_l(h, w, 2),
                (
                    (size[0] - h) // 2,
                    size[0] - h - (size[0] - h) // 2,
                    (size[1] - w) // 2,
                    size[1] - w - (size[1] - w) // 2,
                ),
            )
            for h, w in glyphs
        ]
    )


SHAPES = {
    "square": ((28, 28), [(20, 8), (20, 14), (20, 20)]),
    "tall": ((40, 20), [(24, 8), (24, 12), (24, 18)]),
    "wide": ((20, 40), [(6, 30), (10, 30), (18, 30)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_glyphs_of_a_data_set_that_keeps_proportions_stay_as_they_are(shape: str) -> None:
    """The data set is its own oracle: framing one of its images gives that image."""
    size, glyphs = SHAPES[shape]
    images = data_set(size, glyphs)
    framing = Framing.of(images)
    assert not framing.stretched
    assert framing.long_side == pytest.approx(max(glyphs[0]) / min(size))
    for image in images:
        np.testing.assert_allclose(framing.frame(image, size), image, atol=1e-6)
        larger = image.repeat(7, 0).repeat(7, 1)
        np.testing.assert_allclose(framing.frame(larger, size), image, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "height", "width", "expected"),
    [
        ("tall", 60, 30, (8, 24, 4, 12)),
        ("tall", 30, 60, (15, 10, 0, 20)),  # 24 pixels long would be more than the 20 there are
        ("wide", 30, 60, (2, 15, 5, 30)),
        ("wide", 60, 30, (0, 20, 15, 10)),
    ],
)
def test_a_glyph_of_other_proportions_stays_inside_the_image(
    shape: str, height: int, width: int, expected: tuple[int, int, int, int]
) -> None:
    size, glyphs = SHAPES[shape]
    framed = Framing.of(data_set(size, glyphs)).frame(glyph_l(height, width, 6), size)
    assert framed.shape == size
    assert box_of(framed > 0.25) == pytest.approx(expected, abs=1)
    assert box_of(framed > 0.25)[1::2] == expected[1::2]


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (28, 28)])
def test_glyphs_of_a_data_set_that_stretches_fill_its_box(size: tuple[int, int]) -> None:
    height, width = size[0] // 2, size[1] - 4
    framing = Framing.of(data_set(size, [(height, width)] * 5))
    assert framing.stretched
    assert (framing.box_height, framing.box_width) == pytest.approx((0.5, width / size[1]))
    for glyph in [(60, 30), (30, 60), (45, 45)]:
        framed = framing.frame(glyph_l(*glyph, 9), size)
        assert box_of(framed > 0.25)[1::2] == (height, width)


@pytest.mark.parametrize(("count", "seen"), [(1000, True), (1001, False), (1999, False)])
def test_no_more_than_a_thousand_images_are_measured(count: int, seen: bool) -> None:
    """The second image alone is brighter: it is seen where each is, not where every other is."""
    images = np.tile(on_page(glyph_l(4, 4, 1), (1, 1, 1, 1)), (count, 1, 1))
    images[1] *= 2
    assert Framing.of(images).ink == (2 if seen else 1)
