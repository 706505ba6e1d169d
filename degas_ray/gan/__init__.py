"""Adversarial training: critic, frameworks, hand-designed generators, the loop, samples, generator files, exports."""

from degas_ray.gan.build import build_critic, build_generator, count_sizes
from degas_ray.gan.export import FORMATS, export_generator
from degas_ray.gan.files import Frozen, load_generator, open_generator, save_generator
from degas_ray.gan.frameworks import FRAMEWORKS, PRESETS
from degas_ray.gan.handmade import HANDMADE
from degas_ray.gan.sampling import generate
from degas_ray.gan.trainer import TrainResult, train

__all__ = [
    "FORMATS", "FRAMEWORKS", "HANDMADE", "PRESETS", "Frozen", "TrainResult", "build_critic", "build_generator",
    "count_sizes", "export_generator", "generate", "load_generator", "open_generator", "save_generator", "train",
]  # fmt: skip
