"""Adversarial objectives: one module each; add one by writing its module and naming it here."""

from collections.abc import Mapping
from typing import Any

from degas_ray.gan.frameworks.base import Batch, Fakes, Framework, Terms
from degas_ray.gan.frameworks.cagan import CAGAN
from degas_ray.gan.frameworks.ctgan import CTGAN
from degas_ray.gan.frameworks.r3gan import R3GAN
from degas_ray.gan.frameworks.sngan import SNGAN
from degas_ray.gan.frameworks.wgan_gp import WGAN_GP

FRAMEWORKS: dict[str, Framework] = {framework.name: framework for framework in (CTGAN, WGAN_GP, SNGAN, CAGAN, R3GAN)}
PRESETS: dict[str, Mapping[str, Any]] = {
    name: preset for framework in FRAMEWORKS.values() for name, preset in framework.presets.items()
}

__all__ = ["FRAMEWORKS", "PRESETS", "Batch", "Fakes", "Framework", "Terms"]
