"""A picture of one glyph, from a scanner, a phone or a drawing program, to its ink."""

from pathlib import Path

import numpy as np
from PIL import Image

from normscope._errors import DataError, InputError
from normscope.data._framing import INK
from normscope.data._picture import opened_picture, upright
from normscope.data._text import shown

LARGEST_PHOTO = 2**27
"""Pixels: more than any phone takes, and half a gigabyte when it is decoded."""

_LONGEST_SIDE = 512
"""Pictures are shrunk to this before they are searched for ink: a photo has millions of pixels."""

_LEAST_CONTRAST = 8
"""Of 255 tones; two that are nearer to each other are one to the eye."""

_FEW = 0.1
"""The share of a border that may be of another tone where the border is said to be of one."""

_SPECK = 0.04
"""A blot is a speck when its area is below this share of the largest: the dot of an i has 0.15."""


def read_picture(path: str | Path) -> list[np.ndarray]:
    """Read a picture of one glyph as its ink: float32, 0 for empty and 1 for full ink.

    Which of the two tones is the ink is told by the border, which shows background. Where the
    border shows both (a glyph that is cropped tightly), both readings are returned, the one with
    bright ink first, for someone who knows letters to choose from. Paper need not be white, nor
    free of noise and specks, nor evenly lit; it may have a frame, or corners of another tone.

    Args:
        path: a file of one of the `FORMATS`, grey or colour, of any depth, with or without
            transparency, upright or with a mark (EXIF) of how to turn it.

    Returns:
        One or two arrays ``[height, width]`` of the picture's own proportions, its frame cut off.

    Raises:
        InputError: if the file is missing, is no picture, is damaged, larger than 64 MiB or
            `LARGEST_PHOTO`, or shows only one tone.
    """
    if not str(path):
        msg = "The path of a picture is empty; name the picture's file."
        raise InputError(msg)
    grey = _evenly_lit(_unframed(_read_grey(Path(path))))
    if np.ptp(grey) < _LEAST_CONTRAST:
        msg = f"{shown(path)}: the picture shows one tone only, so there is no letter to read."
        raise InputError(msg)
    middle = _middle(grey)
    share_of_bright = float((_border(grey) > middle).mean())
    readings = []
    if share_of_bright <= 1 - _FEW:
        readings.append(_ink(grey, middle))
    if share_of_bright >= _FEW:
        readings.append(_ink(-grey, -middle))
    return readings


def _middle(grey: np.ndarray) -> float:
    """The tone between the darkest and the brightest."""
    return (float(grey.min()) + float(grey.max())) / 2


def _border(grey: np.ndarray) -> np.ndarray:
    """The outermost pixels."""
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])


def _unframed(grey: np.ndarray) -> np.ndarray:
    """Cut off the frame, where the picture is a page in a frame: the dark rim of a scan.

    The page is most of the picture, and its rows and columns are mostly not of the frame's tone.
    What they enclose is a page if its own border is of one tone and something is on it. A letter
    on an even ground is less of the picture, has a ragged border, or nothing inside.
    """
    bright = grey > _middle(grey)
    page = bright if _border(bright).mean() < _FEW else ~bright
    if _border(page).mean() >= _FEW or page.mean() <= 0.5:
        return grey
    rows = np.flatnonzero(page.mean(axis=1) > 0.5)
    columns = np.flatnonzero(page.mean(axis=0) > 0.5)
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    is_page = _border(page[inside]).mean() > 1 - _FEW and not page[inside].all()
    return grey[inside] if is_page else grey


def _evenly_lit(grey: np.ndarray) -> np.ndarray:
    """Subtract the light that falls off across a page, where the border shows that it does.

    The light is a plane, as steep as opposite borders differ; by the median, so that a letter may
    touch them. Where the border does not lie in that plane, it shows more than a page: a letter
    that is cropped tightly, or the table. Then nothing is subtracted.
    """
    height, width = grey.shape
    down = np.median(grey[-1] - grey[0]) * np.linspace(-0.5, 0.5, height)
    across = np.median(grey[:, -1] - grey[:, 0]) * np.linspace(-0.5, 0.5, width)
    even: np.ndarray = grey - (down[:, None] + across)
    border = _border(even)
    stray = np.abs(border - np.median(border)) > INK * np.ptp(grey)
    return even if stray.mean() < _FEW else grey


