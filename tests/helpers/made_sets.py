"""Data sets as people may have them, drawn at random; what must become of them is known beforehand.

An image of class k is an even grey of level :func:`level`, in whatever mode and size, so that pixels tell the label.
"""

import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAMES = ("ape", "bee", "cat", "dog", "eel", "é", "a b", "0")
SPLITS = (("train", "test"), ("train", "val", "test"), ("training", "testing"), ("seg_train", "seg_test"))
JUNK = ("notes.txt", "labels.csv", "model.bin", "film.mp4", "x.pdf")
SIDE = (
    ".DS_Store",
    "Thumbs.db",
    "._0.png",
    ".hidden.png",
    "desktop.ini",
    "_SUCCESS",
    "@eaDir/0.png",
    "__MACOSX/._a.png",
)
LEVELS = 8


def level(label: int) -> int:
    """Return the grey of a class."""
    return 20 + 30 * label


def class_of(image: np.ndarray) -> int:
    """Return the class whose grey an image has; -1 for none's."""
    value = float(image.mean())
    label = round((value - 20) / 30)
    return label if abs(value - level(label)) < 5 and image.max() - image.min() < 12 else -1


@dataclass
class Made:
    """What was written.

    Args:
        taken: Class of every image that must be packed.
        entries: Files, links and pipes that must be packed or left out.
        unreadable: Files among them that are images which no decoder reads.
        split: To ask for; None for the default.
    """

    taken: list[str] = field(default_factory=list)
    entries: int = 0
    unreadable: list[Path] = field(default_factory=list)
    split: str | None = None


def picture(rng: np.random.Generator, label: int) -> bytes:
    """Return an image file of a class, in any format and mode."""
    side = (int(rng.integers(1, 20)), int(rng.integers(1, 20)))
    grey = Image.new("L", side, level(label))
    kinds = {
        "PNG": ("L", "RGB", "RGBA", "LA", "P", "I;16"), "TIFF": ("L", "RGB", "CMYK", "F", "I;16"),
        "BMP": ("L", "RGB"), "GIF": ("L", "P"), "JPEG": ("L", "RGB", "CMYK"),
        "WEBP": ("RGB", "RGBA"), "PPM": ("L", "RGB"),
    }  # fmt: skip
    kind = str(rng.choice(list(kinds)))
    mode = str(rng.choice(kinds[kind]))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    elif mode == "CMYK":
        image = Image.merge("CMYK", [*[Image.new("L", side, 0)] * 3, Image.new("L", side, 255 - level(label))])
    else:
        image = grey.convert(mode)
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    if kind in ("PNG", "JPEG", "WEBP", "TIFF") and rng.random() < 0.3:
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def make_folder(root: Path, rng: np.random.Generator) -> Made:
    """Write a folder of classes with anything that may lie in one; the store of its links is beside it."""
    made = Made()
    names = [str(name) for name in rng.permutation(NAMES)[: int(rng.integers(2, 5))]]
    top = root / "/".join(["wrapper"] * int(rng.integers(0, 3)))
    splits: tuple[str, ...] = SPLITS[int(rng.integers(len(SPLITS)))] if rng.random() < 0.4 else ("",)
    made.split = "all" if splits != ("",) and rng.random() < 0.3 else None
    for split in splits:
        train = made.split == "all" or "train" in split or split == ""
        for name in names:
            _fill(top / split / name, rng, name, made, train)
    strays = int(rng.integers(0, 2)) if min(map(made.taken.count, names)) > 1 and splits == ("",) else 0
    for number in range(strays):
        _write(top / f"preview{number}.png", picture(rng, 0), made)
    for place in (root, top / splits[0] / names[0], top / splits[-1]):
        for name in rng.permutation([*SIDE, *JUNK])[: int(rng.integers(0, 4))]:
            _write(place / str(name), b"side", made)
    _unreadable(top / splits[0] / names[0], rng, made)
    _links(top / splits[0] / names[0], root, rng, made)
    return made


def _fill(folder: Path, rng: np.random.Generator, name: str, made: Made, taken: bool) -> None:
    label = NAMES.index(name)
    for number in range(int(rng.integers(2, 6))):
        suffix = str(rng.choice([".png", ".JPG", "", ".jpg_large", ".tif", ".img"]))
        deeper = "sub/" * int(rng.integers(0, 2))
        file = folder / f"{deeper}{number}{suffix}"
        if rng.random() < 0.15:
            store = _store(folder)
            target = store / f"{rng.integers(1 << 60)}"
            target.write_bytes(picture(rng, label))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.symlink_to(target)
            made.entries += 1
        else:
            _write(file, picture(rng, label), made)
        made.taken += [name] * taken


