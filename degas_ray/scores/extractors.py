"""Extractors: uint8 images to the features and logits that scores are made of, each by name and by its weights.

Nothing falls back silently: the extractor that is asked for is the one that runs, or an error says what it needs.
"""

import fcntl
import hashlib
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from degas_ray.errors import DegasError, DegasWarning, InputError
from degas_ray.files import replacing
from degas_ray.precision import fixed
from degas_ray.scores.networks import EfficientNetLite0, InceptionNetwork, Network, efficientnet_lite0_path, resize

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte before a download counts as failed


@dataclass(frozen=True)
class WeightsFile:
    """A published file of weights.

    Args:
        name: Its file name, in the cache and wherever other tools put it.
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


EXTRACTORS = ("inception", "efficientnet-lite0")
HASH_DIGITS = 16
CLEAN, LEGACY = "clean-bicubic", "legacy-bilinear"  # how resizers are called in protocols

INCEPTION = WeightsFile(
    name="inception-2015-12-05.pt",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    elsewhere=(Path("/tmp/inception-2015-12-05.pt"),),  # where clean-fid puts it
)

_CPU_CHUNK = 32  # larger chunks leave the processor's cache: 1.4 times slower at 100 images
_GPU_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Features:
    """What an extractor says of N images, on the CPU: ``features`` ``[N, D]`` and ``logits`` ``[N, K]``, float32."""

    features: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network that judges images.

    Args:
        name: One of :data:`EXTRACTORS`.
        weights_hash: The first 16 hex digits of the SHA-256 of its weights' file.
        precision: ``float32``, or ``bf16``, which moves features by some percent: part of a score's protocol.
    """

    name: str
    weights_hash: str
    network: Network
    device: torch.device
    precision: str = "float32"

    @property
    def dim(self) -> int:
        """D, the number of features."""
        return self.network.dim

    @property
    def classes(self) -> int:
        """K, the number of logits."""
        return self.network.classes

    @property
    def resizer(self) -> str:
        """How images are brought to the network's size, in words that are part of a score's protocol."""
        return f"{LEGACY if self.network.resizes else CLEAN}-{self.network.size}"

    def __call__(self, images: npt.NDArray[np.uint8]) -> Features:
        """Extract from images of one size.

        Args:
            images: uint8 ``[N, H, W, 3]``; any N, in chunks inside.

        Raises:
            InputError: For another type or shape.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise InputError(f"got images {images.dtype} {list(images.shape)}, expected uint8 [N, height, width, 3]")
        chunk = _CPU_CHUNK if self.device.type == "cpu" else _GPU_CHUNK
        parts = [self._chunk(images[start : start + chunk]) for start in range(0, len(images), chunk)]
        if not parts:
            return Features(torch.empty(0, self.dim), torch.empty(0, self.classes))
        return Features(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def _chunk(self, images: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        copied = torch.from_numpy(np.array(images, order="C"))  # the original may be read-only or reversed
        planes = copied.to(self.device).permute(0, 3, 1, 2)
        features, logits = self._run(planes.float() if self.network.resizes else resize(planes, self.network.size))
        return features.cpu(), logits.cpu()

    def _run(self, resized: Tensor) -> tuple[Tensor, Tensor]:
        # TF32 would make a GPU's features differ from a CPU's in the third digit.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            images = resized.to(self.device).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                features, logits = self.network(images)
            return features.float(), logits.float()


def load_extractor(
    name: str,
    cache: Path,
    weights: Path | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    resizer: str = "clean",
) -> Extractor:
    """Load an extractor.

    ``inception`` is the graph that the FID is defined by. Its file is taken from ``weights``, from
    ``cache/extractors``, from where clean-fid leaves it, or downloaded; the last three only with the published SHA-256.
    A file given by path may be another one with the same interface: its hash is recorded, and its scores are then not
    called FID. ``efficientnet-lite0`` comes with pip and needs no network.

    Args:
        weights: The file of ``inception``.
        resizer: ``clean``, or ``legacy``: the bilinear resizing inside the graph of ``inception``, with which the FIDs
            of papers were measured (clean-fid's mode ``legacy_tensorflow``).

    Raises:
        InputError: An unknown name, precision or resizer, or weights that are missing, damaged or of another kind.
    """
    if name not in EXTRACTORS:
        raise InputError(f"extractor: got {name!r}, expected {' or '.join(EXTRACTORS)}")
    fixed(precision, "scores.precision")
    if resizer not in ("clean", "legacy") or (resizer == "legacy" and name != "inception"):
        raise InputError(
            f"scores.resizer: got {resizer} with {name}, expected clean, or legacy with "
            "scores.extractor=inception, whose graph does it"
        )
    network: Network
    if name == "inception":
        path = weights if weights is not None else find(INCEPTION, cache / "extractors")
        weights_hash = sha256_of(path)
        network = InceptionNetwork(path, legacy=resizer == "legacy")
    elif weights is not None:
        raise InputError(
            f"scores.weights: got {weights}, but the weights of {name} come with pip; leave it out, or use "
            "--set scores.extractor=inception"
        )
    else:
        weights_hash = sha256_of(efficientnet_lite0_path())
        network = EfficientNetLite0()
    device = torch.device(device)
    network = network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    return Extractor(name, weights_hash[:HASH_DIGITS], network, device, precision)
