"""How glyphs sit in a data set's images, and how to make any picture sit alike."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float32
from PIL import Image

INK = 0.25
"""Share of the full contrast above which a pixel counts as ink."""


@dataclass(frozen=True)
class Framing:
    """How the glyphs of a data set sit in its images.

    Attributes:
        background: the value of empty pixels.
        ink: the value of full ink.
        box_height: the glyph's height, as a share of the image's; the data set's median.
        box_width: the glyph's width, likewise.
        long_side: the glyph's longer side, as a share of the image's shorter one, both in pixels;
            the data set's median. Above 1 where glyphs are longer than a narrow image is wide.
        stretched: whether every glyph fills the same box, whatever its own proportions.
        centred_by_mass: whether the ink's centre of mass is at the image's centre, rather than the
            ink box's.
    """

    background: float
    ink: float
    box_height: float
    box_width: float
    long_side: float
    stretched: bool
    centred_by_mass: bool

    @classmethod
    def of(cls, images: Float32[np.ndarray, "rows height width"]) -> Self:
        """Measure a data set's framing on (at most a thousand of) its images.

        Example:
            >>> images = np.full((3, 28, 28), -0.5, dtype=np.float32)
            >>> images[:, 4:24, 10:18] = 0.5
            >>> framing = Framing.of(images)
            >>> framing.background, framing.ink, round(framing.box_height, 2)
            (-0.5, 0.5, 0.71)
        """
        sample = images[:: max(1, -(-len(images) // 1000))]
        low, high = float(sample.min()), float(sample.max())
        background, ink = (low, high) if np.median(sample) < (low + high) / 2 else (high, low)
        if low == high:
            ink = background + 1.0
        strength = (sample - background) / (ink - background)
        height, width = sample.shape[1:]
        boxes = [box for image in strength if (box := _ink_box(image))]
        sizes = np.array(
            [[bottom - top, right - left] for top, bottom, left, right in boxes]
            or [[height, width]]
        )
        shares = sizes / (height, width)
        box_height, box_width = np.median(shares, axis=0)
        return cls(
            background=background,
            ink=ink,
            box_height=float(box_height),
            box_width=float(box_width),
            long_side=float(np.median(sizes.max(axis=1))) / min(height, width),
            stretched=bool(np.ptp(np.quantile(shares, [0.1, 0.9], axis=0), axis=0).max() < 0.1),
            centred_by_mass=_is_centred_by_mass(strength, boxes),
        )

    def frame(self, strength: np.ndarray, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
        """Make an image of `size` (height, width) in which the picture's ink sits as it does here.

        Args:
            strength: any size, 0 for empty and 1 for full ink.
            size: height and width of the data set's images.
        """
        box = _ink_box(strength)
        if box is None:
            return np.full(size, self.background, dtype=np.float32)
        top, bottom, left, right = box
        glyph = Image.fromarray(strength[top:bottom, left:right].astype(np.float32))
        resized = glyph.resize(self._target(glyph.size, size), Image.Resampling.BOX)
        placed = self._place(np.clip(np.asarray(resized), 0, 1), size)
        return (self.background + placed * (self.ink - self.background)).astype(np.float32)

    def _target(self, glyph: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
        """The glyph's width and height in the image, in pixels."""
        height, width = size
        if self.stretched:
            return max(1, round(self.box_width * width)), max(1, round(self.box_height * height))
        # A wide glyph among tall ones, in a tall image, would otherwise reach over its edges.
        scale = min(self.long_side * min(size) / max(glyph), width / glyph[0], height / glyph[1])
        return max(1, round(glyph[0] * scale)), max(1, round(glyph[1] * scale))

    def _place(self, glyph: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Put the glyph on an empty image, centred as the data set's are."""
        canvas = np.zeros(size, dtype=np.float32)
        centre = _mass_centre(glyph) if self.centred_by_mass else np.array(glyph.shape) / 2
        room = np.array(size) - glyph.shape
        top, left = np.clip(np.round(np.array(size) / 2 - centre), 0, room).astype(int)
        canvas[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph
        return canvas


def _ink_box(strength: np.ndarray) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of the ink (half open), or None where there is none."""
    ink = strength > INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _mass_centre(strength: np.ndarray) -> np.ndarray:
    """Where the ink's weight lies: (row, column), in pixels from the upper left corner."""
    total = strength.sum()
    return np.array(
        [
            ((np.arange(length) + 0.5) * strength.sum(axis=1 - axis)).sum() / total
            for axis, length in enumerate(strength.shape)
        ]
    )


def _is_centred_by_mass(strength: np.ndarray, boxes: list[tuple[int, int, int, int]]) -> bool:
    """Whether the centres of mass vary less around the image's centre than the boxes' centres."""
    if not boxes:
        return False
    middle = np.array(strength.shape[1:]) / 2
    inked = [image for image in strength if (image > INK).any()]
    mass = np.array([_mass_centre(image) - middle for image in inked])
    box = (
        np.array([((top + bottom) / 2, (left + right) / 2) for top, bottom, left, right in boxes])
        - middle
    )
    return bool(np.abs(mass).mean() < np.abs(box).mean())
