"""Small data sets written in every format, by other means than the readers use."""

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 3
SIDE = 4


def six(rows: int = 30, dtype: Any = np.float32, seed: int = 0) -> dict[str, np.ndarray]:
    """The article's six arrays: three classes, 4 x 4 pixels, in [-0.5, 0.5] or 0 … 255."""
    random = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for role, count in (("train", rows), ("valid", 6), ("test", 9)):
        pixels = random.integers(0, 256, (count, SIDE, SIDE))
        if np.dtype(dtype).kind == "f":
            pixels = pixels / 255 - 0.5
        arrays[f"{role}_dataset"] = pixels.astype(dtype)
        arrays[f"{role}_labels"] = np.arange(count) % CLASSES
    return arrays


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def idx(array: np.ndarray) -> bytes:
    """An IDX file, from its definition: two zeros, the type 8, the rank, the lengths, the bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, packed: bool = False, prefix: str = "", sep: str = "-") -> Path:
    folder.mkdir(exist_ok=True)
    arrays = six(dtype=np.uint8)
    for role, split in (("train", "train"), ("t10k", "test")):
        for kind, key, rank in (("images", "dataset", 3), ("labels", "labels", 1)):
            data = idx(arrays[f"{split}_{key}"])
            name = f"{prefix}{role}-{kind}{sep}idx{rank}-ubyte" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return folder


def write_npz(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def keras(arrays: dict[str, np.ndarray], *, valid: bool = False) -> dict[str, np.ndarray]:
    return {
        f"{letter}_{role}": arrays[f"{role}_{key}"]
        for role in ("train", "valid", "test")
        for letter, key in (("x", "dataset"), ("y", "labels"))
        if valid or role != "valid"
    }


def npy(header: str | bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An .npy file with any header at all."""
    raw = header.encode("latin1") if isinstance(header, str) else header
    size = struct.pack("<H" if version[0] == 1 else "<I", len(raw))
    return b"\x93NUMPY" + version + size + raw + data


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def npz_members(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    members = {}
    for name, array in arrays.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, array)
        members[f"{name}.npy"] = file.getvalue()
    return members


def write_images(folder: Path, *, per_class: int = 10, suffix: str = "png", seed: int = 0) -> Path:
    """`folder/A/0.png` …: noise, one folder per class."""
    random = np.random.default_rng(seed)
    for name in "ABC":
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.{suffix}")
    return folder


def write_split_images(folder: Path, valid: str = "valid") -> Path:
    for number, split in enumerate(("train", valid, "test")):
        write_images(folder / split, per_class=4, seed=number)
    return folder
