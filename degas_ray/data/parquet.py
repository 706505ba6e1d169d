"""Parquet files in the layout of dataset hubs: ``image: {bytes, path}`` and ``label``, streamed row by row."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from degas_ray.data.folders import CONVERSION, inside
from degas_ray.data.images import UnreadableError, decode_all
from degas_ray.data.intake import FOREIGN, SPLIT, Intake
from degas_ray.data.labels import (
    COLUMNS,
    LabelSource,
    LabelTable,
    hub_names,
    is_label_type,
    label_column,
    meant_as_labels,
)
from degas_ray.data.originals import Originals, Positions, draw
from degas_ray.data.packs import Chunk, Labels
from degas_ray.data.splits import Splits, find_splits, no_splits
from degas_ray.data.walk import is_side, printable, walk
from degas_ray.errors import DataError

_SUFFIXES = frozenset({".parquet", ".parq", ".pq"})
_IMAGE_COLUMNS = ("image", "img")
_ROWS = 64  # encoded images held at a time
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class _Part:
    """One file: its rows and columns."""

    file: Path
    name: str
    rows: int
    image: str
    label: LabelSource
    others: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    name: str
    data: bytes | None
    path: str | None
    position: int


def open_parquet(path: Path, limit: int | None = None, split: str | None = None) -> Originals:
    """Read a Parquet file, or all of a split below a folder in the order of their names.

    Labels are whole numbers or text, in a column or in the names of folders (``label=cat``); files are brought together
    by the names of their classes. A row with a missing or negative label leaves the whole pack without labels.

    Raises:
        DataError: No such file, no Parquet, no image column; files disagree about labels; no such split.
    """
    intake = Intake(f"parquet:{printable(path.resolve().name)}")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise DataError(f"{intake.source}: {path} is not a regular file; expected a Parquet file or a folder of them")
    root = path if path.is_dir() else path.parent
    names, others = _files(path, split, intake)
    parts = [_inspect(intake.source, root / name, name) for name in names]
    count = sum(part.rows for part in parts)
    if not count:
        raise DataError(f"{intake.source}: {path} has no rows")
    classes, labels = _labels(parts, intake)
    behind = [file for part in parts for file in _behind(root, part)]
    used = {str(file) for file in behind}
    for name in others:
        if str(root.resolve() / name) not in used:
            intake.leave(FOREIGN, printable(name))
    chosen = draw(count, limit, labels)
    return Originals(
        name=intake.source,
        classes=classes,
        count=len(chosen),
        files=(*(part.file for part in parts), *behind),
        read=partial(_read, root, parts, labels, chosen, intake),
        conversion=CONVERSION,
        intake=intake,
    )


def _files(path: Path, asked: str | None, intake: Intake) -> tuple[list[str], list[str]]:
    """Return the Parquet files of the split that is taken, by their paths below the folder, and all other files."""
    if not path.is_dir():
        if asked is not None:
            raise no_splits(intake.source, asked)
        return [path.name], []
    found = walk(path, intake, lambda name: is_side(name) or name.startswith("_"))
    files = [name for name in found if PurePosixPath(name).suffix.lower() in _SUFFIXES]
    others = [name for name in found if PurePosixPath(name).suffix.lower() not in _SUFFIXES]
    if not files:
        raise DataError(f"{intake.source}: no .parquet file below {path}")
    splits, names = _splits(files, asked, intake.source)
    if splits is None:
        if asked is not None:
            raise no_splits(intake.source, asked)
        return files, others
    several = len(set(splits.names.values())) > 1
    (intake.doubts if several and not asked else intake.notes).append(splits.note(intake.source, asked is not None))
    for file in files:
        if not splits.takes(names[file]):
            intake.leave(SPLIT, printable(file), _row_count(path / file))
    return [file for file in files if splits.takes(names[file])], others


def _splits(files: list[str], asked: str | None, source: str) -> tuple[Splits | None, dict[str, str]]:
    """Find splits in the names of files, or else in those of folders, from the outermost."""
    parts = {file: PurePosixPath(file).parts for file in files}
    stems = {file: PurePosixPath(file).stem for file in files}
    depth = max(map(len, parts.values())) - 1
    levels = [stems, *({file: part[level] if level < len(part) - 1 else "" for file, part in parts.items()}
                       for level in range(depth))]  # fmt: skip
    for names in levels:
        splits = find_splits(source, names.values(), asked)
        if splits is not None:
            return splits, names
    return None, {}


def _row_count(file: Path) -> int:
    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowException, OSError, ValueError):  # of a split that is not taken: not worth an error
        return 1


def _open(file: Path) -> pq.ParquetFile:
    # Without pre-buffering, pages are read one by one: a whole row group may be larger than the memory.
    return pq.ParquetFile(file, memory_map=True, pre_buffer=False, buffer_size=1 << 16)


def _unusable(file: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    return DataError(f"{file} cannot be read as Parquet: {reason}; expected columns image: {{bytes, path}} and label")


def _inspect(source: str, file: Path, name: str) -> _Part:
    """Return the number of rows and what is in the columns."""
    try:
        with _open(file) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unusable(file, error) from None
    lower = {column.lower(): column for column in reversed(schema.names)}
    image = next((lower[column] for column in _IMAGE_COLUMNS if column in lower), None)
    if image is None or not _holds_images(schema.field(image).type):
        raise DataError(
            f"{source}: {file.name} has the columns {', '.join(schema.names) or '(none)'}; "
            "expected image: {bytes, path}, or image as binary"
        )
    column = label_column(schema.names)
    if column is not None and not is_label_type(schema.field(column).type):
        kind = schema.field(column).type
        raise DataError(f"{source}: the column {column} of {file.name} is {kind}; expected numbers or text")
    fixed = _partition(name) if column is None else None
    label = LabelSource(column, hub_names(schema.metadata, column), fixed)
    others = tuple(other for other in schema.names if other not in (image, column))
    return _Part(file, printable(name), rows, image, label, others)


def _partition(name: str) -> str | None:
    """Return the label that a folder's name says, as in ``label=cat/part-0.parquet``."""
    for part in PurePosixPath(name).parts[:-1]:
        key, sign, value = part.partition("=")
        if sign and key.lower() in COLUMNS:
            return unquote(value)
    return None


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return bool(pa.types.is_uint8(kind.value_type))
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _holds_images(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return _is_binary(kind)
    fields = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
    data = fields.get("bytes", pa.null())
    return _is_binary(data) or (pa.types.is_null(data) and "path" in fields)


def _labels(parts: list[_Part], intake: Intake) -> tuple[tuple[str, ...], Labels | None]:
    """Return the classes and every row's label, or none.

    Raises:
        DataError: Files disagree.
    """
    labelled = [part for part in parts if part.label.column is not None or part.label.fixed is not None]
    if not labelled:
        if hints := meant_as_labels(dict.fromkeys(column for part in parts for column in part.others)):
            intake.doubts.append(
                f"{intake.source}: the images are packed without labels; rename one of the columns {', '.join(hints)} "
                "to label to use it"
            )
        return (), None
    if len(labelled) < len(parts):
        without = next(part for part in parts if part not in labelled)
        raise DataError(
            f"{intake.source}: {without.name} has no label column, {labelled[0].name} has one; "
            "label all files or none, or name one file"
        )
    table = LabelTable(intake.source)
    for part in parts:
        for values in _values(part):
            table.add(values, part.label, part.name)
    if table.missing:
        where = labelled[0].label.column or "label"
        intake.doubts.append(
            f"{intake.source}: some rows have no {where} ({table.missing} have none, or a negative one), so the images "
            "are packed without labels"
        )
        return (), None
    return table.finish()


def _values(part: _Part) -> Iterator[list[Any]]:
    if part.label.column is None:
        fixed = None if part.label.fixed == _NO_PARTITION else part.label.fixed
        yield [fixed] * part.rows
        return
    try:
        with _open(part.file) as parquet:
            for batch in parquet.iter_batches(columns=[part.label.column]):
                yield batch.column(0).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unusable(part.file, error) from None


def _behind(root: Path, part: _Part) -> list[Path]:
    """Return the files that rows without bytes mean: a pack is of their pixels too."""
    files: dict[Path, None] = {}
    try:
        with _open(part.file) as parquet:
            kind = parquet.schema_arrow.field(part.image).type
            if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
                return []
            for group in range(parquet.num_row_groups):
                if not _lacks_bytes(parquet.metadata.row_group(group), part.image):
                    continue
                for batch in parquet.iter_batches(columns=[f"{part.image}.path"], row_groups=[group]):
                    for path in batch.column(0).field("path").to_pylist():
                        try:
                            files |= {inside(root, path): None} if path else {}
                        except (UnreadableError, OSError):  # reading the row says why
                            continue
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unusable(part.file, error) from None
    return list(files)


def _lacks_bytes(group: Any, image: str) -> bool:
    """Return whether some rows of a row group may have no bytes of their own."""
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == f"{image}.bytes":
            statistics = column.statistics
            return statistics is None or not statistics.has_null_count or statistics.null_count > 0
    return True


def _read(
    root: Path, parts: list[_Part], labels: Labels | None, chosen: Positions, intake: Intake, resolution: int
) -> Iterator[Chunk]:
    def load(row: _Row) -> bytes | IO[bytes]:
        if row.data is not None:
            return row.data
        if not row.path:
            raise UnreadableError("the row has neither bytes nor a path")
        file = inside(root, row.path)
        if file.exists() and not file.is_file():
            raise UnreadableError(f"{row.path} is not a regular file")
        return open(file, "rb")

    def rows() -> Iterator[_Row]:
        start = 0
        for part in parts:
            mine = chosen[(chosen >= start) & (chosen < start + part.rows)] - start
            yield from _rows(part.file, part.image, mine, start)
            start += part.rows

    label = (lambda row: int(labels[row.position])) if labels is not None else None
    yield from decode_all(rows(), load, resolution, intake, lambda row: row.name, label)


def _rows(file: Path, image: str, chosen: Positions | None = None, start: int = 0) -> Iterator[_Row]:
    """Yield the chosen rows of a file; row groups without one are not read."""
    first = 0
    try:
        with _open(file) as parquet:
            for group in range(parquet.num_row_groups):
                last = first + parquet.metadata.row_group(group).num_rows
                mine = None if chosen is None else set(chosen[(chosen >= first) & (chosen < last)].tolist())
                number, first = first, last
                if mine is not None and not mine:
                    continue
                for batch in parquet.iter_batches(_ROWS, columns=[image], row_groups=[group]):
                    values = batch.column(0)
                    for index in range(len(values)):
                        if mine is None or number in mine:
                            yield _row(f"{file.name} row {number}", values[index].as_py(), start + number)
                        number += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unusable(file, error) from None


def _row(name: str, value: Any, position: int) -> _Row:
    cell = value if isinstance(value, dict) else {"bytes": value}
    data = cell.get("bytes")
    return _Row(name, bytes(data) if isinstance(data, list) else data, cell.get("path"), position)
