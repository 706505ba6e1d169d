"""The pack file: zero copy, whole or absent, and refused with a sentence when damaged."""

import errno
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_formats import noise

from degas_ray.data import Pack, check, open_pack, summary, write_pack
from degas_ray.errors import DataError, DegasError

IMAGES = noise(50, 8, 8)
LABELS = np.arange(50) % 3
CLASSES = ("a", "b", "c")


def write(path: Path, images: np.ndarray = IMAGES, labels: np.ndarray | None = LABELS, chunk: int = 7) -> Pack:
    chunks = (
        (images[start : start + chunk], None if labels is None else labels[start : start + chunk])
        for start in range(0, len(images), chunk)
    )
    classes = CLASSES if labels is not None else ()
    return write_pack(path, chunks, name="test", resolution=8, classes=classes, meta={"made": "here"})


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return write(tmp_path / "p.arrow")


def test_content_comes_back(pack: Pack) -> None:
    np.testing.assert_array_equal(pack.images, IMAGES)
    np.testing.assert_array_equal(pack.labels, LABELS)
    assert (pack.name, pack.classes, pack.resolution, pack.meta) == ("test", CLASSES, 8, {"made": "here"})


def test_chunking_does_not_matter(tmp_path: Path, pack: Pack) -> None:
    other = write(tmp_path / "q.arrow", chunk=50)
    assert other.fingerprint == pack.fingerprint
    assert other.path.read_bytes() == pack.path.read_bytes()


@pytest.mark.parametrize("change", ["pixel", "label", "unlabelled"])
def test_fingerprint_covers_content(tmp_path: Path, pack: Pack, change: str) -> None:
    images, labels = IMAGES.copy(), LABELS.copy()
    images[3, 2, 1, 0] ^= change == "pixel"
    labels[3] = (labels[3] + (change == "label")) % 3
    other = write(tmp_path / "q.arrow", images, None if change == "unlabelled" else labels)
    assert other.fingerprint != pack.fingerprint


def test_images_are_the_file_itself(pack: Pack) -> None:
    """The array's address lies inside a mapping of the file."""
    address = pack.images.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            assert line.endswith(str(pack.path))
            return
    pytest.fail("the images lie in no mapping")


def test_images_cannot_be_written(pack: Pack) -> None:
    with pytest.raises(ValueError, match="read-only"):
        pack.images[0] = 0


def test_any_arrow_reader_opens_it(pack: Pack) -> None:
    table = pa.ipc.open_file(str(pack.path)).read_all()
    assert table.schema.field("image").type == pa.fixed_shape_tensor(pa.uint8(), [8, 8, 3])
    assert table["label"].to_pylist() == LABELS.tolist()


def test_sound_pack_has_no_faults(pack: Pack) -> None:
    assert check(pack) == ()


def test_check_finds_a_changed_pixel(pack: Pack) -> None:
    data = bytearray(pack.path.read_bytes())
    offset = data.index(IMAGES[10].tobytes())
    data[offset] ^= 1
    pack.path.write_bytes(data)
    assert check(open_pack(pack.path)) == (
        "the content does not match the fingerprint: the file was damaged or edited",
    )


def test_check_finds_blank_images(tmp_path: Path) -> None:
    assert check(write(tmp_path / "b.arrow", np.zeros_like(IMAGES))) == ("every pixel of every image is 0",)


def test_summary_agrees_with_numpy(pack: Pack) -> None:
    facts = summary(pack)
    assert facts["classes"] == {"a": 17, "b": 17, "c": 16}
    np.testing.assert_allclose(facts["mean"], IMAGES.reshape(-1, 3).mean(0), atol=1e-3)
    np.testing.assert_allclose(facts["std"], IMAGES.reshape(-1, 3).std(0), atol=1e-3)
    assert facts["range"] == [0, 255]


def test_labels_outside_the_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels run from 0 to 9, but there are 3 classes"):
        write(tmp_path / "p.arrow", labels=np.arange(50) % 10)
    assert list(tmp_path.iterdir()) == []


def test_labels_for_some_images_only_are_refused(tmp_path: Path) -> None:
    chunks = [(IMAGES[:5], LABELS[:5]), (IMAGES[5:], None)]
    with pytest.raises(DataError, match="5 labels for 50 images"):
        write_pack(tmp_path / "p.arrow", chunks, name="test", resolution=8, classes=CLASSES)


def test_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image to pack"):
        write_pack(tmp_path / "p.arrow", [], name="test", resolution=8)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_a_sentence_and_leaves_the_old_pack(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pack.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DegasError, match="No space left on device; free some space"):
        write(pack.path, IMAGES[::-1])
    assert pack.path.read_bytes() == before
    assert list(pack.path.parent.iterdir()) == [pack.path]


def test_failing_source_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> object:
        yield IMAGES, LABELS
        raise DataError("broken half-way")

    with pytest.raises(DataError, match="half-way"):
        write_pack(tmp_path / "p.arrow", chunks(), name="t", resolution=8, classes=CLASSES)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_parts_of_killed_writers_are_removed(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".x.arrow.1.part", tmp_path / ".x.arrow.2.part"
    old.write_bytes(b"old")
    fresh.write_bytes(b"another process is writing this")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    write(tmp_path / "p.arrow")
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, "p.arrow"]


def test_open_pack_survives_replacement(pack: Pack) -> None:
    write(pack.path, IMAGES[::-1].copy())
    np.testing.assert_array_equal(pack.images, IMAGES)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, 0.9, -1])
def test_truncated_pack_is_refused(pack: Pack, keep: float) -> None:
    data = pack.path.read_bytes()
    size = int(len(data) * keep) if isinstance(keep, float) else keep
    pack.path.write_bytes(data[:size])
    with pytest.raises(DataError, match=r"is not a whole pack: .*make it again with 'degas-ray data prepare"):
        open_pack(pack.path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no pack at"):
        open_pack(tmp_path / "none.arrow")
    with pytest.raises(DataError, match="is not a whole pack"):
        open_pack(tmp_path)
    with pa.OSFile(str(tmp_path / "other.arrow"), "wb") as file, pa.ipc.new_file(file, pa.schema([("x", pa.int8())])):
        pass
    with pytest.raises(DataError, match="without a pack's header"):
        open_pack(tmp_path / "other.arrow")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_damaged_bytes_never_crash(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, tail: bool
) -> None:
    """A changed byte in the file's structure is refused with a sentence, or changes nothing that is read."""
    folder = tmp_path_factory.mktemp("damage")
    data = bytearray(write(folder / "p.arrow", IMAGES[:2], LABELS[:2]).path.read_bytes())
    span = min(len(data), 1500)
    data[len(data) - 1 - place % span if tail else place % span] = value
    (folder / "d.arrow").write_bytes(data)
    with suppress(DataError):
        check(open_pack(folder / "d.arrow"))


def test_writing_takes_constant_memory(tmp_path: Path) -> None:
    """60 MB of images go through a process whose own memory grows by less than 20 MB."""
    code = """
import sys, threading
from pathlib import Path
import numpy as np
from degas_ray.data import write_pack

def private():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0])

chunk = np.zeros((100, 64, 64, 3), np.uint8)
write_pack(Path(sys.argv[1]) / "warm.arrow", [(chunk, None)], name="w", resolution=64)
before, peak, done = private(), 0, threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, private())
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
pack = write_pack(Path(sys.argv[1]) / "p.arrow", ((chunk, None) for _ in range(50)), name="big", resolution=64)
done.set()
watcher.join()
assert pack.images.nbytes > 60_000_000
assert peak - before < 20_000, (before, peak)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
