"""Files of network weights: found where they already are, or downloaded once, whole and verified."""

import fcntl
import hashlib
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from degas_ray.errors import DegasError, DegasWarning, InputError
from degas_ray.files import replacing

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte before a download counts as failed


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights.

    Args:
        name: Its file name, in the cache and wherever other tools put it.
        url: Where it is downloaded from.
        sha256: Of its content, in hex; only a file with this hash is taken without being asked for by path.
        elsewhere: Other places to look before downloading.
    """

    name: str
    url: str
    sha256: str
    elsewhere: tuple[Path, ...] = ()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        InputError: It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(f"cannot read the weights {path}: {error.strerror or error}") from None
    return digest.hexdigest()


def find(file: WeightsFile, cache: Path) -> Path:
    """Return a verified copy of ``file``: from ``cache``, from elsewhere on this machine, or downloaded into ``cache``.

    Several processes may ask at once; one downloads, the others wait for it.

    Args:
        file: What is wanted.
        cache: The folder of downloaded weights; made if it is missing.

    Raises:
        InputError: The cached file is damaged, or there is no copy and it cannot be downloaded.
    """
    target = cache / file.name
    with locked(target):
        if target.exists():
            return _verified(file, target)
        for place in file.elsewhere:
            if place.is_file():
                if sha256_of(place) == file.sha256:
                    return place
                warnings.warn(f"{place} is not the published {file.name}; it is ignored", DegasWarning, stacklevel=2)
        _download(file, target)
    return target


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file at ``path`` (its name plus ``.lock``) across processes; its folder is made.

    Raises:
        DegasError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise DegasError(f"cannot write to {path.parent}: {error.strerror or error}; choose another --home") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _verified(file: WeightsFile, path: Path) -> Path:
    got = sha256_of(path)
    if got != file.sha256:
        raise InputError(
            f"{path} is damaged: its SHA-256 begins with {got[:16]}, expected {file.sha256[:16]}; "
            f"delete it and it will be downloaded again"
        )
    return path


def _download(file: WeightsFile, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with replacing(target) as out, urllib.request.urlopen(file.url, timeout=_TIMEOUT) as response:
            while block := response.read(_BLOCK):
                digest.update(block)
                out.write(block)
            if digest.hexdigest() != file.sha256:
                raise InputError(
                    f"{file.url} sent {out.tell():,} bytes that are not {file.name}: their SHA-256 begins with "
                    f"{digest.hexdigest()[:16]}, expected {file.sha256[:16]}. {_by_hand(file, target)}"
                )
    except (OSError, ValueError, HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise InputError(f"cannot download {file.url}: {reason}. {_by_hand(file, target)}") from None


def _by_hand(file: WeightsFile, target: Path) -> str:
    return (
        f"Put {file.name} (SHA-256 {file.sha256}) at {target}, or name it with --set scores.weights=FILE, "
        "or score with --set scores.extractor=efficientnet-lite0"
    )
