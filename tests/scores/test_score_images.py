"""Images to score, as they lie in packs, folders and arrays."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cleanfid.fid import get_folder_features
from cleanfid.resize import make_resizer
from PIL import Image
from standin_networks import tiny_extractor

from degas_ray.config import TrainConfig
from degas_ray.data import write_pack
from degas_ray.errors import DataError, InputError
from degas_ray.gan import build_generator, generate
from degas_ray.scores import extract, image_batches


def noise(count: int, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_a_folder_an_array_and_a_pack_give_the_same_batches(tmp_path: Path) -> None:
    images = noise(23)
    pack = write_pack(tmp_path / "noise.arrow", [(images, None)], name="noise", resolution=16)
    (tmp_path / "png" / "deeper").mkdir(parents=True)
    for index, image in enumerate(images):
        place = "" if index < 20 else "deeper/"  # sorts behind the digits
        Image.fromarray(image).save(tmp_path / "png" / f"{place}{index:03}.png")
    (tmp_path / "png" / "notes.txt").write_text("no image")
    for source in (images, pack, pack.path, tmp_path / "png"):
        batches = list(image_batches(source, 10))
        assert [len(batch) for batch in batches] == [10, 10, 3]
        assert np.array_equal(np.concatenate(batches), images)


def test_mixed_sizes_and_modes_come_as_clean_fid_reads_them(tmp_path: Path) -> None:
    colour, wide = Image.fromarray(noise(1)[0]), Image.fromarray(noise(1, 12, 30)[0])
    colour.save(tmp_path / "a.png")
    wide.save(tmp_path / "b.jpg")
    wide.convert("L").save(tmp_path / "c.PNG")
    colour.convert("P").save(tmp_path / "d.bmp")
    colour.convert("RGBA").save(tmp_path / "e.webp", lossless=True)
    extractor = tiny_extractor()
    batches = list(image_batches(tmp_path, 10))
    assert [batch.shape for batch in batches] == [(3, 16, 16, 3), (2, 12, 30, 3)]
    ours = np.concatenate([extractor(batch).features.numpy() for batch in batches])
    resizer = make_resizer("PIL", False, "bicubic", (16, 16))
    theirs = get_folder_features(
        str(tmp_path),
        lambda resized: extractor._run(resized)[0],
        num_workers=0,
        device="cpu",
        custom_fn_resize=resizer,
        verbose=False,
    )
    np.testing.assert_allclose(np.sort(ours, 0), np.sort(theirs, 0), atol=1e-3)


def test_what_cannot_be_scored_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent"):
        image_batches(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no image below .*; expected files such as a\.png"):
        image_batches(tmp_path)
    with pytest.raises(InputError, match=r"got images float64 \[2, 16, 16, 3\], expected uint8"):
        image_batches(noise(2) / 255)
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image.*repair it or remove it"):
        list(image_batches(tmp_path))


def test_fifty_thousand_samples_never_live_at_once() -> None:
    generator = build_generator("resnet", TrainConfig(width=2, latent_dim=4), 8, 0)
    alive, most = 0, 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def watched() -> Iterator[np.ndarray]:
        nonlocal alive, most
        batches = generate(generator, 50_000, seed=0, batch=1000)
        while (images := next(batches, None)) is not None:
            alive += 1
            most = max(most, alive)
            weakref.finalize(images, gone)
            yield images
            del images

    assert len(extract(watched(), tiny_extractor())) == 50_000
    assert most <= 2  # the batch that is measured and the next one
    assert alive == 0
