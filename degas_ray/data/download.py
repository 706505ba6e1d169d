"""Downloads through torchvision's addresses and checksums; a file appears under its name only once it is whole."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from degas_ray.errors import DataError

_TIMEOUT = 20.0  # seconds without a byte


def fetch(source: str, folder: Path) -> None:
    """Bring the original files of a named source into ``folder``.

    Raises:
        DataError: There is no network, or the server gave something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as part, _timeout():
            _DOWNLOADS[source](Path(part))
            for file in Path(part).iterdir():
                os.replace(file, folder / file.name)
    except (OSError, RuntimeError, HTTPException, ValueError) as error:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{source} could not be downloaded: {reason}") from None


@contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _fashion_mnist(folder: Path) -> None:
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import download_url

    for name, md5 in FashionMNIST.resources:
        if name.startswith("train-"):
            download_url(FashionMNIST.mirrors[0] + name, folder, name, md5)


def _cifar10(folder: Path) -> None:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_url

    download_url(CIFAR10.url, folder, CIFAR10.filename, CIFAR10.tgz_md5)


def _stl10(folder: Path) -> None:
    from torchvision.datasets import STL10
    from torchvision.datasets.utils import download_url

    download_url(STL10.url, folder, STL10.filename, STL10.tgz_md5)


def _celeba(folder: Path) -> None:
    from torchvision.datasets import CelebA
    from torchvision.datasets.utils import download_file_from_google_drive

    identity, md5, name = CelebA.file_list[0]
    download_file_from_google_drive(identity, folder, name, md5)


_DOWNLOADS: dict[str, Callable[[Path], None]] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "stl": _stl10,
    "celeba": _celeba,
}
