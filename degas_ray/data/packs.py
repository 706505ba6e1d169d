"""Packs: one Arrow IPC file of images, memory-mapped and read without a copy.

A pack holds one record batch with the columns ``image`` (Arrow's canonical fixed-shape tensor, uint8 ``[H, W, 3]``)
and, where there are labels, ``label`` (int64). Any Arrow reader opens it. The schema's metadata carry a JSON header
with the name, the classes, a content fingerprint and free facts about how the pack was made.
"""

import hashlib
import json
import mmap
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from degas_ray.errors import DataError, DegasError
from degas_ray.files import replacing

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Chunk = tuple[Images, Labels | None]

_KEY = b"degas_ray.pack"
_VERSION = 1
_STALE_SECONDS = 3600.0  # a part file this old belongs to a process that was killed


@dataclass(frozen=True, eq=False)
class Pack:
    """Images ready for training.

    Args:
        images: uint8 ``[N, H, W, 3]``, read-only; a view of the file, not a copy.
        labels: int64 ``[N]`` in ``0..len(classes) - 1``, or None.
        classes: Names of the labels; empty where there are none.
        name: The source, such as ``cifar10``.
        resolution: ``H = W`` in pixels.
        fingerprint: SHA-256 in hex of name, classes, images and labels; the same on every machine.
        path: The Arrow file.
        meta: JSON-able facts about how the pack was made; not part of the fingerprint.
    """

    images: Images
    labels: Labels | None
    classes: tuple[str, ...]
    name: str
    resolution: int
    fingerprint: str
    path: Path
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


def write_pack(
    path: Path,
    chunks: Iterable[Chunk],
    *,
    name: str,
    resolution: int,
    classes: tuple[str, ...] = (),
    meta: Mapping[str, Any] | None = None,
) -> Pack:
    """Stream chunks into a pack; memory stays constant and the file appears whole or not at all.

    Args:
        path: Where the pack goes; its folder is made.
        chunks: Pairs of uint8 images ``[B, R, R, 3]`` and int64 labels ``[B]`` (all of them or none).
        name: The source's name.
        resolution: R.
        classes: Names of the labels.
        meta: JSON-able facts; read only after the last chunk, so a reader may still add to it.

    Raises:
        DataError: No image, or labels for some chunks only, or labels without classes.
        DegasError: The disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        with tempfile.TemporaryFile(dir=path.parent) as spool:  # has no name, so a killed process leaves nothing
            digest = hashlib.sha256(identity(name, classes))
            count, labels = _spool(chunks, resolution, spool, digest)
            if not count:
                raise DataError(f"{name}: there is no image to pack; see 'degas-ray data list' for what a source needs")
            if labels is not None:
                _check_labels(name, labels, classes)
                digest.update(labels.tobytes())
            header = {
                "version": _VERSION,
                "name": name,
                "classes": list(classes),
                "fingerprint": digest.hexdigest(),
                "meta": dict(meta or {}),
            }
            _write_arrow(path, spool, count, resolution, labels, header)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DegasError(f"cannot write {path}: {reason}; free some space, or give another place with --home") from None
    return open_pack(path)


def open_pack(path: Path) -> Pack:
    """Map a pack into memory; costs the same for ten images and for a million.

    The structure is checked; the content is not read (:func:`degas_ray.data.check` does that).

    Raises:
        DataError: The file is missing, truncated, damaged or not a pack.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        header = _header(path, reader.schema.metadata)
        if reader.num_record_batches != 1:
            raise _damaged(path, f"it has {reader.num_record_batches} record batches, expected 1")
        batch = reader.get_batch(0)
        batch.validate()
        images, labels = _columns(path, batch)
    except FileNotFoundError:
        raise DataError(f"there is no pack at {path}; make one with 'degas-ray data prepare SOURCE'") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error).strip().partition("\n")[0]) from None
    classes = tuple(header["classes"])
    if labels is not None and len(labels) and not classes:
        raise _damaged(path, "it has labels and no classes")
    return Pack(
        images=images,
        labels=labels,
        classes=classes,
        name=header["name"],
        resolution=images.shape[1],
        fingerprint=header["fingerprint"],
        path=path,
        meta=header["meta"],
    )


def identity(name: str, classes: Iterable[str]) -> bytes:
    """Return what a fingerprint covers besides images and labels."""
    return json.dumps({"version": _VERSION, "name": name, "classes": list(classes)}, sort_keys=True).encode()


