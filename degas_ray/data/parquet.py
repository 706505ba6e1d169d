"""Parquet files in the layout of dataset hubs: ``image: {bytes, path}`` and ``label``, streamed row by row."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from degas_ray.data.folders import inside
from degas_ray.data.images import Skips, UnreadableError, decode_all
from degas_ray.data.originals import Originals
from degas_ray.data.packs import Chunk
from degas_ray.errors import DataError, DegasWarning

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels")
_ROWS = 64  # encoded images held at a time
_MAX_CLASSES = 10_000


@dataclass(frozen=True)
class _Row:
    name: str
    data: bytes | None
    path: str | None
    label: Any


@dataclass(frozen=True)
class _Labels:
    """The label column: its name, the class names, and a value's position among them."""

    column: str
    classes: tuple[str, ...]
    index: dict[Any, int]


def open_parquet(path: Path) -> Originals:
    """Read a Parquet file, or all of them below a folder in the order of their names.

    Labels are whole numbers or text; a hub's class names are used where the file carries them. A row with a missing or
    negative label leaves the whole pack without labels.

    Raises:
        DataError: No such file, no Parquet, or no image column.
    """
    name = f"parquet:{path.resolve().name}"
    files = tuple(sorted(path.rglob("*.parquet"))) if path.is_dir() else (path,)
    if not files:
        raise DataError(f"{name}: no .parquet file below {path}")
    root = path if path.is_dir() else path.parent
    counts, columns = zip(*(_inspect(name, file) for file in files), strict=True)
    labels = _labels(name, files, columns[0][1]) if len({label for _, label in columns}) == 1 else None
    skips = Skips(name)
    if not sum(counts):
        raise DataError(f"{name}: {path} has no rows")
    return Originals(
        name=name,
        classes=labels.classes if labels else (),
        count=sum(counts),
        files=files,
        read=partial(_read, root, list(zip(files, [image for image, _ in columns], strict=True)), labels, skips),
        conversion="upright, RGB, largest centred square, resized (bicubic, antialiased)",
        skips=skips,
    )


def _open(file: Path) -> pq.ParquetFile:
    # Without pre-buffering, pages are read one by one: a whole row group may be larger than the memory.
    return pq.ParquetFile(file, memory_map=True, pre_buffer=False, buffer_size=1 << 16)


def _unusable(file: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    return DataError(f"{file} cannot be read as Parquet: {reason}; expected columns image: {{bytes, path}} and label")


def _inspect(name: str, file: Path) -> tuple[int, tuple[str, str | None]]:
    """Return the number of rows and the names of the image and label columns."""
    try:
        with _open(file) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unusable(file, error) from None
    image = next((column for column in _IMAGE_COLUMNS if column in schema.names), None)
    if image is None or not _holds_images(schema.field(image).type):
        raise DataError(
            f"{name}: {file.name} has the columns {', '.join(schema.names) or '(none)'}; "
            "expected image: {bytes, path}, or image as binary"
        )
    return rows, (image, next((column for column in _LABEL_COLUMNS if column in schema.names), None))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _holds_images(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return _is_binary(kind)
    fields = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
    data = fields.get("bytes", pa.null())
    return _is_binary(data) or (pa.types.is_null(data) and "path" in fields)


def _labels(name: str, files: tuple[Path, ...], column: str | None) -> _Labels | None:
    """Find the classes: the hub's names, or the distinct values."""
    if column is None:
        return None
    values: set[Any] = set()
    for file in files:
        try:
            with _open(file) as parquet:
                kind = parquet.schema_arrow.field(column).type
                named = _hub_names(parquet.schema_arrow.metadata, column)
                if not _labels_kind(kind):
                    raise DataError(f"{name}: the column {column} of {file.name} is {kind}; expected numbers or text")
                for batch in parquet.iter_batches(columns=[column]):
                    values.update(batch.column(0).unique().to_pylist())
                    if len(values) > _MAX_CLASSES:
                        raise DataError(f"{name}: {column} has over {_MAX_CLASSES:,} values; drop or rename the column")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unusable(file, error) from None
    if None in values or any(isinstance(value, int) and value < 0 for value in values):
        warnings.warn(
            f"{name}: some rows have no {column} (none, or a negative one), so the images are packed without labels",
            DegasWarning,
            stacklevel=2,
        )
        return None
    if named and all(isinstance(value, int) and value < len(named) for value in values):
        return _Labels(column, named, {value: value for value in range(len(named))})
    if len({type(value) for value in values}) > 1:
        raise DataError(f"{name}: {column} is text in one file and numbers in another")
    ordered = sorted(values)
    return _Labels(column, tuple(map(str, ordered)), {value: index for index, value in enumerate(ordered)})


def _labels_kind(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
    return any(test(kind) for test in tests)


def _hub_names(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """Return the class names that hubs write into the schema's metadata."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _read(
    root: Path, files: list[tuple[Path, str]], labels: _Labels | None, skips: Skips, resolution: int
) -> Iterator[Chunk]:
    def load(row: _Row) -> bytes | IO[bytes]:
        if row.data:
            return row.data
        if not row.path:
            raise UnreadableError("the row has neither bytes nor a path")
        return open(inside(root, row.path), "rb")

    def label(row: _Row) -> int:
        return labels.index[row.label] if labels else -1

    rows = (row for file, image in files for row in _rows(file, image, labels.column if labels else None))
    yield from decode_all(rows, load, resolution, skips, lambda row: row.name, label if labels else None)


def _rows(file: Path, image: str, label: str | None) -> Iterator[_Row]:
    number = 0
    try:
        with _open(file) as parquet:
            for batch in parquet.iter_batches(_ROWS, columns=[image, *([label] if label else [])]):
                values = batch.column(image).to_pylist()
                marks = batch.column(label).to_pylist() if label else [None] * len(values)
                for value, mark in zip(values, marks, strict=True):
                    cell = value if isinstance(value, dict) else {"bytes": value}
                    yield _Row(f"{file.name} row {number}", cell.get("bytes"), cell.get("path"), mark)
                    number += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unusable(file, error) from None
