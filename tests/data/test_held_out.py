"""Held-out images: disjoint from the training part, of known size, with each class's share, the same for everyone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degas_ray.data import Pack, check, held_out, held_out_count, open_pack, prepare, split, write_pack
from degas_ray.data.held_out import held_out_positions


def pack_of(folder: Path, count: int, classes: int = 3) -> Pack:
    images = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(count) % classes if classes else None
    names = tuple(map(str, range(classes)))
    return write_pack(folder / "noise.arrow", [(images, labels)], name="noise", resolution=8, classes=names)


@pytest.mark.parametrize(("images", "count"), [(49, 0), (50, 10), (1797, 359), (10_000, 2000), (60_000, 2000)])
def test_a_fifth_is_held_out_but_no_more_than_two_thousand(images: int, count: int) -> None:
    assert held_out_count(images) == count
    assert len(held_out_positions(images, None)) == count


@given(st.lists(st.integers(0, 6), min_size=50, max_size=400))
def test_each_class_keeps_its_share(labels: list[int]) -> None:
    every = np.array(labels)
    positions = held_out_positions(len(every), every)
    assert len(set(positions.tolist())) == len(every) // 5
    expected = np.bincount(every, minlength=7) / len(every) * len(positions)
    assert np.abs(np.bincount(every[positions], minlength=7) - expected).max() <= 1


def test_positions_without_labels_are_spread_and_always_the_same() -> None:
    positions = held_out_positions(1000, None)
    assert positions.tolist() == held_out_positions(1000, None).tolist() == sorted(set(positions.tolist()))
    assert 400 < positions.mean() < 600


@pytest.mark.parametrize("classes", [0, 3])
def test_both_parts_are_sound_packs_and_make_the_whole(tmp_path: Path, classes: int) -> None:
    whole = pack_of(tmp_path, 60, classes)
    training, second = split(whole)
    assert second is not None
    assert (len(training), len(second)) == (48, 12)
    both = np.concatenate([training.images, second.images]).reshape(60, -1)
    assert sorted(map(bytes, both)) == sorted(map(bytes, whole.images.reshape(60, -1)))
    assert check(training) == check(second) == ()
    assert len({whole.fingerprint, training.fingerprint, second.fingerprint}) == 3
    assert (training.labels is None) == (classes == 0)
    if classes:
        images = {bytes(image): label for image, label in zip(whole.images, whole.labels, strict=True)}
        assert all(images[bytes(i)] == label for i, label in zip(second.images, second.labels, strict=True))


def test_the_training_part_knows_what_is_held_out(tmp_path: Path) -> None:
    training, second = split(pack_of(tmp_path, 60))
    again = held_out(open_pack(training.path))
    assert second is not None
    assert again is not None
    assert again.fingerprint == second.fingerprint
    assert held_out(second) is None


def test_a_second_call_reads_the_same_files_and_mends_a_damaged_one(tmp_path: Path) -> None:
    whole = pack_of(tmp_path, 60)
    training, _ = split(whole)
    written = training.path.stat().st_mtime_ns
    assert split(whole)[0].path.stat().st_mtime_ns == written
    training.path.write_bytes(b"damaged")
    assert split(whole)[0].fingerprint == training.fingerprint


def test_other_images_under_the_same_name_are_divided_anew(tmp_path: Path) -> None:
    before, _ = split(pack_of(tmp_path, 60))
    after, _ = split(pack_of(tmp_path, 70))
    assert (len(before), len(after)) == (48, 56)


def test_a_very_small_pack_is_not_divided(tmp_path: Path) -> None:
    whole = pack_of(tmp_path, 49)
    assert split(whole) == (whole, None)
    assert held_out(whole) is None


def test_digits(tmp_path: Path) -> None:
    training, second = split(prepare("digits", tmp_path))
    assert second is not None
    assert (len(training), len(second)) == (1438, 359)