def _spool(chunks: Iterable[Chunk], resolution: int, spool: IO[bytes], digest: Any) -> tuple[int, Labels | None]:
    """Append the images to the spool; return how many there are, and all labels."""
    count = 0
    labels: list[Labels] = []
    shape = (resolution, resolution, 3)
    for images, some in chunks:
        assert images.dtype == np.uint8, images.dtype
        assert images.shape[1:] == shape, images.shape
        data = np.ascontiguousarray(images).data
        spool.write(data)
        digest.update(data)
        count += len(images)
        if some is not None:
            labels.append(np.ascontiguousarray(some, dtype=np.int64))
    if labels and sum(map(len, labels)) != count:
        raise DataError(f"{sum(map(len, labels))} labels for {count} images: label all of them or none")
    return count, np.concatenate(labels) if labels else None


def _check_labels(name: str, labels: Labels, classes: tuple[str, ...]) -> None:
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"{name}: labels run from {labels.min()} to {labels.max()}, but there are {len(classes)} classes; "
            f"labels must lie in 0..{len(classes) - 1}"
        )


def _write_arrow(
    path: Path, spool: IO[bytes], count: int, resolution: int, labels: Labels | None, header: Mapping[str, Any]
) -> None:
    """Write one record batch straight from the spool's pages."""
    spool.flush()
    pixels = resolution * resolution * 3
    kind = pa.fixed_shape_tensor(pa.uint8(), [resolution, resolution, 3])
    mapped = mmap.mmap(spool.fileno(), count * pixels, access=mmap.ACCESS_READ)  # unmapped when Arrow lets go of it
    flat = pa.Array.from_buffers(pa.uint8(), count * pixels, [None, pa.py_buffer(mapped)])
    arrays = [pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, pixels))]
    fields = [pa.field("image", kind, nullable=False)]
    if labels is not None:
        arrays.append(pa.array(labels))
        fields.append(pa.field("label", pa.int64(), nullable=False))
    schema = pa.schema(fields, metadata={_KEY: json.dumps(header, sort_keys=True).encode()})
    options = pa.ipc.IpcWriteOptions(allow_64bit=True)  # 200,000 images of 64x64 have more than 2^31 bytes
    with replacing(path) as file, pa.ipc.new_file(file, schema, options=options) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


def _remove_stale(folder: Path) -> None:
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()
        except FileNotFoundError:  # another process was faster
            continue


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a whole pack: {reason}; delete it and make it again with 'degas-ray data prepare SOURCE'"
    )


def _header(path: Path, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    text = (metadata or {}).get(_KEY)
    if text is None:
        raise _damaged(path, "it is an Arrow file without a pack's header")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged(path, "its header is not JSON") from None
    kinds = {"version": int, "name": str, "classes": list, "fingerprint": str, "meta": dict}
    if not isinstance(header, dict) or any(not isinstance(header.get(key), kind) for key, kind in kinds.items()):
        raise _damaged(path, f"its header lacks one of {', '.join(kinds)}")
    if not all(isinstance(name, str) for name in header["classes"]):
        raise _damaged(path, "its classes are not names")
    if header["version"] != _VERSION:
        raise DataError(
            f"{path} is a pack of version {header['version']}; this release reads {_VERSION}: "
            "make it again with 'degas-ray data prepare SOURCE'"
        )
    return header


def _columns(path: Path, batch: pa.RecordBatch) -> tuple[Images, Labels | None]:
    names = batch.schema.names
    if names not in (["image"], ["image", "label"]):
        raise _damaged(path, f"it has the columns {', '.join(names)}; expected image and perhaps label")
    column = batch.column(0)
    if not isinstance(column.type, pa.FixedShapeTensorType) or column.type.value_type != pa.uint8():
        raise _damaged(path, f"its images are {column.type}, expected a tensor of uint8")
    shape = tuple(column.type.shape)
    if len(shape) != 3 or shape[0] != shape[1] or shape[2] != 3 or shape[0] < 1:
        raise _damaged(path, f"its images have the shape {shape}, expected [R, R, 3]")
    if column.null_count or not len(column):
        raise _damaged(path, "it has no images, or holes among them")
    images = _view(column.storage.values, np.uint8, column.storage.offset * shape[0] * shape[1] * 3)
    images = images[: len(column) * shape[0] * shape[1] * 3].reshape(len(column), *shape)
    if len(names) == 1:
        return images, None
    label = batch.column(1)
    if label.type != pa.int64() or label.null_count:
        raise _damaged(path, f"its labels are {label.type} with {label.null_count} holes, expected int64 without")
    return images, _view(label, np.int64, 0)


def _view(array: pa.Array, dtype: Any, start: int) -> Any:
    """Return a read-only view of an array's values; the view keeps the mapping alive."""
    return array.to_numpy(zero_copy_only=True).view(dtype)[start:]
