"""Reading MNIST's four gzipped files. A step reads all of them."""

import gzip
from pathlib import Path

import numpy as np

import normscope as ns
from benchmarks.worker import Pace

HEADERS = {"idx3": 16, "idx1": 8}


def ours(pace: Pace, *, folder: str) -> None:
    """`normscope.load_data`: unpacked, checked, split, framed, float32."""
    while True:
        pace()
        ns.load_data(folder)


def unpacked(pace: Pace, *, folder: str) -> None:
    """NumPy, bytes as they are."""
    while True:
        pace()
        _arrays(folder)


def converted(pace: Pace, *, folder: str) -> None:
    """NumPy, images as float32 from 0 to 1."""
    while True:
        pace()
        for array in _arrays(folder):
            array.astype(np.float32) / 255


def _arrays(folder: str) -> list[np.ndarray]:
    arrays = []
    for path in sorted(Path(folder).glob("*.gz")):
        with gzip.open(path) as file:
            header = next(size for kind, size in HEADERS.items() if kind in path.name)
            arrays.append(np.frombuffer(file.read(), np.uint8, offset=header))
    return arrays
