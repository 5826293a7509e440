"""Reading a stranger's pickle without running it.

A pickle is a program for a small stack machine, and two of its instructions call what it names. We
run the machine with those two taken out and only inert things in: `Name` for the handful of NumPy
names that stored arrays mention, `Type` and `Stored` for what they stand for. Nothing is imported,
nothing outside this file is called, and NumPy sees a buffer after its type and length are known.
"""

import math
import pickle
import pickletools
import re
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from normscope.data._stream import Stream
from normscope.data._text import brief

# An array takes some fifty instructions; labels in a plain list take one each.
MOST_INSTRUCTIONS = 1_000_000

_TYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")

# What a machine on damaged or hostile input can end in; the rest would be a fault of ours.
DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class RefusedError(Exception):
    """The pickle asks for something that arrays do not need."""


class Name(Enum):
    """A name that pickled arrays mention. It does nothing; `_Machine` knows what it stands for."""

    NDARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    RECONSTRUCT = "numpy.core.multiarray._reconstruct"
    SCALAR = "numpy.core.multiarray.scalar"
    FROMBUFFER = "numpy.core.numeric._frombuffer"
    ENCODE = "_codecs.encode"
    BYTES = "builtins.bytes"


_NAMES = {name.value: name for name in Name} | {
    "numpy._core.multiarray._reconstruct": Name.RECONSTRUCT,
    "numpy._core.multiarray.scalar": Name.SCALAR,
    "numpy._core.numeric._frombuffer": Name.FROMBUFFER,
    "__builtin__.bytes": Name.BYTES,
}


_OPCODES = {opcode.code: opcode.name for opcode in pickletools.opcodes}


class Type:
    """What stands for a dtype: a kind and size from `_TYPE`, and a byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str):
        self.code = code
        self.order = "="

    def resolved(self) -> np.dtype[Any]:
        """Give the NumPy type."""
        return np.dtype(self.order + self.code)


class Stored:
    """What stands for an array until the stream has told its state."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray[Any, Any] | None = None


def unpickle(stream: Stream) -> object:
    """Read one object made of dicts, lists, tuples, numbers, text, bytes and `Stored` arrays.

    Args:
        stream: the pickle, of any protocol from 0 to 5, from Python 2 or 3.

    A `RefusedError` says that it asks for anything but arrays and plain containers, and one of
    `DAMAGE` that it is no pickle or ends early.

    Raises:
        UnpicklingError: if it goes on after its end.
    """
    with warnings.catch_warnings():
        # codecs warns of escapes in text that no pickler writes.
        warnings.simplefilter("ignore")
        content = _Machine(stream).load()
    if stream.has_more():
        msg = "bytes follow its end"
        raise pickle.UnpicklingError(msg)
    return content


class _Instructions(dict[int, Callable[[Any], None]]):
    """The instructions that the machine knows. Looking one up counts it."""

    left = MOST_INSTRUCTIONS

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            msg = f"runs more than {MOST_INSTRUCTIONS:,} instructions"
            raise RefusedError(msg)
        if code not in self:
            known = _OPCODES.get(chr(code))
            msg = f"uses the instruction {known or hex(code)}"
            raise RefusedError(msg)
        return super().__getitem__(code)


# The machine in Python, not the faster one in C: that one allocates for the largest memo index that
# a pickle mentions, and has no table of instructions to shorten. Arrays take few instructions.
class _Machine(pickle._Unpickler):  # noqa: SLF001 - joblib builds on it as well
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def __init__(self, stream: Stream):
        # As bytes, Python 2's strings need no second copy to become a buffer.
        super().__init__(stream, encoding="bytes")
        self._stream = stream
        self._encoded = 0
        self.dispatch = _Instructions(_INSTRUCTIONS)  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Name:
        """Stand in for the import that a pickle asks for.

        Raises:
            RefusedError: if arrays do not need it.
        """
        found = _NAMES.get(f"{module}.{name}")
        if found is None or "." in name:
            msg = f"asks for {brief(f'{module}.{name}')}"
            raise RefusedError(msg)
        return found

    def reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        call = _CALLS.get(function) if type(function) is Name else None
        if call is None or type(arguments) is not tuple:
            msg = f"calls {_called(function)}"
            raise RefusedError(msg)
        self.stack[-1] = call(self, *arguments)

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(state) is not tuple:
            msg = f"sets the state of a {type(target).__name__} to something odd"
            raise RefusedError(msg)
        if type(target) is Type:
            _set_type(target, *state)
        elif type(target) is Stored:
            _set_array(target, *state)
        else:
            msg = f"sets the state of a {type(target).__name__}"
            raise RefusedError(msg)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            msg = f"sets items of a {type(target).__name__}"
            raise RefusedError(msg)
        for key in items[::2]:
            # Hashing text is safe; hashing a tuple nested a million times ends the process.
            if not (type(key) in {str, bytes} or (type(key) is int and abs(key) < 2**31)):
                msg = f"has a {type(key).__name__} as a key"
                raise RefusedError(msg)
        target.update(zip(items[::2], items[1::2], strict=True))

    def set_item(self) -> None:
        value = self.stack.pop()
        self.set_items([self.stack.pop(), value])

    def set_many(self) -> None:
        self.set_items(self.pop_mark())

    def new_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.set_items(items)

    def bytes8(self) -> None:
        # For a bytearray, pickle allocates what is announced before it looks at what is there.
        self.stack.append(self.read(int.from_bytes(self.read(8), "little")))

    def encode(self, text: str, codec: str | bytes) -> bytes:
        """Undo what Python 3 does to bytes in the old protocols.

        Raises:
            RefusedError: if it is asked for more.
        """
        if type(text) is not str or _text(codec) != "latin1":
            msg = "encodes something else than text as latin1"
            raise RefusedError(msg)
        # Text that was read once may be encoded once: no memory beyond that of the file.
        self._encoded += len(text)
        if self._encoded > self._stream.position:
            msg = "encodes the same text again and again"
            raise RefusedError(msg)
        return text.encode("latin1")


