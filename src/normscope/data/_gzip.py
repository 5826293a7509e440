"""Gzip by Intel's ISA-L where it is installed, which takes half of zlib's time; else by zlib."""

import gzip
import zlib

GzipFile: type[gzip.GzipFile] = gzip.GzipFile
DAMAGE: tuple[type[Exception], ...] = (zlib.error, gzip.BadGzipFile)
"""What a damaged file ends in. One that is cut short ends in an `EOFError`."""

try:
    from isal import igzip, isal_zlib
except ImportError:
    pass
else:
    GzipFile = igzip.IGzipFile
    DAMAGE += (isal_zlib.error,)  # type: ignore[operator] # its stubs call a class an instance
