"""Arrays out of pickles, such as CIFAR-10's, without executing anything.

Unpickling calls whatever the file names. Here the opcodes are read as data by a small machine that knows containers,
numbers, text and the one shape in which numpy writes an array; any other name is refused.
"""

import math
import pickletools
import warnings
from typing import IO, Any

import numpy as np

_ARRAY_MAKERS = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_BUFFER_MAKERS = ("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer")
_BYTE_TYPES = ("u1", "|u1", "uint8")

# Opcodes that push their own argument.
_VALUES = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINSTRING", "BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class PickleFormatError(ValueError):
    """The file is no pickle, or not one of plain data and byte arrays; the text says why."""


class _Name(str):
    """A name from the file, never looked up."""


class _Array:
    """An array whose content follows with a BUILD."""

    value: np.ndarray | None = None


class _Type(str):
    """An array type's name."""


def read_pickle(file: IO[bytes]) -> Any:
    """Return the file's dicts, lists, numbers, text and uint8 arrays.

    Raises:
        PickleFormatError: Anything else is in there.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # odd escapes in damaged text
            for opcode, argument, _ in pickletools.genops(file):
                machine.step(opcode.name, argument)
        (result,) = machine.stack
    except PickleFormatError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:  # UnicodeDecodeError is a ValueError
        raise PickleFormatError(f"not a whole pickle ({error})") from None
    if result is _MARK:
        raise PickleFormatError("not a whole pickle (it has no value)")
    return _plain(result)


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do one opcode."""
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name == "TUPLE" or name in _SHORT_TUPLES:
            stack.append(tuple(self._take(_SHORT_TUPLES.get(name))))
        elif name in ("APPEND", "APPENDS"):
            items = self._take(1 if name == "APPEND" else None)
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._take(2 if name == "SETITEM" else None)
            if not all(isinstance(key, str | bytes | int) for key in items[::2]):
                raise PickleFormatError("it holds a dict with keys other than text and numbers")
            _expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = [argument] if name == "GLOBAL" else self._take(2)
            stack.append(_Name(" ".join(_expect(part, str) for part in parts)))
        elif name == "REDUCE":
            function, arguments = self._take(2)
            stack.append(_made(_expect(function, _Name), _expect(arguments, tuple)))
        elif name == "BUILD":
            _fill(stack[-2], _expect(stack.pop(), tuple))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise PickleFormatError(f"it holds the instruction {name}, which plain data do not need")

    def _take(self, count: int | None) -> list[Any]:
        """Remove and return the last ``count`` values, or all since the last mark."""
        if count is None:
            start = len(self.stack) - 1
            while self.stack[start] is not _MARK:  # an IndexError where there is none
                start -= 1
            values = self.stack[start + 1 :]
        else:
            start = len(self.stack) - count
            if start < 0:
                raise PickleFormatError("not a whole pickle (a value is missing)")
            values = self.stack[start:]
        del self.stack[start:]
        return values


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise PickleFormatError(f"not a whole pickle (a {type(value).__name__} where a {kind.__name__} belongs)")
    return value


def _made(function: str, arguments: tuple[Any, ...]) -> Any:
    if function in _ARRAY_MAKERS:
        return _Array()
    if function == "numpy dtype":
        return _Type(_expect(arguments[0], str))
    if function in _BUFFER_MAKERS:
        data, kind, shape, order = arguments
        return _array(data, kind, shape, order == "F")
    if function == "_codecs encode" and arguments[1] in ("latin1", "latin-1"):
        return _expect(arguments[0], str).encode("latin-1")
    raise PickleFormatError(f"it asks to run {function.replace(' ', '.')}, which is refused")


def _fill(target: Any, state: tuple[Any, ...]) -> None:
    if isinstance(target, _Array):
        _, shape, kind, fortran, data = state
        target.value = _array(data, kind, shape, fortran is True)
    elif not isinstance(target, _Type):  # a type's own state holds byte order and fields, which uint8 has not
        raise PickleFormatError(f"it changes a {type(target).__name__}, which is refused")


def _array(data: Any, kind: Any, shape: Any, fortran: bool) -> np.ndarray:
    if _expect(kind, _Type) not in _BYTE_TYPES:
        raise PickleFormatError(f"it holds an array of {kind[:40]}, expected uint8")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray):
        raise PickleFormatError(f"not a whole pickle (a {type(raw).__name__} where an array's bytes belong)")
    sizes = [_expect(size, int) for size in _expect(shape, tuple)]
    if any(size < 0 for size in sizes) or math.prod(sizes) != len(raw):
        raise PickleFormatError(f"an array of shape {sizes} has {len(raw)} bytes")
    return np.frombuffer(raw, np.uint8).reshape(sizes, order="F" if fortran else "C")


def _plain(value: Any) -> Any:
    """Replace array holders, which appear at most two levels deep in a data set's dict."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) if isinstance(item, _Array) else item for key, item in value.items()}
    return value
