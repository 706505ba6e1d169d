"""The search space: operations, topology, genotypes, and the generators they describe. Needs torch alone."""

from degas_ray.space.generator import Generator, count_macs, count_parameters
from degas_ray.space.genotype import PUBLISHED, Edge, FeatureMap, Genotype, find_genotype
from degas_ray.space.operations import NONE, NORMAL_OPS, UPSAMPLE_OPS
from degas_ray.space.topology import Connection, Space

__all__ = [
    "NONE", "NORMAL_OPS", "PUBLISHED", "UPSAMPLE_OPS", "Connection", "Edge", "FeatureMap", "Generator", "Genotype",
    "Space", "count_macs", "count_parameters", "find_genotype",
]  # fmt: skip
