"""One image file to grey uint8, with Pillow."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from normscope._errors import DataError
from normscope.data._contents import Array
from normscope.data._stream import unreadable
from normscope.data._text import brief, shown

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM")
LARGEST_SIDE = 1024
LARGEST_FILE = 64 * 2**20

# What Pillow's decoders raise on damaged files, besides OSError.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
)


class Gallery:
    """Images that must all have the size of the first, and what was done to make them grey."""

    def __init__(self) -> None:
        self._first: tuple[Path, tuple[int, int]] | None = None
        self._done: set[str] = set()

    def read(self, path: Path) -> Array:
        """Read one file as uint8 ``[height, width]``.

        Transparent parts are laid over white, as paper is; colours become grey by luma
        (ITU-R 601, Pillow's); 16 bits become 8; of a moving GIF the first frame counts.

        Raises:
            DataError: if it is no image, damaged, too large, or of another size than the first.
        """
        try:
            # Pillow warns of much that is harmless; what is not, raises.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(_bytes(path), formats=FORMATS) as image:
                    self._check_size(path, image)
                    return self._grey(path, image)
        except UnidentifiedImageError:
            msg = (
                f"{shown(path)} is no image that we read (PNG, JPEG, BMP, GIF, TIFF, PGM); remove "
                "it, or save it as PNG."
            )
            raise DataError(msg) from None
        except OSError as error:
            # With a number it is the system that refused, without one it is Pillow.
            if error.errno is not None:
                raise DataError(unreadable(path, error)) from None
            raise DataError(_damaged(path, error)) from None
        except _DAMAGE as error:
            raise DataError(_damaged(path, error)) from None

    def notes(self) -> list[str]:
        """Say what was done to the images."""
        return sorted(self._done)

    def _check_size(self, path: Path, image: Image.Image) -> None:
        width, height = image.size
        if max(width, height) > LARGEST_SIDE:
            msg = (
                f"{shown(path)} is {width}x{height} pixels; more than {LARGEST_SIDE} on a side is "
                "no input for a plain network: scale the images down."
            )
            raise DataError(msg)
        if self._first is None:
            self._first = (path, image.size)
        first, size = self._first
        if image.size != size:
            msg = (
                f"{shown(path)} is {width}x{height} pixels, but {shown(first)} is "
                f"{size[0]}x{size[1]}; make all images one size."
            )
            raise DataError(msg)

    def _grey(self, path: Path, image: Image.Image) -> Array:
        if getattr(image, "n_frames", 1) > 1:
            self._done.add("Of images with several frames, the first was used.")
        if image.mode not in {"1", "L", "LA", "I"} and not image.mode.startswith("I;16"):
            self._done.add("Images in colour were turned to grey.")
        if image.has_transparency_data:
            self._done.add("Transparent parts of images were laid over white.")
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image.convert("RGBA"))
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"}):
            self._done.add("Images of 16 bits were reduced to 8.")
            deep = np.asarray(image).astype(np.uint32)
            return ((deep * 255 + 32767) // 65535).astype(np.uint8)
        if image.mode in {"I", "F"}:
            msg = (
                f"{shown(path)} has pixels of 32 bits, whose scale is not known; save it as grey "
                "with 8 bits."
            )
            raise DataError(msg)
        return np.asarray(image.convert("L"))


def _bytes(path: Path) -> io.BytesIO:
    """Read the whole file, so that a length in it cannot ask for more memory than it has bytes.

    Raises:
        DataError: if it is larger than any image of the sizes that we read.
    """
    if path.stat().st_size > LARGEST_FILE:
        msg = f"{shown(path)} is larger than {LARGEST_FILE:,} bytes; scale the images down."
        raise DataError(msg)
    return io.BytesIO(path.read_bytes())


def _damaged(path: Path, error: Exception) -> str:
    reason = brief(error) or type(error).__name__
    return f"{shown(path)} is a damaged image ({reason}); write it again, or remove it."
