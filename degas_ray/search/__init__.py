"""The GLO-DARTS search: a supernet of MixedOps, latents for every image, the alternating loop, pruning."""

from degas_ray.search.accelerate import accelerate
from degas_ray.search.prune import decidedness, prune
from degas_ray.search.searcher import Searcher, SearchResult, search
from degas_ray.search.supernet import Supernet

__all__ = ["SearchResult", "Searcher", "Supernet", "accelerate", "decidedness", "prune", "search"]
