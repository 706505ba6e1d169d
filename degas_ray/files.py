"""Small JSON files that are either the old one or the whole new one, whatever happens while they are written."""

import json
import os
from pathlib import Path
from typing import Any

from degas_ray.errors import DegasError, InputError


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` so that ``path`` is either the old file or the whole new one.

    Raises:
        DegasError: Where it cannot be written.
    """
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` is either the old file or the whole new one.

    Raises:
        DegasError: Where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DegasError(
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
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a file that degas-ray wrote: {error}; restore it or remove it") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a file that degas-ray wrote: expected a JSON object")
    return value
