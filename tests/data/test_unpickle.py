"""Hostile pickles. Some would run something, and a control shows that they do; some eat memory."""

import codecs
import contextlib
import copyreg
import gzip
import os
import pickle
import struct
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normscope._errors import DataError
from normscope.data import load
from normscope.data._unpickle import MOST_INSTRUCTIONS
from tests.data.build import six
from tests.data.claims import assert_sound, assert_teaches, refusal

MIB = 2**20
HERE = "tests.data.test_unpickle"


class Calls:
    """Pickles as a call, and a state for what comes back."""

    def __init__(self, function: Any, *arguments: Any, **state: Any):
        self.call = (function, arguments, *state.values())

    def __reduce__(self) -> Any:
        return self.call


class MakesAtBirth:
    def __new__(cls, path: str) -> "MakesAtBirth":
        Path(path).mkdir()
        return super().__new__(cls)


class MakesByState:
    def __setstate__(self, path: str) -> None:
        Path(path).mkdir()


class MakesByAttribute:
    def __setattr__(self, name: str, path: str) -> None:
        Path(path).mkdir()


class MakesByItems:
    def __setitem__(self, key: str, path: str) -> None:
        Path(path).mkdir()

    def append(self, path: str) -> None:
        Path(path).mkdir()


class MakesAsArray(np.ndarray):
    def __setstate__(self, state: Any) -> None:
        Path(state).mkdir()


def text(word: str | Path) -> bytes:
    data = str(word).encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def programs(canary: Path) -> dict[str, bytes]:
    """Pickles that make the folder `canary` when they are run."""
    path, mkdir, old = text(canary), b"cos\nmkdir\n", f"S'{canary}'\n".encode()
    shell, python = f"mkdir {canary}", f"__import__('os').mkdir({str(canary)!r})"
    born = f"c{HERE}\nMakesAtBirth\n".encode()
    call = b"\x80\x02" + mkdir + path + b"\x85R"
    empty = six()
    return {
        "os.mkdir": pickle.dumps(Calls(os.mkdir, str(canary))),
        "os.mkdir, protocol 0": mkdir + b"(" + old + b"tR.",
        "os.system": pickle.dumps(Calls(os.system, shell)),
        "subprocess": pickle.dumps(Calls(subprocess.check_call, shell.split())),
        "eval": pickle.dumps(Calls(eval, python)),
        "exec by its Python 2 name": b"c__builtin__\nexec\n(" + text(python) + b"tR.",
        "getattr": b"\x80\x04"
        + name("builtins", "getattr")
        + name("os.path", "os")
        + text("mkdir")
        + b"\x86R"
        + path
        + b"\x85R.",
        "dotted name": b"\x80\x04" + name("os.path", "os.mkdir") + path + b"\x85R.",
        "dotted name in an allowed module": b"\x80\x04"
        + name("numpy", "testing._private.utils.os.mkdir")
        + path
        + b"\x85R.",
        "numpy.save": pickle.dumps(Calls(np.save, str(canary), np.zeros(1))),
        "map": pickle.dumps(Calls(list, Calls(map, eval, [python]))),
        "INST": b"(" + old + b"ios\nmkdir\n.",
        "OBJ": b"(" + mkdir + old + b"o.",
        "NEWOBJ": b"\x80\x02" + born + path + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + born + b")}" + text("path") + path + b"s\x92.",
        "BUILD with __setstate__": pickle.dumps(Calls(MakesByState, state=str(canary))),
        "BUILD with slots": pickle.dumps(Calls(MakesByAttribute, state=(None, {"a": str(canary)}))),
        "SETITEM": pickle.dumps(Calls(MakesByItems))[:-1] + text("a") + path + b"s.",
        "APPEND": pickle.dumps(Calls(MakesByItems))[:-1] + path + b"a.",
        "EXT1": b"\x80\x02\x82\xc8" + path + b"\x85R.",
        "codec": b"\x80\x02c_codecs\nencode\n" + path + text("normscope_hostile") + b"\x86R.",
        "a subclass of ndarray": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
        + f"c{HERE}\nMakesAsArray\n".encode()
        + b"K\x00\x85C\x01b\x87R"
        + path
        + b"b.",
        "in a data set": pickle.dumps(empty | {"save": Calls(os.mkdir, str(canary))}),
        "as a label": pickle.dumps(empty | {"train_labels": [Calls(os.mkdir, str(canary))]}),
        "as a key": b"\x80\x02}" + call[2:] + b"K\x01s.",
        "after a sound data set": pickle.dumps(empty, 2)[:-1] + b"0" + call[2:] + b".",
        "before a sound data set": call + b"0" + pickle.dumps(empty, 2)[2:],
    }


