"""Every format, corrupted in every way we could think of, with fixed seeds.

Each outcome is a sound data set, where the corruption did no harm (a flipped bit of a pixel), or a
`DataError` of one sentence that names the file. No other exception, no warning, little memory.
Corruptions that cannot be harmless are `strict`: these must be refused.
"""

import gzip
import pickle
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normscope._errors import DataError
from normscope.data import load
from normscope.data._limits import FLOOR
from tests.data.build import (
    idx,
    keras,
    npz_members,
    six,
    write_idx,
    write_images,
    write_npz,
    write_pickle,
    write_split_images,
    write_zip,
)
from tests.data.claims import assert_sound, assert_teaches

SEEDS = range(5)
MORE_SEEDS = range(5, 50)
# What a compressed file may announce, and no more than a little beside it.
MOST_MEMORY = FLOOR + 16 * 2**20

Random = np.random.Generator


def sound_source(kind: str, folder: Path) -> Path:
    """One small data set of each format."""
    writers: dict[str, Callable[[], Path]] = {
        "pickle": lambda: write_pickle(folder / "set.pickle", six(), 4),
        "pickle0": lambda: write_pickle(folder / "set.pickle", six(), 0),
        "pickle2": lambda: write_pickle(folder / "set.pickle", six(), 2),
        "pickle.gz": lambda: packed(write_pickle(folder / "set.pickle.gz", six(), 5)),
        "npz": lambda: write_npz(folder / "set.npz", six(dtype=np.uint8)),
        "npz, stored": lambda: write_zip(
            folder / "set.npz", npz_members(six()), zipfile.ZIP_STORED
        ),
        "keras": lambda: write_npz(folder / "set.npz", keras(six(dtype=np.uint8))),
        "idx": lambda: write_idx(folder / "set"),
        "idx.gz": lambda: write_idx(folder / "set", packed=True),
        "images": lambda: write_images(folder / "set", per_class=4),
        "bmp images": lambda: write_images(folder / "set", per_class=4, suffix="bmp"),
        "jpg images": lambda: write_images(folder / "set", per_class=4, suffix="jpg"),
        "tiff images": lambda: write_images(folder / "set", per_class=4, suffix="tiff"),
        "gif images": lambda: write_images(folder / "set", per_class=4, suffix="gif"),
        "split images": lambda: write_split_images(folder / "set"),
    }
    return writers[kind]()


KINDS = [
    "pickle", "pickle0", "pickle2", "pickle.gz", "npz", "npz, stored", "keras", "idx", "idx.gz",
    "images", "bmp images", "jpg images", "tiff images", "gif images", "split images",
]  # fmt: skip


def packed(path: Path) -> Path:
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return path


def victim(source: Path, random: Random) -> Path:
    """One file of the source."""
    if source.is_file():
        return source
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return files[random.integers(len(files))]


def truncate(data: bytes, random: Random) -> bytes:
    return data[: random.integers(len(data))]


