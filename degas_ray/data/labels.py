"""The label column of Parquet files: values as people write them to classes and positions among them."""

import json
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from degas_ray.data.packs import Labels
from degas_ray.errors import DataError

COLUMNS = ("label", "labels")
_HINTS = ("label", "class", "category", "target")  # in names of columns that may be meant as labels
_MAX_CLASSES = 10_000
_NAME, _NUMBER, _TRUTH = "names", "numbers", "truth values"


@dataclass(frozen=True)
class LabelSource:
    """Where one file's labels come from.

    Args:
        column: The label column, or None.
        names: The hub's class names for its numbers; empty for none.
        fixed: The label of all rows, from a folder called ``label=VALUE``.
    """

    column: str | None
    names: tuple[str, ...] = ()
    fixed: str | None = None


def label_column(columns: Iterable[str]) -> str | None:
    """Return the column that holds labels, in whatever case its name is written."""
    lower = {column.lower(): column for column in reversed(list(columns))}
    return next((lower[name] for name in COLUMNS if name in lower), None)


def meant_as_labels(columns: Iterable[str]) -> list[str]:
    """Return columns whose names sound like labels."""
    return [column for column in columns if any(hint in column.lower() for hint in _HINTS)]


def hub_names(metadata: dict[bytes, bytes] | None, column: str | None) -> tuple[str, ...]:
    """Return the class names that hubs write into the schema's metadata."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def is_label_type(kind: pa.DataType) -> bool:
    """Return whether values of this type may be labels; lists of one value and whole floating-point numbers may."""
    if pa.types.is_dictionary(kind) or _is_list(kind):
        return is_label_type(kind.value_type)
    tests = (
        pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
        pa.types.is_floating, pa.types.is_null,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


class LabelTable:
    """Collects the labels of many files, by name where they have names.

    Args:
        source: For errors.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._kinds: dict[str, str] = {}  # names, numbers or truth values: the first file that has them
        self._index: dict[Any, int] = {}
        self._codes: list[Labels] = []
        self._named: dict[str, None] = {}  # the hub's names, in their order
        self.missing = 0

    def add(self, values: list[Any], label: LabelSource, file: str) -> None:
        """Take the labels of some rows.

        Raises:
            DataError: A value is no label, or not of the kind that other files have.
        """
        self._named |= dict.fromkeys(map(_unified, label.names))
        keys = {value: self._key(value, label, file) for value in set(map(_hashable, values))}
        for key in keys.values():
            if key is not None and key not in self._index:
                self._index[key] = len(self._index)
        if len(self._index) > _MAX_CLASSES:
            raise DataError(f"{self._source}: {label.column} has over {_MAX_CLASSES:,} values; rename the column")
        index = {value: -1 if key is None else self._index[key] for value, key in keys.items()}
        codes = np.array([index[_hashable(value)] for value in values], dtype=np.int64)
        self.missing += int((codes < 0).sum())
        self._codes.append(codes)

    def finish(self) -> tuple[tuple[str, ...], Labels]:
        """Return the classes, and each row's position among them (-1 where it has no label)."""
        known = set(self._index)
        ordered = [*self._named, *sorted(known - set(self._named))]
        place = {key: position for position, key in enumerate(ordered)}
        to_class = np.array([place[key] for key in self._index] + [-1], dtype=np.int64)
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, np.int64)
        return tuple(map(str, ordered)), to_class[codes]

    def _key(self, value: Any, label: LabelSource, file: str) -> Any:
        """Return what stands for a class: a name, a number or a truth value; None for no label."""
        if isinstance(value, tuple):
            if len(value) > 1:
                raise DataError(
                    f"{self._source}: {label.column} of {file} holds lists of several values; expected one label a row"
                )
            value = value[0] if value else None
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, float):
            if value != int(value) if math.isfinite(value) else True:
                raise DataError(
                    f"{self._source}: {label.column} of {file} holds {value}; expected whole numbers or text"
                )
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value < 0:
            return None
        kind = _NAME if isinstance(value, str) or label.names else _TRUTH if isinstance(value, bool) else _NUMBER
        first = self._kinds.setdefault(kind, file)
        if len(self._kinds) > 1:
            (other, there) = next((other, there) for other, there in self._kinds.items() if other != kind)
            raise DataError(
                f"{self._source}: the labels of {there} are {other}, those of {first} are {kind}; write them alike"
            )
        if isinstance(value, str):
            return _unified(value)
        if not label.names:
            return value
        if int(value) >= len(label.names):
            raise DataError(f"{self._source}: {label.column} of {file} holds {value}, but has {len(label.names)} names")
        return _unified(label.names[int(value)])


def _unified(name: str) -> str:
    """Return one form of a text that Unicode can write in several."""
    return unicodedata.normalize("NFC", name)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