def _ink(tones: np.ndarray, middle: float) -> np.ndarray:
    """Scale tones, of which those above `middle` are ink, to 0 ... 1, and wipe the specks off.

    Paper is at the median of its side, so that noise on it is as often above 0 as below, where it
    is cut. Ink is at the upper quartile of its side, as thin strokes are mostly edge. The extremes
    would be neither: they are what the noise did at two pixels.
    """
    paper = np.median(tones[tones <= middle])
    full = np.quantile(tones[tones > middle], 0.75)
    ink: np.ndarray = np.clip((tones - paper) / (full - paper), 0, 1).astype(np.float32)
    on_page = float((_border(tones) > middle).mean()) < _FEW
    return np.where(_not_letter(ink > INK, on_page=on_page), np.float32(0), ink)


def _not_letter(inked: np.ndarray, *, on_page: bool) -> np.ndarray:
    """Where the blots are that are dust or, on a page, that reach into it from outside.

    Dust is far smaller than the largest blot. Area tells it from strokes of any width and parts of
    a letter that do not touch; a median filter wipes thin strokes off too. What reaches in from
    outside, as corners do that a rotation left, touches the border while the largest blot does not.
    """
    blots = _blots(inked)
    areas = np.bincount(blots[inked], minlength=1)
    largest = areas.argmax()
    unwanted = areas < _SPECK * areas[largest]
    outer = np.unique(_border(blots))
    if on_page and largest not in outer:
        unwanted[outer[outer >= 0]] = True
    wiped: np.ndarray = inked & unwanted[blots]
    return wiped


def _blots(inked: np.ndarray) -> np.ndarray:
    """Number the connected pieces of ink, corners included; -1 where there is none.

    A pixel points to the last pixel of its piece that it has heard of. It asks its neighbours,
    then the pixel that it points to, by which the distance that news travels doubles each round.
    """
    numbers = np.arange(inked.size).reshape(inked.shape)
    last = np.where(inked, numbers, -1)
    while True:
        rim = np.pad(last, 1, constant_values=-1)
        across = np.maximum(np.maximum(rim[:, :-2], rim[:, 1:-1]), rim[:, 2:])
        heard = np.maximum(np.maximum(across[:-2], across[1:-1]), across[2:])
        heard = np.where(inked, heard.ravel()[heard], -1)
        if np.array_equal(heard, last):
            return last
        last = heard


def _read_grey(path: Path) -> np.ndarray:
    """Read a picture's tones, 0 to 255, its transparent parts filled so that ink shows.

    Raises:
        DataError: if it cannot be read.
    """
    with opened_picture(path) as picture:
        if picture.width * picture.height > LARGEST_PHOTO:
            msg = (
                f"{shown(path)} is {picture.width}x{picture.height} pixels, more than "
                f"{LARGEST_PHOTO:,}; scale the picture down."
            )
            raise DataError(msg)
        # A JPEG can be decoded at an eighth of its size, for an eighth of the time.
        picture.draft(None, (2 * _LONGEST_SIDE, 2 * _LONGEST_SIDE))
        upright(picture)
        if picture.mode in {"I", "F"} or picture.mode.startswith("I;16"):
            return _deep(path, np.asarray(picture).astype(np.float32))
        if not picture.has_transparency_data:
            return _shrunk(picture.convert("L"))
        layers = picture.convert("RGBA")
        layers.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BOX)
        on_white, on_black = _over(layers, 255), _over(layers, 0)
    # White ink on transparency vanishes on white: take the ground on which more can be seen.
    return on_white if np.std(on_white) >= np.std(on_black) else on_black


def _deep(path: Path, tones: np.ndarray) -> np.ndarray:
    """Bring tones of 16 or 32 bits to 255 by the largest: no file says what its white is.

    Raises:
        DataError: if there are tones that are no numbers.
    """
    largest = np.abs(tones).max()
    if not np.isfinite(largest):
        msg = f"{shown(path)} has pixels that are not finite numbers; save it as grey with 8 bits."
        raise DataError(msg)
    # Divided first: 255 over a very small number is infinite.
    return _shrunk(
        Image.fromarray(tones / max(largest, np.finfo(np.float32).smallest_subnormal) * 255)
    )


def _shrunk(picture: Image.Image) -> np.ndarray:
    """The picture's tones at no more than the longest side that is searched for ink."""
    # A box takes the mean, which quiets noise, and unlike finer filters makes no new extremes.
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float32)


def _over(layers: Image.Image, ground: int) -> np.ndarray:
    """A transparent picture's tones on an even ground."""
    canvas = Image.new("RGBA", layers.size, (ground, ground, ground, 255))
    return np.asarray(Image.alpha_composite(canvas, layers).convert("L"), dtype=np.float32)