def flip_a_bit(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    changed[random.integers(len(data))] ^= 1 << random.integers(8)
    return bytes(changed)


def flip_early_bits(data: bytes, random: Random) -> bytes:
    """Where headers are."""
    changed = bytearray(data)
    for place in random.integers(min(64, len(data)), size=3):
        changed[place] ^= 1 << random.integers(8)
    return bytes(changed)


def flip_late_bits(data: bytes, random: Random) -> bytes:
    """Where checksums and directories are."""
    changed = bytearray(data)
    for place in random.integers(min(64, len(data)), size=3):
        changed[-1 - place] ^= 1 << random.integers(8)
    return bytes(changed)


def overwrite_a_run(data: bytes, random: Random) -> bytes:
    start = random.integers(len(data))
    run = random.bytes(int(random.integers(1, 40)))
    return data[:start] + run + data[start + len(run) :]


def drop_a_run(data: bytes, random: Random) -> bytes:
    start = random.integers(len(data))
    return data[:start] + data[start + random.integers(1, 40) :]


def double_a_run(data: bytes, random: Random) -> bytes:
    start, size = random.integers(len(data)), random.integers(1, 40)
    return data[: start + size] + data[start:]


def all_ones(data: bytes, random: Random) -> bytes:
    """Lengths become as large as they can be."""
    start = random.integers(len(data))
    return data[:start] + b"\xff" * 8 + data[start + 8 :]


def random_bytes(data: bytes, random: Random) -> bytes:
    return random.bytes(len(data))


def random_tail(data: bytes, random: Random) -> bytes:
    start = min(len(data), int(random.integers(1, 200)))
    return data[:start] + random.bytes(len(data) - start)


def append_bytes(data: bytes, random: Random) -> bytes:
    return data + random.bytes(5)


def empty(data: bytes, random: Random) -> bytes:
    return b""


def pack_twice(data: bytes, random: Random) -> bytes:
    return gzip.compress(gzip.compress(data))


BYTES = [
    truncate, flip_a_bit, flip_early_bits, flip_late_bits, overwrite_a_run, drop_a_run,
    double_a_run, all_ones, random_bytes, random_tail, append_bytes, empty, pack_twice,
]  # fmt: skip


def outcome(source: Path) -> str | None:
    """Load; give the refusal's sentence, or None for a sound data set. All else fails the test."""
    tracemalloc.start()
    try:
        data = load(source)
    except DataError as error:
        assert_teaches(error, source.name)
        return str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_MEMORY
    assert_sound(data)
    return None


def must_refuse(kind: str, corrupt: Callable[[bytes, Random], bytes]) -> bool:
    """Whether no harmless outcome exists: nothing tolerates these in this format."""
    if corrupt in {random_bytes, empty, pack_twice}:
        return True
    if corrupt is truncate:
        # Image formats may end in bytes that nobody needs.
        return not kind.endswith("images")
    # Pickles and IDX files end where they end; the other formats have room behind their end.
    return corrupt is append_bytes and kind.startswith(("pickle", "idx"))


def corrupt_and_load(
    sound: Path, kind: str, corrupt: Callable[[bytes, Random], bytes], seed: int
) -> None:
    random = np.random.default_rng([seed, BYTES.index(corrupt), KINDS.index(kind)])
    path = victim(sound, random)
    data = path.read_bytes()
    path.write_bytes(corrupt(data, random))
    sentence = outcome(sound)
    if must_refuse(kind, corrupt):
        assert sentence is not None, seed
    path.write_bytes(data)


@pytest.mark.parametrize("corrupt", BYTES, ids=lambda corrupt: corrupt.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_corrupted_bytes(
    tmp_path: Path, kind: str, corrupt: Callable[[bytes, Random], bytes]
) -> None:
    sound = sound_source(kind, tmp_path)
    for seed in SEEDS:
        corrupt_and_load(sound, kind, corrupt, seed)
    # The control: put back as it was, it loads.
    assert outcome(sound) is None


@pytest.mark.slow
@pytest.mark.parametrize("corrupt", BYTES, ids=lambda corrupt: corrupt.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_many_more_corrupted_bytes(
    tmp_path: Path, kind: str, corrupt: Callable[[bytes, Random], bytes]
) -> None:
    sound = sound_source(kind, tmp_path)
    for seed in MORE_SEEDS:
        corrupt_and_load(sound, kind, corrupt, seed)


def replaced(**changes: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = six()
    for key, change in changes.items():
        arrays[key] = change(arrays[key])
    return arrays


def put(index: Any, value: Any, dtype: Any = None) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        changed = array.astype(dtype or array.dtype)
        changed[index] = value
        return changed

    return change


def broken_contents() -> dict[str, dict[str, Any]]:
    """Sound files of unsound arrays: whichever file holds them, they must be refused."""
    found: dict[str, dict[str, Any]] = {}
    for role in ("train", "valid", "test"):
        images, labels = f"{role}_dataset", f"{role}_labels"
        arrays = six()
        changes: dict[str, dict[str, Any]] = {
            "nan": replaced(**{images: put((2, 1, 1), np.nan)}),
            "inf": replaced(**{images: put((2, 1, 1), np.inf)}),
            "too large": replaced(**{images: put((2, 1, 1), 1e300, float)}),
            "256": replaced(**{images: put((2, 1, 1), 256, np.int16)}),
            "106": replaced(**{labels: put(4, 106)}),
            "negative": replaced(**{labels: put(4, -1)}),
            "half": replaced(**{labels: put(4, 0.5, float)}),
            "nan label": replaced(**{labels: put(4, np.nan, float)}),
            "huge label": replaced(**{labels: put(4, 2**62)}),
            "rows": replaced(**{labels: lambda array: array[:-1]}),
            "size": replaced(**{images: lambda array: np.pad(array, ((0, 0), (0, 1), (0, 0)))}),
            "empty": replaced(**{images: lambda array: array[:0], labels: lambda array: array[:0]}),
            "colour": replaced(**{images: lambda array: np.stack([array] * 3, axis=-1)}),
            "objects": replaced(**{labels: lambda array: array.astype(object)}),
            "text": replaced(**{labels: lambda array: array.astype(str)}),
            "complex": replaced(**{images: lambda array: array.astype(complex)}),
            "times": replaced(**{labels: lambda array: array.astype("M8[s]")}),
            "swapped": arrays | {images: arrays[labels], labels: arrays[images]},
            "two hot": replaced(**{labels: lambda array: np.ones((len(array), 3))}),
            "missing": {key: array for key, array in arrays.items() if key != images},
            "missing label": {key: array for key, array in arrays.items() if key != labels},
            "scalar": replaced(**{labels: lambda array: array[0]}),
        }
        found |= {f"{role}: {name}": change for name, change in changes.items()}
    found["train: no class 1"] = replaced(train_labels=lambda array: array * 2)
    found["train: one class"] = replaced(train_labels=lambda array: array * 0)
    return found


BROKEN = broken_contents()


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("form", ["pickle", "pickle2", "npz"])
def test_unsound_arrays_are_refused(tmp_path: Path, form: str, case: str) -> None:
    path = tmp_path / "set"
    if form == "npz":
        # Opened by us: NumPy would add the suffix to a name.
        with path.open("wb") as file:
            np.savez(file, **BROKEN[case])
    else:
        path.write_bytes(pickle.dumps(BROKEN[case], 4 if form == "pickle" else 2))
    assert outcome(path) is not None


def remove(source: Path, path: Path) -> None:
    path.unlink()


def become_a_folder(source: Path, path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_dangling_link(source: Path, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def become_a_link_to_itself(source: Path, path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def swap_with_another(source: Path, path: Path) -> None:
    files = sorted(other for other in source.rglob("*") if other.is_file())
    other = files[files.index(path) - len(files) // 2]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def double(source: Path, path: Path) -> None:
    shutil.copy(path, path.with_name(f"copy-{path.name}"))


def text_beside(source: Path, path: Path) -> None:
    path.with_name("notes.txt").write_text("hello")


FILES = [
    remove, become_a_folder, become_a_dangling_link, become_a_link_to_itself, swap_with_another,
    double, text_beside,
]  # fmt: skip
HARMLESS = {
    # One image more or less, or another image in its place, is still a set of images.
    "images": {remove, swap_with_another, double},
    # Two files of the same length under each other's name cannot be told from the right ones.
    "idx": {text_beside},
}


@pytest.mark.parametrize("corrupt", FILES, ids=lambda corrupt: corrupt.__name__)
@pytest.mark.parametrize("kind", ["idx", "idx.gz", "images", "split images"])
def test_files_moved_about(
    tmp_path: Path, kind: str, corrupt: Callable[[Path, Path], None]
) -> None:
    harmless = corrupt in HARMLESS["images" if kind.endswith("images") else "idx"]
    for seed in range(4):
        source = sound_source(kind, tmp_path)
        corrupt(source, victim(source, np.random.default_rng(seed)))
        sentence = outcome(source)
        assert harmless or sentence is not None
        shutil.rmtree(source)


def test_there_are_enough_of_them() -> None:
    strict = sum(must_refuse(kind, corrupt) for kind in KINDS for corrupt in BYTES) * len(SEEDS)
    assert len(KINDS) * len(BYTES) * len(SEEDS) > 900
    assert strict + 3 * len(BROKEN) > 400


@pytest.mark.parametrize("seed", range(6))
def test_every_byte_of_a_header(tmp_path: Path, seed: int) -> None:
    """Every byte of an IDX header, set to something else, is noticed."""
    folder = write_idx(tmp_path / "set")
    path = folder / "train-images-idx3-ubyte"
    data = idx(six(dtype=np.uint8)["train_dataset"])
    random = np.random.default_rng(seed)
    for place in range(16):
        changed = bytearray(data)
        changed[place] ^= random.integers(1, 256)
        path.write_bytes(bytes(changed))
        assert outcome(folder) is not None
