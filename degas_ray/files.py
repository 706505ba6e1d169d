"""Files that are either the old one or the whole new one, whatever happens while they are written."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from degas_ray.errors import DiskError, InputError

T = TypeVar("T")
SHOWN = 60  # characters of a name that an error repeats


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file beside ``path`` that takes its place once it is whole and on the disk, or else leaves no trace.

    Raises:
        OSError: Where it cannot be written; the folder must be there.
    """
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)  # mkstemp's 0600 would hide the file from the user's group
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def put(source: Path, target: Path, *, link: bool = True) -> None:
    """Make ``target`` the same file, or folder of files, as ``source``: by hard links where the file system allows it.

    A file that was at ``target`` is replaced and never written into, so that its other links keep their content.

    Args:
        source: A file or folder; with ``link``, its files are replaced and never changed in place from now on.
        target: Its folder is made.
        link: False copies, which is right for files that others may change in place.
    """
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for child in source.iterdir():
            put(child, target / child.name, link=link)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        if not link:
            raise OSError
        os.link(source.resolve(), part)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, part)
    part.replace(target)
    part.unlink(missing_ok=True)  # replacing a file by itself leaves both names


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` so that ``path`` is either the old file or the whole new one.

    Raises:
        DiskError: Where it cannot be written.
    """
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` is either the old file or the whole new one.

    Raises:
        DiskError: Where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise DiskError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder with --home"
        ) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in ``path``, or ``None`` where there is no such file.

    Raises:
        InputError: Where it holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} is not a file that degas-ray wrote: {error}; restore it or remove it") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a file that degas-ray wrote: expected a JSON object")
    return value


def path_of(text: str) -> Path:
    """Return the path that somebody typed, with ``~`` spelt out.

    Raises:
        InputError: Where no file can be called that.
    """
    try:
        path = Path(text).expanduser()
        path.exists()  # says what the system cannot name
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        shown = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
        raise InputError(f"got {shown!r}, expected a name or a path: {reason}") from None
    return path


def checked(kind: type[T], value: Mapping[str, Any], path: Path) -> T:
    """Return the dataclass that was written to ``path`` as JSON.

    Args:
        kind: The dataclass.
        value: What was read; keys that the class does not have are left out.
        path: For the message.

    Raises:
        InputError: Where something is missing or of another type.
    """
    from pydantic import ValidationError  # not needed by those who only name a file

    known = {field.name: value[field.name] for field in fields(kind) if field.name in value}  # type: ignore[arg-type]
    try:
        return cast(T, _adapter(cast(Any, kind)).validate_python(known))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path} is not a file that degas-ray wrote: {where}: {first['msg'].lower()}; restore it or remove it"
        ) from None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
