"""Reads the pickles of RLBench's data sets without running them: a machine of the few operations they need, which makes only data.

Python's own ``pickle`` imports and calls what a file names. This imports and calls nothing: a name is one of the few below or refused, and
what would be an object is a record of its fields. What a file can cost is bounded: its bytes and operations; arrays are views of it.
"""

import io
import math
import os
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DemoError

LARGEST_FILE = 1 << 26
"""bytes; a demonstration of 1000 frames has 4 MB"""
MOST_OPERATIONS = 4_000_000
"""a demonstration of 1000 frames has 800 thousand"""
LONGEST_KEY = 200
"""characters"""
DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
DEMO, OBSERVATION = "rlbench.demo.Demo", "rlbench.backend.observation.Observation"
_NUMPY = {f"{home}.{name}" for home in ("numpy.core.multiarray", "numpy._core.multiarray") for name in ("_reconstruct", "scalar")}
_BUFFER = {f"{home}._frombuffer" for home in ("numpy.core.numeric", "numpy._core.numeric")}
KNOWN = {DEMO, OBSERVATION, "numpy.ndarray", "numpy.dtype", *_NUMPY, *_BUFFER}


class Refused(Exception):  # noqa: N818 - reads better at the raise
    """What a file asks for is not done."""


@dataclass(frozen=True)
class Name:
    """A class or function that the file names: one of ``KNOWN``."""

    name: str


@dataclass(eq=False)
class Record:
    """An object of RLBench: the name of its class, and its fields."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Type:
    """A numpy type that is being made."""

    code: str
    dtype: np.dtype


@dataclass(eq=False)
class Array:
    """A numpy array that is being made."""

    values: NDArray | None = None


def load(path: Path) -> Any:
    """What is in a pickle: ``Record``, ``Array``, and Python's numbers, strings, lists, tuples and dicts.

    Raises:
        DemoError: it cannot be read, is none, or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_FILE:
                raise Refused(f"it has more than {LARGEST_FILE >> 20} MB")
            return _Machine().run(file.read(size))
    except OSError as error:
        raise DemoError(f"{path} cannot be read: {error.strerror or error}") from None
    except Refused as error:
        raise DemoError(f"{path} is refused: {error}. Pickles can run code; only what RLBench itself writes is read") from None
    except (ValueError, IndexError, TypeError, OverflowError, MemoryError, UnicodeError, AttributeError) as error:
        raise DemoError(f"{path} is no pickle of RLBench, or it is damaged ({str(error)[:100]})") from None


class _Machine:
    """Runs the operations of one pickle, protocols 3 to 5, on a stack of its own: however deep something nests, nothing here recurses."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        stream = io.BytesIO(data)
        for _ in range(MOST_OPERATIONS):
            code = stream.read(1).decode("latin-1")
            operation = _BY_CODE.get(code)
            if operation is None:
                raise ValueError(f"it has no operation {code!r}" if code else "it has no end")
            name = operation.name
            if name == "STOP":
                return self.pop()
            if name not in _PUSHED and name not in _OPERATIONS:
                raise Refused(f"it has the operation {name}")
            argument = operation.arg.reader(stream) if operation.arg else None
            if name in _PUSHED:
                self.stack.append(argument)
            else:
                _OPERATIONS[name](self, argument)
        raise Refused(f"it has more than {MOST_OPERATIONS} operations")

    def pop(self, count: int = 0) -> Any:
        """The last value; with a count, so many of the last as a tuple."""
        least = self.marks[-1] if self.marks else 0
        if len(self.stack) - max(count, 1) < least:
            raise ValueError("its stack is empty")
        if not count:
            return self.stack.pop()
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def above(self) -> list[Any]:
        """All values above the last mark."""
        begin = self.marks.pop()
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    def top(self, kind: type) -> Any:
        """The last value, which stays, and is of this kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Refused(f"it fills something that is not a {kind.__name__}")
        return self.stack[-1]

    def name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}"
        if type(module) is not str or type(name) is not str or full not in KNOWN:
            raise Refused(f"it names {full[:100]!r}")
        self.stack.append(Name(full))

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def put(self, index: int | None) -> None:
        """Remembers the last value under a number; without one under the next."""
        if not self.stack:
            raise ValueError("its stack is empty")
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"it has nothing under number {index}")
        self.stack.append(self.memo[index])

    def extend(self, values: Any) -> None:
        self.top(list).extend(values)

    def update(self, pairs: Any) -> None:
        """Keys are short strings or numbers: the hash of anything deeper recurses."""
        target, keys = self.top(dict), pairs[::2]
        for key in keys:
            if type(key) not in (str, int) or (type(key) is str and len(key) > LONGEST_KEY):
                raise Refused("it has a dict whose keys are not short strings or numbers")
        target.update(zip(keys, pairs[1::2], strict=True))

    def reduce(self, _: Any) -> None:
        arguments, called = self.pop(), self.pop()
        if type(called) is not Name or type(arguments) is not tuple or called.name not in _MADE:
            raise Refused(f"it calls {called.name if type(called) is Name else f'a {type(called).__name__}'}")
        self.stack.append(_MADE[called.name](arguments))

    def new(self, _: Any) -> None:
        arguments, called = self.pop(), self.pop()
        if type(called) is not Name or called.name not in (DEMO, OBSERVATION) or arguments != ():
            raise Refused(f"it makes a {called.name if type(called) is Name else type(called).__name__}")
        self.stack.append(Record(called.name))

    def build(self, _: Any) -> None:
        """Gives an object its state."""
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if type(target) is Record and type(state) is dict and all(type(key) is str for key in state):
            target.fields.update(state)
        elif type(target) is Type:
            target.dtype = _ordered(target.code, state)
        elif type(target) is Array and type(state) is tuple and len(state) == 5:
            _, shape, kind, fortran, data = state
            target.values = _array(data, kind, shape, "F" if fortran else "C")
        else:
            raise Refused(f"it gives a state to a {type(target).__name__}")


