"""Samples: seeds, batches, statistics that leave the generator alone, bytes."""

import numpy as np
import pytest
import torch

from degas_ray.config import TrainConfig
from degas_ray.errors import InputError
from degas_ray.gan import build_generator, generate
from degas_ray.gan.sampling import to_uint8


def small(num_classes: int = 0) -> torch.nn.Module:
    return build_generator("resnet", TrainConfig(width=4, latent_dim=6), 8, num_classes)


def samples(generator: torch.nn.Module, count: int, **options: object) -> np.ndarray:
    return np.concatenate(list(generate(generator, count, **options)))  # type: ignore[arg-type]


def test_batches_and_shapes() -> None:
    sizes = [part.shape for part in generate(small(), 25, seed=0, batch=10)]
    assert sizes == [(10, 8, 8, 3), (10, 8, 8, 3), (5, 8, 8, 3)]
    assert [part.shape for part in generate(small(), 1, seed=0)] == [(1, 8, 8, 3)]


def test_a_seed_repeats_and_a_shorter_run_is_a_beginning() -> None:
    generator = small()
    long = samples(generator, 30, seed=1, batch=10)
    assert np.array_equal(samples(generator, 15, seed=1, batch=10), long[:15])
    assert not np.array_equal(samples(generator, 30, seed=2, batch=10), long)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_generator_changes(training: bool) -> None:
    generator = small().train(training)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    iterator = generate(generator, 20, seed=0, batch=10)
    next(iterator)
    assert all(module.training is training for module in generator.modules())
    assert all(m.track_running_stats for m in generator.modules() if isinstance(m, torch.nn.BatchNorm2d))
    next(iterator)
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.state_dict().items())


def test_statistics_are_the_batchs_or_the_running_ones() -> None:
    generator = small()
    with torch.no_grad():
        for _ in range(3):
            generator(torch.randn(50, 6))  # the running statistics move away from where they began
    z = torch.randn((10, 6), generator=torch.Generator().manual_seed(5))
    running = to_uint8(generator.eval()(z).detach())
    assert np.array_equal(samples(generator, 10, seed=5, batch=10, bn="running"), running)
    batch = to_uint8(generator.train()(z).detach())
    assert np.array_equal(samples(generator, 10, seed=5, batch=10, bn="batch"), batch)
    assert not np.array_equal(running, batch)


def test_labels_choose_the_class() -> None:
    generator = small(num_classes=2)
    for name, parameter in generator.named_parameters():
        if name.endswith("shift"):
            torch.nn.init.normal_(parameter)
    ones = samples(generator, 12, seed=0, batch=5, labels=[1] * 12)
    assert not np.array_equal(ones, samples(generator, 12, seed=0, batch=5, labels=[0] * 12))
    assert samples(generator, 12, seed=0, batch=5).shape == ones.shape


@pytest.mark.parametrize("labels", [[2], [-1], [0.5], [[0]], [0, 1]])
def test_labels_that_do_not_fit_are_refused(labels: list[object]) -> None:
    with pytest.raises(InputError, match="labels: expected 1 whole numbers from 0 to 1"):
        generate(small(num_classes=2), 1, seed=0, labels=labels)


def test_more_that_is_refused() -> None:
    with pytest.raises(InputError, match="not conditional"):
        generate(small(), 1, seed=0, labels=[0])
    with pytest.raises(InputError, match="got 0 in batches of 100"):
        generate(small(), 0, seed=0)


def test_bytes_are_256_equal_bins() -> None:
    values = torch.tensor([-1.0, -0.99, 0.0, 0.999, 1.0]).view(1, 1, 1, 5).repeat(1, 3, 1, 1)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 1, 127, 255, 255]
