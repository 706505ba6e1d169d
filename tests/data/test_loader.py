"""Batches: every image once an epoch, exact resume, and no random state but their own."""

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from source_formats import noise

from degas_ray.data import Batches, gather, gather_dequantised
from degas_ray.errors import DataError

IMAGES = noise(23, 8, 8)
LABELS = np.arange(23) % 4


def test_gather_scales_as_promised() -> None:
    picked = gather(IMAGES, [5, 2])
    expected = IMAGES[[5, 2]].transpose(0, 3, 1, 2).astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(picked.numpy(), expected, atol=1e-6)
    assert picked.is_contiguous()
    ends = gather(np.array([0, 255, 0], np.uint8).reshape(1, 1, 1, 3), [0]).flatten()
    assert ends.tolist() == [-1.0, 1.0, -1.0]


def test_dequantised_stays_within_its_level() -> None:
    """2 (x / 256 - 0.5) + U[0, 1/128): the noise fills exactly the step to the next level."""
    picked = gather_dequantised(IMAGES, np.arange(23), torch.Generator().manual_seed(0)).numpy()
    floor = 2 * (IMAGES.transpose(0, 3, 1, 2) / 256 - 0.5)
    excess = (picked - floor) * 128
    assert excess.min() >= -1e-5
    assert excess.max() <= 1 + 1e-5
    assert abs(excess.mean() - 0.5) < 0.02


def test_read_only_images_raise_no_warning() -> None:
    images = IMAGES.copy()
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Batches(images, 4, seed=0).next()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**63 - 1), st.data())
def test_each_index_at_most_once_an_epoch(count: int, size: int, seed: int, data: st.DataObject) -> None:
    size = min(size, count)
    chosen = np.array(data.draw(st.permutations(range(40))))[:count]
    batches = Batches(noise(40, 8, 8), size, seed, indices=chosen)
    for _ in range(2):
        seen = torch.cat([batches.next().indices for _ in range(batches.batches_per_epoch)]).tolist()
        assert len(seen) == len(set(seen)) == count // size * size
        assert set(seen) <= set(chosen.tolist())


def test_whole_epochs_cover_every_image() -> None:
    batches = Batches(IMAGES, 1, seed=0)
    epochs = [[int(batches.next().indices) for _ in range(23)] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(23))
    assert epochs[0] != epochs[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 25), st.integers(1, 8), st.booleans(), st.integers(0, 2**40))
def test_resume_is_exact(before: int, after: int, dequantise: bool, seed: int) -> None:
    def fresh() -> Batches:
        return Batches(IMAGES, 5, seed, labels=LABELS, dequantise=dequantise)

    whole = fresh()
    for _ in range(before):
        whole.next()
    position = json.loads(json.dumps(whole.position))
    resumed = fresh()
    resumed.seek(position)
    for _ in range(after):
        ours, theirs = resumed.next(), whole.next()
        assert torch.equal(ours.indices, theirs.indices)
        assert torch.equal(ours.images, theirs.images)
        assert ours.labels is not None
        assert torch.equal(ours.labels, theirs.labels)


def test_images_and_labels_belong_to_the_indices() -> None:
    batch = Batches(IMAGES, 6, seed=1, labels=LABELS).next()
    assert torch.equal(batch.images, gather(IMAGES, batch.indices))
    np.testing.assert_array_equal(batch.labels, LABELS[batch.indices.numpy()])


@pytest.mark.parametrize("dequantise", [False, True])
def test_global_random_states_are_left_alone(dequantise: bool) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    Batches(IMAGES, 6, seed=1, dequantise=dequantise).next()
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


def test_noise_differs_between_batches_and_seeds() -> None:
    still = np.zeros((4, 8, 8, 3), np.uint8)
    one, other = Batches(still, 4, seed=1, dequantise=True), Batches(still, 4, seed=2, dequantise=True)
    first, second, third = one.next().images, one.next().images, other.next().images
    assert not torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed 1, this run 0"),
        ({"batch_size": 4}, "batch_size 4, this run 5"),
        ({"images": 9}, "images 9, this run 23"),
        ({"batch": 4}, "an epoch has 4 batches"),
        ({"epoch": -1}, "does not exist"),
        ({"epoch": "1"}, "is no position"),
        ({"other": 1}, "is no position"),
    ],
)
def test_foreign_positions_are_refused(change: dict[str, object], words: str) -> None:
    batches = Batches(IMAGES, 5, seed=0)
    with pytest.raises(DataError, match=words):
        batches.seek({**batches.position, **change})


@pytest.mark.parametrize(
    ("size", "indices", "words"),
    [
        (24, None, "a batch of 24 cannot be drawn from 23 images; set a batch between 1 and 23"),
        (0, None, "a batch of 0"),
        (3, [0, 1], "from 2 images"),
        (1, [23], r"indices 23\.\.23 were asked of 23 images"),
        (1, [-1], "were asked of 23 images"),
    ],
)
def test_impossible_batches_are_refused(size: int, indices: list[int] | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Batches(IMAGES, size, seed=0, indices=indices)


def test_iteration_goes_on_for_ever() -> None:
    seen = [batch.indices for batch, _ in zip(Batches(IMAGES, 10, seed=0), range(7), strict=False)]
    assert len(seen) == 7
