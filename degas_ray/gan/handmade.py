"""Generators designed by hand, to compare searched ones with."""

import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.space.operations import Steps, generator_norm


class UpBlock(nn.Module):
    """BN-ReLU-up-conv3-BN-ReLU-conv3, with a nearest-up-conv1 shortcut; doubles the size."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        norm = generator_norm(num_classes)
        self.norm1, self.norm2 = norm(width), norm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width, width, 1)
        self.conditional = num_classes > 0

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map ``x`` [N, C, H, W] to [N, C, 2H, 2W]."""
        y = F.relu(self._normalise(self.norm1, x, labels))
        y = self.conv1(F.interpolate(y, scale_factor=2))
        y = self.conv2(F.relu(self._normalise(self.norm2, y, labels)))
        # A 1x1 convolution commutes with nearest up-sampling: done before it, it costs a quarter.
        up: Tensor = y + F.interpolate(self.shortcut(x), scale_factor=2)
        return up

    def _normalise(self, norm: nn.Module, x: Tensor, labels: Tensor | None) -> Tensor:
        normalised: Tensor = norm(x, labels) if self.conditional else norm(x)
        return normalised


class ResnetGenerator(nn.Module):
    """CT-GAN's generator for CIFAR-10: linear, three residual blocks that double the size, BN-ReLU-conv3-tanh.

    Args:
        width: Channels of every map.
        latent_dim: Length of a latent vector.
        resolution: A multiple of 8.
        num_classes: For conditional normalisation; 0 for plain.
    """

    def __init__(self, *, width: int = 128, latent_dim: int = 128, resolution: int = 32, num_classes: int = 0) -> None:
        super().__init__()
        self.width, self.latent_dim = width, latent_dim
        self.resolution, self.num_classes = resolution, num_classes
        self.linear = nn.Linear(latent_dim, width * (resolution // 8) ** 2)
        self.blocks = nn.ModuleList(UpBlock(width, num_classes) for _ in range(3))
        # CT-GAN's last normalisation has no labels.
        self.tail = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents [N, latent_dim] (and labels [N] if conditional) to images [N, 3, R, R] in (-1, 1)."""
        base = self.resolution // 8
        x = self.linear(z).view(-1, self.width, base, base)
        for block in self.blocks:
            x = block(x, labels)
        images: Tensor = self.tail(x)
        return images


class DcganGenerator(nn.Module):
    """DCGAN's generator: linear, then transposed convolutions of 4x4 that double the size and halve the channels.

    As WGAN-GP's code has it for CIFAR-10, with maps of 4, 2 and 1 times ``width`` before the image.

    Args:
        width: Channels of the last map before the image.
        latent_dim: Length of a latent vector.
        resolution: A multiple of 8.
        num_classes: For conditional normalisation; 0 for plain.
    """

    def __init__(self, *, width: int = 128, latent_dim: int = 128, resolution: int = 32, num_classes: int = 0) -> None:
        super().__init__()
        norm = generator_norm(num_classes)
        self.width, self.latent_dim = width, latent_dim
        self.resolution, self.num_classes = resolution, num_classes
        self.linear = nn.Linear(latent_dim, 4 * width * (resolution // 8) ** 2)
        self.stages = Steps(
            norm(4 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False),
            norm(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False),
            norm(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents [N, latent_dim] (and labels [N] if conditional) to images [N, 3, R, R] in (-1, 1)."""
        base = self.resolution // 8
        images: Tensor = self.stages(self.linear(z).view(-1, 4 * self.width, base, base), labels)
        return images


HANDMADE: dict[str, type[ResnetGenerator | DcganGenerator]] = {"resnet": ResnetGenerator, "dcgan": DcganGenerator}