def _type(_: _Machine, code: object, *_flags: object) -> Type:
    text = _text(code)
    if not _TYPE.fullmatch(text):
        msg = f"stores an array of type {brief(text)}, not of plain numbers"
        raise RefusedError(msg)
    kind = Type(text.lstrip("<>|="))
    kind.order = text[0] if text[0] in "<>" else "="
    return kind


def _text(text: object) -> str:
    if type(text) is bytes:
        return text.decode("latin1")
    if type(text) is not str:
        msg = f"gives a {type(text).__name__} where a word belongs"
        raise RefusedError(msg)
    return text


def _set_type(kind: Type, _version: object, order: object, *rest: object) -> None:
    mark = _text(order)
    # rest: subarray, field names, fields, size, alignment, flags. Plain numbers have none of these.
    if mark not in {"<", ">", "|", "="} or any(part is not None for part in rest[:3]):
        msg = "stores an array of records, not of plain numbers"
        raise RefusedError(msg)
    kind.order = mark if mark in "<>" else "="


def _empty(_: _Machine, subtype: object, _shape: object, _code: object) -> Stored:
    if subtype is not Name.NDARRAY:
        msg = f"builds {_called(subtype)}"
        raise RefusedError(msg)
    return Stored()


def _set_array(
    target: Stored, _version: object, shape: object, kind: object, fortran: object, data: object
) -> None:
    target.array = _array(shape, kind, "F" if fortran else "C", data)


def _from_buffer(_: _Machine, data: object, kind: object, shape: object, order: object) -> Stored:
    stored = Stored()
    stored.array = _array(shape, kind, _text(order), data)
    return stored


def _scalar(_: _Machine, kind: object, data: object) -> int | float:
    value: int | float = _array((), kind, "C", data).item()
    return value


def _array(shape: object, kind: object, order: str, data: object) -> np.ndarray[Any, Any]:
    """View `data` as an array.

    Raises:
        RefusedError: if a part of its description does not hold.
    """
    if type(kind) is not Type or type(data) is not bytes or order not in {"C", "F"}:
        msg = "describes an array that NumPy would not have written"
        raise RefusedError(msg)
    if type(shape) is not tuple or not all(_is_length(length) for length in shape[:9]):
        msg = "gives an array a shape that is no shape"
        raise RefusedError(msg)
    dtype = kind.resolved()
    if math.prod(shape) * dtype.itemsize != len(data):
        msg = f"gives an array of shape {list(shape)} and type {dtype} {len(data):,} bytes"
        raise RefusedError(msg)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


def _is_length(length: object) -> bool:
    return type(length) is int and 0 <= length < 2**48


def _called(thing: object) -> str:
    # Never repr: of a tuple of tuples of tuples, each twice the same, it takes all memory.
    return thing.value if type(thing) is Name else f"a {type(thing).__name__}"


def _no_bytes(_: _Machine) -> bytes:
    return b""


_CALLS: dict[Name, Callable[..., object]] = {
    Name.DTYPE: _type,
    Name.RECONSTRUCT: _empty,
    Name.SCALAR: _scalar,
    Name.FROMBUFFER: _from_buffer,
    Name.ENCODE: _Machine.encode,
    Name.BYTES: _no_bytes,
}

# Left out: what imports by number (EXT), calls by other means (INST, OBJ, NEWOBJ), reaches outside
# (PERSID, NEXT_BUFFER), or builds sets, which need hashing and hold no array.
_INHERITED = """
    PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT GLOBAL STACK_GLOBAL
"""


def _instructions() -> dict[int, Callable[[Any], None]]:
    inherited = pickle._Unpickler.dispatch  # noqa: SLF001
    return {
        getattr(pickle, name)[0]: inherited[getattr(pickle, name)[0]] for name in _INHERITED.split()
    } | {
        pickle.REDUCE[0]: _Machine.reduce,
        pickle.BUILD[0]: _Machine.build,
        pickle.SETITEM[0]: _Machine.set_item,
        pickle.SETITEMS[0]: _Machine.set_many,
        pickle.DICT[0]: _Machine.new_dict,
        pickle.BYTEARRAY8[0]: _Machine.bytes8,
    }


_INSTRUCTIONS = _instructions()