def _code(arguments: tuple) -> Type:
    """Of ``numpy.dtype(code, False, True)``."""
    if not arguments or type(arguments[0]) is not str or arguments[0] not in DTYPES:
        raise Refused(f"it has an array of type {str(arguments[0])[:20] if arguments and type(arguments[0]) is str else '?'}")
    return Type(arguments[0], np.dtype(arguments[0]))


def _ordered(code: str, state: Any) -> np.dtype:
    """The type of this code and the byte order in a state (3, order, None, None, None, -1, -1, 0): no fields, no subarray, no metadata."""
    if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(each is not None for each in state[2:5]):
        raise Refused("it has an array whose numbers have parts")
    return np.dtype(code).newbyteorder(state[1])


def _array(data: Any, kind: Any, shape: Any, order: Any) -> NDArray:
    """An array over the bytes that are there: what a shape says asks for no memory."""
    if type(kind) is not Type or type(data) not in (bytes, bytearray) or order not in ("C", "F"):
        raise Refused(f"it has an array of {type(data).__name__} with type {type(kind).__name__}")
    if type(shape) is not tuple or len(shape) > 4 or any(type(n) is not int or not 0 <= n <= LARGEST_FILE for n in shape):
        raise Refused("it has an array of an odd shape")
    if math.prod(shape) * kind.dtype.itemsize != len(data):
        raise Refused(f"it has an array of shape {shape} in {len(data)} bytes")
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _scalar(arguments: tuple) -> Any:
    """A Python number of ``scalar(type, bytes)``."""
    if len(arguments) != 2:
        raise Refused("it has an odd number")
    return _array(arguments[1], arguments[0], (), "C").item()


def _begun(arguments: tuple) -> Array:
    """Of ``_reconstruct(ndarray, (0,), b"b")``: an empty one, to be filled."""
    if len(arguments) != 3 or arguments[0] != Name("numpy.ndarray") or arguments[1] != (0,):
        raise Refused("it begins an array in an odd way")
    return Array()


def _whole(arguments: tuple) -> Array:
    """Of ``_frombuffer(bytes, type, shape, order)``, protocol 5."""
    if len(arguments) != 4:
        raise Refused("it has an odd array")
    data, kind, shape, order = arguments
    return Array(_array(data, kind, shape, order))


_BY_CODE = {each.code: each for each in pickletools.opcodes}
_PUSHED = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_MADE: Mapping[str, Callable[[tuple], Any]] = {
    "numpy.dtype": _code,
    **{name: _scalar if name.endswith("scalar") else _begun for name in _NUMPY},
    **dict.fromkeys(_BUFFER, _whole),
}
_OPERATIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.pop(3)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above())),
    "APPEND": lambda machine, _: machine.extend(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.above()),
    "SETITEM": lambda machine, _: machine.update(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.above()),
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": lambda machine, names: machine.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.pop(2)),
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new,
    "BUILD": _Machine.build,
}
