"""All findings about a machine, and about a cluster where a file of one is given."""

from collections.abc import Iterator
from pathlib import Path

from degas_ray.cluster.file import ClusterFile, read_cluster
from degas_ray.doctor import cluster, machine, software
from degas_ray.doctor.findings import Finding


def examine(home: Path, cluster_file: Path | None = None) -> list[Finding]:
    """Look at everything that a study depends on; nothing is written and nothing downloaded.

    Args:
        home: The home directory, which need not be there yet.
        cluster_file: A cluster's YAML, whose hosts are to be looked at too.

    Raises:
        ConfigError: With every fault of the cluster's file.
        InputError: Where that file cannot be read.
    """
    file = read_cluster(cluster_file) if cluster_file is not None else None
    return list(_findings(home, file))


def _findings(home: Path, file: ClusterFile | None) -> Iterator[Finding]:
    yield software.python()
    yield from software.packages()
    yield software.torch_build()
    yield machine.gpu()
    yield machine.precision(home)
    yield machine.cores()
    yield machine.memory()
    yield machine.shared_memory()
    yield machine.disk(home)
    yield machine.writable(home)
    yield software.database(home)
    yield from software.extractors(home)
    yield from machine.ray_ports()
    if file is not None:
        yield from cluster.reachability(file)