CASES = list(programs(Path("x")))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Where programs would leave a trace; there is an extension and a codec to abuse."""
    path = tmp_path / "canary"

    def codec(found: str) -> codecs.CodecInfo | None:
        def encode(word: str, errors: str = "strict") -> tuple[bytes, int]:
            Path(word).mkdir()
            return b"", len(word)

        ours = found == "normscope_hostile"
        return codecs.CodecInfo(encode, None) if ours else None  # type: ignore[arg-type]

    copyreg.add_extension("os", "mkdir", 200)
    codecs.register(codec)
    yield path
    codecs.unregister(codec)
    copyreg.remove_extension("os", "mkdir", 200)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, canary: Path, case: str, packed: bool) -> None:
    data = programs(canary)[case]
    path = tmp_path / "set.pickle"
    path.write_bytes(gzip.compress(data) if packed else data)
    refusal(path, "nothing in it was run")
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.pickle"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_control_pickle_runs_it(tmp_path: Path, canary: Path, case: str) -> None:
    # What it returns is of no interest: that it acted is.
    with contextlib.suppress(Exception):
        pickle.loads(programs(canary)[case])
    assert list(tmp_path.iterdir())


def doubled(times: int) -> bytes:
    """A tuple of twice a tuple of twice …: small, unless it is written out, hashed or walked."""
    return b")" + b"2\x86" * times


def array(
    shape: bytes = b"K\x02\x85",
    kind: bytes = b"U\x02u1",
    *,
    state: bytes = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    fortran: bytes = b"\x89",
    data: bytes = b"C\x02ab",
    subtype: bytes = b"cnumpy\nndarray\n",
) -> bytes:
    """An array of two bytes as pickled, of which any part can be exchanged."""
    dtype = b"cnumpy\ndtype\n" + kind + b"K\x00K\x01\x87R" + state
    head = b"cnumpy.core.multiarray\n_reconstruct\n" + subtype + b"K\x00\x85U\x01b\x87R"
    return b"\x80\x02" + head + b"(K\x01" + shape + dtype + fortran + data + b"tb."


# Few bytes that ask for much memory, a deep stack, or an array that is not there.
EATERS = {
    "memo index of 2**31": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "memo index of 2**31 by text": b"Np2147483647\n.",
    "memo index that is not there": b"\x80\x02h\x05.",
    "BINBYTES of 4 GiB": b"\x80\x03B\xff\xff\xff\xffab.",
    "BINBYTES8 of 2**40": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"ab.",
    "BINBYTES8 of 2**64 - 1": b"\x80\x04\x8e" + b"\xff" * 8 + b"ab.",
    "BINUNICODE of 4 GiB": b"\x80\x02X\xff\xff\xff\xffab.",
    "BINUNICODE8 of 2**40": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"ab.",
    "BYTEARRAY8 of 2**40": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"ab.",
    "BYTEARRAY8 of 4 GiB": b"\x80\x05\x96" + struct.pack("<Q", 2**32) + b"ab.",
    "BINSTRING of -1": b"\x80\x02T\xff\xff\xff\xffab.",
    "BINSTRING of 2 GiB": b"\x80\x02T\xff\xff\xff\x7fab.",
    "LONG4 of 2 GiB": b"\x80\x02\x8b\xff\xff\xff\x7fab.",
    "LONG4 of -1": b"\x80\x02\x8b\xff\xff\xff\xffab.",
    "LONG of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "FRAME of 2**62": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "frame in a frame": b"\x80\x04\x95" + struct.pack("<Q", 30) + b"\x95" * 40 + b".",
    "line without an end": b"c" + b"a" * 100_000,
    "tuples, deep": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "lists, deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "dicts, deep": b"\x80\x02" + b"}N" * 100 + b"K\x00}" * 30_000 + b"s" * 30_000 + b".",
    "marks, deep": b"\x80\x02" + b"(" * 100_000 + b".",
    "a deep tuple as a key": b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
    "a doubled tuple as a key": b"\x80\x02}" + doubled(64) + b"Ns.",
    "a doubled tuple as a label": b"\x80\x02}U\x0ctrain_labels" + doubled(64) + b"s.",
    "a doubled tuple as a shape": array(shape=doubled(64)),
    "a doubled tuple as a dtype": array(kind=doubled(64)),
    "a deep tuple as a byte order": array(state=b"(K\x03)" + b"\x85" * 100_000 + b"NNNtb"),
    "a doubled tuple as an order": array(fortran=doubled(64), data=doubled(64)),
    "a doubled tuple as a subtype": array(subtype=doubled(64)),
    "a doubled tuple as a codec": b"c_codecs\nencode\n" + text("a") + doubled(64) + b"\x86R.",
    "a doubled tuple as a function": doubled(64) + b")R.",
    "a set": b"\x80\x04\x8f(" + b"N" * 1000 + b"\x90.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "persistent id": b"Pabc\n.",
    "persistent id, binary": b"\x80\x02NQ.",
    "unregistered extension": b"\x80\x02\x84\x01\x02\x03\x04.",
    "itself in itself": b"\x80\x02]q\x00h\x00a.",
    "text encoded without an end": b"\x80\x02"
    + text("a" * 100_000)
    + b"q\x000"
    + b"c_codecs\nencode\nh\x00U\x06latin1\x86R" * 5_000
    + b".",
    "attributes of a name": b"cnumpy\nndarray\n}U\x05valueNsb.",
    "attributes of a name by slots": b"cnumpy\nndarray\nN}X\x05\x00\x00\x00valueNs\x86b.",
    "extending a name": b"cnumpy\nndarray\n(NNe.",
    "popping what is not there": b"0000.",
    "an array of 2**48": array(shape=b"\x8a\x07" + (2**48).to_bytes(7, "little") + b"\x85"),
    "a shape that overflows": array(shape=b"\x8a\x06" + b"\xff" * 5 + b"\x00" + b"2\x86"),
    "a shape that overflows to nothing": array(
        shape=b"(K\x00" + b"\x8a\x06" + b"\xff" * 5 + b"\x00" + b"222t", data=b"U\x00"
    ),
    "a negative shape": array(shape=b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86"),
    "a shape of a bool": array(shape=b"\x88K\x02\x86"),
    "a shape of 70 dimensions": array(shape=b"(" + b"K\x01" * 69 + b"K\x02t"),
    "more bytes than the shape": array(data=b"C\x03abc"),
    "fewer bytes than the shape": array(data=b"C\x01a"),
    "an array of text": array(data=text("ab")),
    "objects": array(kind=b"U\x02O8"),
    "strings": array(kind=b"U\x02S2", shape=b"K\x01\x85"),
    "records": array(kind=b"U\x02V2", shape=b"K\x01\x85"),
    "times": array(kind=b"U\x02M8"),
    "long doubles": array(kind=b"U\x03f16"),
    "a subarray of objects": array(state=b"(K\x03U\x01|U\x02O8NNJ\xff\xff\xff\xffK\x01K\x00tb"),
    "fields": array(state=b"(K\x03U\x01|NU\x01a}K\x01K\x01K\x00tb"),
    "no state for the dtype": array(state=b"Nb"),
    "an array without content": b"\x80\x02}U\x0dtrain_dataset" + array()[2 : -3 - 40] + b"s.",
}


@pytest.mark.parametrize("case", EATERS)
def test_a_small_file_takes_little(tmp_path: Path, case: str) -> None:
    path = tmp_path / "set.pickle"
    path.write_bytes(EATERS[case])
    tracemalloc.start()
    try:
        refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * MIB


def test_the_array_that_the_eaters_vary_is_sound(tmp_path: Path) -> None:
    """The control: with nothing exchanged, it is read, and only the dict around it is missing."""
    path = tmp_path / "set.pickle"
    path.write_bytes(array())
    refusal(path, "holds an array; a data set is one dict")


def test_a_gzip_bomb_of_a_gibibyte_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "set.pickle"
    path.write_bytes(gzip.compress(b"\x80\x02") + gzip.compress(b"]" * (16 * MIB)) * 64)
    refusal(path, f"more than {MOST_INSTRUCTIONS:,} instructions")


def test_a_gzip_bomb_with_a_length(tmp_path: Path) -> None:
    path = tmp_path / "set.pickle"
    head = gzip.compress(b"\x80\x04\x8e" + struct.pack("<Q", 2**30))
    path.write_bytes(head + gzip.compress(bytes(16 * MIB)) * 64)
    tracemalloc.start()
    try:
        refusal(path, "bytes are announced")
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_no_pickle_changes_how_the_next_is_read(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "set.pickle"
    for data in [*list(EATERS.values())[::4], *programs(canary).values()]:
        path.write_bytes(data)
        with pytest.raises(DataError) as caught:
            load(path)
        assert_teaches(caught.value)
    path.write_bytes(pickle.dumps(six()))
    assert_sound(load(path))
