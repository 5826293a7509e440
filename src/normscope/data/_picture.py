"""One picture file, opened so that no damage in it escapes; and a folder's to grey uint8."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from normscope._errors import DataError
from normscope.data._contents import Array
from normscope.data._stream import unreadable
from normscope.data._text import brief, shown

# Not all that Pillow knows: for EPS it would start another program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP")
LARGEST_SIDE = 1024
LARGEST_FILE = 64 * 2**20

# What Pillow's decoders raise on damaged files, besides OSError.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@contextmanager
def opened_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture of which only the header is read yet; its size may be checked first.

    Decode it inside the `with`: what Pillow raises there on a damaged file is a `DataError` too.
    `upright` decodes.

    Raises:
        DataError: if there is no such file, or it is no picture, damaged, or too large.
    """
    try:
        # Pillow warns of much that is harmless; what is not, raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(_bytes(path), formats=FORMATS) as image:
                yield image
    except UnidentifiedImageError:
        msg = (
            f"{shown(path)}: this is not a picture that we read (PNG, JPEG, BMP, GIF, TIFF, PGM, "
            "WebP); save it as PNG, or leave it out."
        )
        raise DataError(msg) from None
    except OSError as error:
        # With a number it is the system that refused, without one it is Pillow.
        if error.errno is not None:
            raise DataError(unreadable(path, error)) from None
        raise DataError(_damaged(path, error)) from None
    except _DAMAGE as error:
        raise DataError(_damaged(path, error)) from None


def upright(image: Image.Image) -> None:
    """Decode a picture and turn it, in place, as viewers do: phones store how they were held."""
    ImageOps.exif_transpose(image, in_place=True)


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
        with opened_picture(path) as image:
            _check_side(path, image)
            if getattr(image, "n_frames", 1) > 1:
                self._done.add("Of images with several frames, the first was used.")
            upright(image)
            self._check_size(path, image)
            return self._grey(path, image)

    def notes(self) -> list[str]:
        """Say what was done to the images."""
        return sorted(self._done)

    def _check_size(self, path: Path, image: Image.Image) -> None:
        width, height = image.size
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


def _check_side(path: Path, image: Image.Image) -> None:
    """Refuse a large image by its header, before it is decoded.

    Raises:
        DataError: if it is large.
    """
    width, height = image.size
    if max(width, height) > LARGEST_SIDE:
        msg = (
            f"{shown(path)} is {width}x{height} pixels; more than {LARGEST_SIDE} on a side is "
            "no input for a plain network: scale the images down."
        )
        raise DataError(msg)


def _bytes(path: Path) -> io.BytesIO:
    """Read the whole file, so that a length in it cannot ask for more memory than it has bytes.

    Raises:
        DataError: if there is none, or it is larger than any picture that we read.
    """
    if path.is_dir():
        msg = f"{shown(path)}: this is a folder, not a picture; name the picture's file."
        raise DataError(msg)
    if not path.exists():
        msg = f"{shown(path)}: there is no such picture."
        raise DataError(msg)
    # Opening a pipe would wait for somebody to write to it.
    if not path.is_file():
        msg = f"{shown(path)} cannot be read: it is not a file."
        raise DataError(msg)
    if path.stat().st_size > LARGEST_FILE:
        msg = f"{shown(path)} is larger than {LARGEST_FILE:,} bytes; scale the picture down."
        raise DataError(msg)
    return io.BytesIO(path.read_bytes())


def _damaged(path: Path, error: Exception) -> str:
    reason = brief(error) or type(error).__name__
    return f"{shown(path)} is a damaged picture ({reason}); write it again, or leave it out."
