"""Differentiable generator search (DEGAS) as a search cluster tool driven by Ray Tune.

The names that a script needs; ``examples/`` shows them at work. ``search`` is in :mod:`degas_ray.search`.
"""

from typing import TYPE_CHECKING

from degas_ray.lazy import lazy_names

_MODULES = {
    "Config": "config",
    "Genotype": "space",
    "build_generator": "gan",
    "find_genotype": "space",
    "generate": "gan",
    "load_extractor": "scores",
    "load_generator": "gan",
    "load_study": "study",
    "prepare": "data",
    "reference_statistics": "scores",
    "resolve": "config",
    "run_study": "study",
    "save_generator": "gan",
    "score": "scores.score",
    "split": "data",
    "train": "gan",
}
__all__ = list(_MODULES)

if TYPE_CHECKING:
    from degas_ray.config import Config as Config
    from degas_ray.config import resolve as resolve
    from degas_ray.data import prepare as prepare
    from degas_ray.data import split as split
    from degas_ray.gan import build_generator as build_generator
    from degas_ray.gan import generate as generate
    from degas_ray.gan import load_generator as load_generator
    from degas_ray.gan import save_generator as save_generator
    from degas_ray.gan import train as train
    from degas_ray.scores import load_extractor as load_extractor
    from degas_ray.scores import reference_statistics as reference_statistics
    from degas_ray.scores.score import score as score
    from degas_ray.space import Genotype as Genotype
    from degas_ray.space import find_genotype as find_genotype
    from degas_ray.study import load_study as load_study
    from degas_ray.study import run_study as run_study
else:
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
