"""Hand-designed generators: sizes from arithmetic, shapes at many resolutions, labels."""

import pytest
import torch

from degas_ray.config import TrainConfig
from degas_ray.errors import GenotypeError, InputError
from degas_ray.gan import HANDMADE, build_generator, count_sizes
from degas_ray.gan.build import measured_macs, name_of
from degas_ray.gan.handmade import UpBlock
from degas_ray.space import PUBLISHED, count_parameters


def config(width: int = 128, latent_dim: int = 128) -> TrainConfig:
    return TrainConfig(width=width, latent_dim=latent_dim)


def test_parameters_of_ctgans_resnet() -> None:
    linear = (128 + 1) * 4 * 4 * 128
    block = 2 * 2 * 128 + 2 * (9 * 128 + 1) * 128 + (128 + 1) * 128  # two BN, two conv3, one conv1
    tail = 2 * 128 + (9 * 128 + 1) * 3
    assert count_parameters(build_generator("resnet", config(), 32)) == linear + 3 * block + tail == 1_204_483


def test_parameters_of_dcgan() -> None:
    linear = (128 + 1) * 4 * 4 * 512
    norms = 2 * (512 + 256 + 128)
    deconvs = 16 * (512 * 256 + 256 * 128 + 128 * 3) + 3
    assert count_parameters(build_generator("dcgan", config(), 32)) == linear + norms + deconvs == 3_686_147


@pytest.mark.parametrize("what", [*HANDMADE, "degas-cifar10"])
@pytest.mark.parametrize("resolution", [8, 16, 24, 48])
def test_shapes_at_many_resolutions(what: str, resolution: int) -> None:
    generator = build_generator(what, config(4, 6), resolution)
    images = generator(torch.randn(3, 6))
    assert images.shape == (3, 3, resolution, resolution)
    assert images.abs().max().item() <= 1


@pytest.mark.parametrize("what", [*HANDMADE, "degas-stl10"])
def test_a_conditional_generator_listens_to_labels(what: str) -> None:
    generator = build_generator(what, config(4, 6), 16, num_classes=3)
    for name, parameter in generator.named_parameters():
        if name.endswith("shift"):
            torch.nn.init.normal_(parameter)
    z = torch.randn(4, 6).repeat(2, 1)
    images = generator(z, torch.tensor([0] * 4 + [1] * 4))
    assert not torch.allclose(images[:4], images[4:])
    with pytest.raises(ValueError, match="labels"):
        generator(z)


def test_the_shortcut_commutes_with_up_sampling() -> None:
    block = UpBlock(3, 0).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    up = torch.nn.functional.interpolate
    plain = block.conv2(torch.relu(block.norm2(block.conv1(up(torch.relu(block.norm1(x)), scale_factor=2)))))
    assert torch.allclose(block(x), plain + block.shortcut(up(x, scale_factor=2)), atol=1e-12)


def test_the_same_seed_gives_the_same_weights() -> None:
    one, same, other = (build_generator("resnet", config(4, 6), 16, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.linear.weight, same.linear.weight)
    assert not torch.equal(one.linear.weight, other.linear.weight)


def test_names_lead_back() -> None:
    assert name_of(build_generator("dcgan", config(4, 6), 16)) == "dcgan"
    assert name_of(build_generator("degas-stl10", config(4, 6), 16)) == str(PUBLISHED["degas-stl10"])


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(GenotypeError, match="'resnext'"):
        build_generator("resnext", config(), 32)
    with pytest.raises(InputError, match="resolution: got 20, expected a multiple of 8"):
        build_generator("resnet", config(), 20)


def test_multiply_adds_of_ctgans_resnet() -> None:
    linear = 128 * 4 * 4 * 128
    convs = sum(2 * 9 * 128**2 * (2 * size) ** 2 + 128**2 * size**2 for size in (4, 8, 16))
    tail = 9 * 128 * 3 * 32**2
    for classes in (0, 10):
        generator = build_generator("resnet", config(), 32, classes)
        assert count_sizes(generator)[1] == linear + convs + tail == 405_667_840


def test_multiply_adds_of_dcgan() -> None:
    linear = 128 * 4 * 4 * 512
    # A transposed convolution spreads every one of its inputs over 4x4 places.
    deconvs = 16 * (4**2 * 512 * 256 + 8**2 * 256 * 128 + 16**2 * 128 * 3)
    assert count_sizes(build_generator("dcgan", config(), 32))[1] == linear + deconvs == 69_730_304


def test_multiply_adds_of_a_genotype_are_what_torch_is_asked_for() -> None:
    # Without up_conv_3x3, which is run at less than its textbook cost.
    generator = build_generator("degas-cifar10-n2", config(6, 5), 16)
    assert count_sizes(generator) == (count_parameters(generator), measured_macs(generator))


@pytest.mark.parametrize("what", [*HANDMADE, "degas-cifar10", "degas-stl10"])
@pytest.mark.parametrize(("resolution", "latent"), [(16, 6), (32, 12), (48, 18), (64, 24)])
def test_the_latent_is_scaled_by_the_resolution_on_request(what: str, resolution: int, latent: int) -> None:
    scaled = TrainConfig(width=4, latent_dim=12, scale_latent=True)
    generator = build_generator(what, scaled, resolution)
    assert generator.latent_dim == latent
    assert generator(torch.zeros(2, latent)).shape == (2, 3, resolution, resolution)
    assert build_generator(what, config(4, 12), resolution).latent_dim == 12


def test_the_papers_transfer_from_cifar_to_stl() -> None:
    """CIFAR-10's net at 48x48: the same weights but for the first layer, which makes 6x6 maps of a longer latent."""
    paper = TrainConfig(width=128, latent_dim=128, scale_latent=True)
    small, large = build_generator("degas-cifar10", paper, 32), build_generator("degas-cifar10", paper, 48)
    first = (128 + 1) * 4 * 4 * 128, (192 + 1) * 6 * 6 * 128
    assert count_parameters(large) - count_parameters(small) == first[1] - first[0]
