"""Extractors: uint8 images to the features and logits that scores are made of, each by name and by its weights.

Nothing falls back silently: the extractor that is asked for is the one that runs, or an error says what it needs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from degas_ray.errors import InputError
from degas_ray.precision import fixed
from degas_ray.scores.networks import EfficientNetLite0, InceptionNetwork, Network, efficientnet_lite0_path, resize
from degas_ray.scores.weights import WeightsFile, find, sha256_of

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
        network: Resized images to features and logits.
        device: Where it runs.
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

    def embed(self, resized: Tensor) -> Tensor:
        """Return the features of images that already have the network's size: clean-fid's ``custom_feat_extractor``.

        Args:
            resized: float ``[N, 3, S, S]`` in [0, 255], S being ``network.size``.
        """
        return self._run(resized)[0]

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
        name: One of :data:`EXTRACTORS`.
        cache: The home's cache directory.
        weights: The file of ``inception``.
        device: Where to run it.
        precision: ``float32`` or ``bf16``.
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