def _store(folder: Path) -> Path:
    """Return the folder beside the set that links lead to."""
    store = next(parent for parent in folder.parents if parent.name == "set").parent / "store"
    store.mkdir(exist_ok=True)
    return store


def _unreadable(folder: Path, rng: np.random.Generator, made: Made) -> None:
    for content, name in ((b"", "empty.png"), (b"\xff\x0a" + bytes(30), "x.jxl"), (b"\x89PNG\r\n\x1a\nhalf", "half")):
        if rng.random() < 0.1:
            _write(folder / f"bad-{name}", content, made)
            made.unreadable.append(folder / f"bad-{name}")


def _links(folder: Path, root: Path, rng: np.random.Generator, made: Made) -> None:
    for name, target in (("self", "self"), ("up", ".."), ("dead.png", "nowhere"), ("root", str(root))):
        if rng.random() < 0.15:
            (folder / name).symlink_to(target)
            made.entries += 1
    if rng.random() < 0.1:
        os.mkfifo(folder / "pipe.png")
        made.entries += 1


def _write(file: Path, content: bytes, made: Made) -> None:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        made.entries += 1


def make_parquet(root: Path, rng: np.random.Generator) -> Made:
    """Write Parquet files with labels of any type, in shards, splits and folders, with side files between them."""
    made = Made()
    names = [str(name) for name in rng.permutation(NAMES)[: int(rng.integers(2, 5))]]
    kind = str(rng.choice(["hub", "text", "number", "float", "dictionary", "list", "hive", "none"]))
    splits: tuple[str, ...] = SPLITS[int(rng.integers(2))] if rng.random() < 0.5 else ("",)
    made.split = "all" if splits != ("",) and rng.random() < 0.3 else None
    form = int(rng.integers(3))
    for split in splits:
        for shard in range(int(rng.integers(1, 4))):
            words = {
                0: f"data/{split or 'part'}-{shard:05d}-of-00003",
                1: f"{split or 'part'}/{shard}",
                2: f"{split}{shard}",
            }
            train = made.split == "all" or split in ("", "train", "training")
            _shard(root / f"{words[form]}.parquet", rng, names, kind, made, train)
    for name in rng.permutation([*SIDE, "._0.parquet", "_temporary/x.parquet"])[: int(rng.integers(0, 4))]:
        _write(root / str(name), b"side", made)
    return made


def _shard(file: Path, rng: np.random.Generator, names: list[str], kind: str, made: Made, taken: bool) -> None:
    if kind == "hive":
        label = str(rng.choice(names))
        file = file.parent / f"label={label}" / file.name
        labels = [label] * int(rng.integers(1, 6))
    else:
        labels = [str(label) for label in rng.choice(names, int(rng.integers(1, 6)))]
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = []
    for number, label in enumerate(labels):
        content = picture(rng, NAMES.index(label))
        if rng.random() < 0.2:
            name = f"{file.stem}-{number}.img"
            beside = file.parent / name
            beside.write_bytes(content)
            root = next(parent for parent in file.parents if parent.name == "set")
            cells.append({"bytes": None, "path": str(beside.relative_to(root))})
        else:
            cells.append({"bytes": content, "path": f"{number}.png"})
    columns: dict[str, object] = {"image": pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    codes = [NAMES.index(label) for label in labels]
    shuffled = [str(name) for name in rng.permutation(NAMES)]
    metadata = None
    if kind == "hub":
        codes = [shuffled.index(label) for label in labels]
        features = {"label": {"names": shuffled, "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    values = {
        "hub": codes, "text": labels, "number": codes, "float": list(map(float, codes)),
        "dictionary": pa.array(labels).dictionary_encode(), "list": [[code] for code in codes],
    }  # fmt: skip
    if kind in values:
        columns[str(rng.choice(["label", "labels", "Label"])) if kind == "text" else "label"] = values[kind]
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), file, row_group_size=int(rng.integers(1, 4)))
    numbers = kind in ("number", "float", "list")
    made.entries += len(labels)
    made.taken += ["" if kind == "none" else str(NAMES.index(name)) if numbers else name for name in labels] * taken
