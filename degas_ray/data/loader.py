"""Shuffled batches straight from a pack: an index, one gather, one conversion, and a position that can be resumed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from degas_ray.data.packs import Images, Pack
from degas_ray.errors import DataError


@dataclass(frozen=True)
class Batch:
    """Images of one step.

    Args:
        indices: int64 ``[B]``, positions in the pack.
        images: float32 ``[B, 3, R, R]`` in [-1, 1].
        labels: int64 ``[B]``, or None.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor | None


def gather(images: Images | Tensor, indices: npt.ArrayLike | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Pick images and bring them to ``x / 127.5 - 1``.

    Args:
        images: uint8 ``[N, H, W, 3]``, on the CPU.
        indices: int64 ``[B]``.
        device: Where the result lives.

    Returns:
        float32 ``[B, 3, H, W]`` in [-1, 1], contiguous.
    """
    planes = _planes(images, indices, torch.device(device))
    values = _in_place(planes)
    values /= 127.5
    values -= 1.0
    return planes


def gather_dequantised(
    images: Images | Tensor,
    indices: npt.ArrayLike | Tensor,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Pick images and bring them to ``2 (x / 256 - 0.5) + U[0, 1/128)``, as CT-GAN and WGAN-GP train on.

    Args:
        images: uint8 ``[N, H, W, 3]``, on the CPU.
        indices: int64 ``[B]``.
        generator: Source of the noise, on ``device``.
        device: Where the result lives.

    Returns:
        float32 ``[B, 3, H, W]`` in [-1, 1], contiguous.
    """
    planes = _planes(images, indices, torch.device(device))
    values = _in_place(planes)
    values += _in_place(torch.rand(planes.shape, generator=generator, device=planes.device))
    values /= 128.0
    values -= 1.0
    return planes


class Batches:
    """Endless shuffled batches. Epoch e is permuted by (seed, e) alone, and its last partial batch is dropped.

    No global random state is read or moved, so the batches depend on the arguments and the position, nothing else.

    Args:
        source: A pack, or uint8 images ``[N, H, W, 3]``.
        batch_size: B.
        seed: Of the order (and of the noise), 0 or more.
        indices: Only these positions of the pack; all by default.
        device: Where batches live.
        labels: int64 ``[N]`` for plain images; a pack brings its own.
        dequantise: Add the noise of :func:`gather_dequantised`, drawn from (seed, position).

    Raises:
        DataError: Fewer images than one batch, or indices outside the source.

    Example:
        >>> batches = Batches(torch.zeros(10, 8, 8, 3, dtype=torch.uint8), 4, seed=0)
        >>> batches.next().images.shape
        torch.Size([4, 3, 8, 8])
        >>> batches.position
        {'epoch': 0, 'batch': 1, 'seed': 0, 'batch_size': 4, 'images': 10}
    """

    def __init__(
        self,
        source: Pack | Images | Tensor,
        batch_size: int,
        seed: int,
        indices: npt.ArrayLike | None = None,
        device: torch.device | str = "cpu",
        labels: npt.ArrayLike | Tensor | None = None,
        *,
        dequantise: bool = False,
    ) -> None:
        if isinstance(source, Pack):
            labels = source.labels if labels is None else labels
            source = source.images
        self._images = _array(source)
        self._labels = None if labels is None else torch.as_tensor(np.array(labels, dtype=np.int64))
        chosen = np.arange(len(source)) if indices is None else np.asarray(indices, dtype=np.int64)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(source)):
            raise DataError(f"indices {chosen.min()}..{chosen.max()} were asked of {len(source)} images")
        if not 1 <= batch_size <= len(chosen):
            raise DataError(
                f"a batch of {batch_size} cannot be drawn from {len(chosen)} images; "
                f"set a batch between 1 and {len(chosen)}, or use more images"
            )
        self._indices = torch.from_numpy(chosen)
        self._device = torch.device(device)
        self._seed, self._size, self._dequantise = seed, batch_size, dequantise
        self._epoch, self._batch = 0, 0
        self._order = self._permutation(0)

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one pass over the images."""
        return len(self._indices) // self._size

    @property
    def position(self) -> dict[str, int]:
        """Where the next batch stands; JSON-able, for :meth:`seek`."""
        return {
            "epoch": self._epoch,
            "batch": self._batch,
            "seed": self._seed,
            "batch_size": self._size,
            "images": len(self._indices),
        }

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go on exactly from an earlier :attr:`position`.

        Raises:
            DataError: The position is not one, or belongs to another seed, batch size or number of images.
        """
        mine = self.position
        if set(position) != set(mine) or any(type(value) is not int for value in position.values()):
            raise DataError(
                f"{dict(position)} is no position of a loader; expected whole numbers for {', '.join(mine)}"
            )
        for key in ("seed", "batch_size", "images"):
            if position[key] != mine[key]:
                raise DataError(
                    f"the saved position has {key} {position[key]}, this run {mine[key]}: "
                    "resume with the same data, seed and batch size"
                )
        if position["epoch"] < 0 or not 0 <= position["batch"] < self.batches_per_epoch:
            raise DataError(
                f"epoch {position['epoch']}, batch {position['batch']} does not exist: "
                f"an epoch has {self.batches_per_epoch} batches"
            )
        self._epoch, self._batch = position["epoch"], position["batch"]
        self._order = self._permutation(self._epoch)

    def next(self) -> Batch:
        """Return the next batch."""
        start = self._batch * self._size
        rows = self._order[start : start + self._size]
        if self._dequantise:
            images = gather_dequantised(self._images, rows, self._noise(), self._device)
        else:
            images = gather(self._images, rows, self._device)
        labels = None if self._labels is None else self._labels[rows].to(self._device)
        self._advance()
        return Batch(indices=rows.to(self._device), images=images, labels=labels)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches without end."""
        while True:
            yield self.next()

    def _advance(self) -> None:
        self._batch += 1
        if self._batch == self.batches_per_epoch:
            self._epoch, self._batch = self._epoch + 1, 0
            self._order = self._permutation(self._epoch)

    def _permutation(self, epoch: int) -> Tensor:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._indices))
        return self._indices[torch.from_numpy(order)]

    def _noise(self) -> torch.Generator:
        entropy = np.random.SeedSequence([self._seed, self._epoch, self._batch, 1])  # 1 keeps it off the order's stream
        seed = int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator(self._device).manual_seed(seed)


def _planes(images: Images | Tensor, indices: npt.ArrayLike | Tensor, device: torch.device) -> Tensor:
    """Pick images and turn them to float32 [B, 3, H, W], still in 0..255; to a GPU they travel as bytes."""
    pool = _array(images)
    picked = pool[np.asarray(indices, dtype=np.int64)]
    if device.type == "cpu":
        return torch.from_numpy(np.ascontiguousarray(picked.transpose(0, 3, 1, 2)).astype(np.float32))
    planes = torch.from_numpy(picked).to(device).permute(0, 3, 1, 2)
    return planes.to(torch.float32, memory_format=torch.contiguous_format)


def _in_place(planes: Tensor) -> Any:
    """View a CPU tensor as an array. A batch is too small for torch's threads: waiting for them costs more on a busy
    machine than the work itself."""
    return planes.numpy() if planes.device.type == "cpu" else planes


def _array(images: Images | Tensor) -> Images:
    return images.numpy() if isinstance(images, Tensor) else images
