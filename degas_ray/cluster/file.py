"""A cluster's YAML: Ray's own, with one section of ours; all faults of both at once, by dotted path."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from degas_ray.cluster.settings import Launch
from degas_ray.config import Config, describe_fault, read_yaml, resolve
from degas_ray.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECTION = "degas"


@dataclass(frozen=True)
class Span:
    """A number that grows with the workers that there are.

    Args:
        least: With as few as the file allows.
        most: With as many.
    """

    least: float
    most: float


@dataclass(frozen=True)
class ClusterFile:
    """A cluster's YAML that has been found sound.

    Args:
        path: Of the file.
        ray: What is Ray's, as it was written.
        degas: What is ours.
        config: The study's settings, budget and price among them.
    """

    path: Path
    ray: Mapping[str, Any]
    degas: Launch
    config: Config

    @property
    def name(self) -> str:
        """The cluster's."""
        return str(self.ray["cluster_name"])

    @property
    def provider(self) -> str:
        """Who gives the hosts: local, aws, gcp, ..."""
        return str(self.ray["provider"]["type"])

    @property
    def here(self) -> bool:
        """Whether this machine is the whole cluster, so that nothing needs SSH."""
        return is_here(self.ray)

    @property
    def workers(self) -> Span:
        """How many workers there are beside the head."""
        return _sum(self.ray, lambda name: 1.0)

    @property
    def price(self) -> Span | None:
        """Dollars an hour, or ``None`` where the file names no prices."""
        return _price(self.ray, self.degas.prices)


def is_here(ray: Mapping[str, Any]) -> bool:
    """Return whether a cluster is one head on this machine."""
    provider = ray["provider"]
    return provider["type"] == "local" and provider.get("head_ip") in LOOPBACK and not provider.get("worker_ips")


def read_cluster(path: Path, experiment: Path | None = None) -> ClusterFile:
    """Read and check a cluster's YAML; nothing is contacted.

    Args:
        path: Of the file.
        experiment: Settings of the study as a YAML file, in the place of the one that ``degas.experiment`` names.

    Raises:
        ConfigError: With every fault of Ray's part, of ours and of the study's settings.
    """
    tree = read_yaml(path)
    section = tree.pop(SECTION, None) or {}
    faults = list(_ray_faults(tree))
    if not isinstance(section, Mapping):
        raise ConfigError([*faults, f"{SECTION}: got {section!r}, expected keys such as 'budget: {{hours: 2}}'"])
    try:
        degas = Launch.model_validate(section)
    except ValidationError as error:
        known = list(Launch.model_fields)
        raise ConfigError([*faults, *(f"{SECTION}.{describe_fault(item, known)}" for item in error.errors())]) from None
    if not faults:  # what follows needs a provider and its hosts
        faults += _own_faults(tree, degas)
    config = None
    try:
        config = _study(tree if not faults else {}, degas, path, experiment)
    except ConfigError as error:
        faults += [f"{_where(fault, degas)}{fault}" for fault in error.faults]
    if config is not None and not faults:
        faults += _unsaid_faults(tree, config)
    if faults or config is None:
        raise ConfigError(faults)
    return ClusterFile(path.absolute(), tree, degas, config)


def _study(ray: Mapping[str, Any], degas: Launch, path: Path, experiment: Path | None) -> Config:
    """Return the study's settings: the experiment, the file's own over it, its budget and the price."""
    limits = {f"study.budget.{key}": value for key, value in degas.budget.model_dump().items()}
    price = _price(ray, degas.prices) if ray else None
    limits["study.budget.dollars_per_hour"] = price.most if price is not None else None
    file = experiment or (path.parent / degas.experiment if degas.experiment is not None else None)
    return resolve(file, overrides={**_dotted(degas.settings), **limits})


def _where(fault: str, degas: Launch) -> str:
    """Return what stands before the path of a fault in the study's settings."""
    key = fault.partition(":")[0]
    if key.startswith("study.budget."):
        return "degas.budget, that is "
    given = _dotted(degas.settings)
    return f"{SECTION}.settings." if any(key.startswith(name) or name.startswith(key) for name in given) else ""


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _ray_faults(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Ray's own schema and defaults say against Ray's part."""
    os.environ["RAY_AUTH_MODE"] = "token"  # Ray reads it when it is imported, and clusters ask for a token
    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    sound = True
    # Ray takes min_workers of local hosts, but before it looks at its schema, which has no such key.
    checked = {key: value for key, value in tree.items() if key != "min_workers" or not isinstance(value, int)}
    for error in sorted(jsonschema.Draft7Validator(schema).iter_errors(checked), key=lambda item: list(item.path)):
        sound = False
        path = ".".join(map(str, error.path))
        yield f"{path}: {error.message}" if path else _top_level(error.message)
    name = tree.get("cluster_name")
    if isinstance(name, str) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name):
        yield f"cluster_name: got {name!r}, expected up to 40 letters, digits, dashes and underscores"
    if sound:
        yield from _provider_faults(tree)


def _top_level(message: str) -> str:
    missing = re.match(r"'(\w+)' is a required property", message)
    return f"{missing[1]}: missing" if missing else message


def _provider_faults(tree: Mapping[str, Any]) -> Iterator[str]:
    from ray.autoscaler._private.providers import _NODE_PROVIDERS

    provider = tree["provider"]
    if provider["type"] not in _NODE_PROVIDERS:
        yield f"provider.type: got {provider['type']!r}, expected one of {', '.join(sorted(_NODE_PROVIDERS))}"
        return
    if provider["type"] == "local":
        faults = list(_local_faults(tree))
        yield from faults
        if faults:
            return
    yield from _filled_faults(tree)


def _local_faults(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Ray would end this process for, in words of its own."""
    for key in ("head_node", "worker_nodes", "available_node_types"):
        if tree.get(key):
            yield f"{key}: not for provider.type local, whose hosts are head_ip and worker_ips"
    provider = tree["provider"]
    if "coordinator_address" in provider:
        yield "provider.coordinator_address: not supported; name the hosts with head_ip and worker_ips"
    if not isinstance(provider.get("head_ip"), str):
        yield f"provider.head_ip: got {provider.get('head_ip')!r}, expected an address, or 127.0.0.1 for this machine"
    if not isinstance(provider.get("worker_ips"), list):
        yield "provider.worker_ips: missing; expected a list of addresses, [] where the head works alone"


def _filled_faults(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Ray says once its defaults are filled in."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(dict(tree)))
    except jsonschema.ValidationError as error:
        yield f"{'.'.join(map(str, error.path)) or 'cluster'}: {error.message}"
    except ValueError as error:
        yield f"cluster: {error}"


def _own_faults(tree: Mapping[str, Any], degas: Launch) -> Iterator[str]:
    names = _types(tree)
    for name in degas.prices:
        if name not in names:
            yield f"degas.prices.{name}: there is no such node type; expected {' or '.join(names)}"
    if degas.budget.dollars is not None and not degas.prices:
        yield "degas.budget.dollars: counted by degas.prices, which are missing; add 'prices: {head: 0.50}'"
    if not is_here(tree) and degas.storage.home is None:
        yield (
            "degas.storage.home: missing; hosts over SSH need a folder that all of them mount, such as "
            "/shared/degas-runs"
        )
    alone = degas.tracking.host in LOOPBACK and degas.tracking.uri is None
    if alone and _sum(tree, lambda name: 1.0).most > 0:
        yield (
            f"degas.tracking.host: workers on other hosts cannot reach {degas.tracking.host}; give the head's address, "
            "or the uri of a server"
        )
    yield from _database_faults(tree, degas.tracking.uri or "")


def _database_faults(tree: Mapping[str, Any], uri: str) -> Iterator[str]:
    """Yield what keeps a SQLite file from being the database of a cluster's runs."""
    if not uri.startswith("sqlite:"):
        return
    if _sum(tree, lambda name: 1.0).most > 0:
        yield (
            f"degas.tracking.uri: got {uri!r}, a file, which several hosts cannot write safely; leave it out and "
            "set host: head, or give the address of a server or of PostgreSQL"
        )
    elif not is_here(tree) and not uri.startswith("sqlite:////"):
        yield (
            f"degas.tracking.uri: got {uri!r}, whose path begins in the job's own folder, which ends with the cluster; "
            "expected one that begins with /, such as sqlite:////shared/mlflow.db"
        )


def _unsaid_faults(ray: Mapping[str, Any], config: Config) -> Iterator[str]:
    """Yield what a study takes from the hosts that are there, where at first there is the head alone."""
    workers = _sum(ray, lambda name: 1.0)
    if workers.least or not workers.most:
        return
    unsaid = {"concurrent": config.study.concurrent, "gpus": config.study.gpus}
    if config.study.promote:
        unsaid["promotion_gpus"] = config.study.promotion_gpus
    for key, value in unsaid.items():
        if value is None:
            yield (
                f"degas.settings.study.{key}: missing; the cluster begins without workers, so it cannot be counted then"
            )


def _types(ray: Mapping[str, Any]) -> list[str]:
    """Return the names of node types that prices may be given for."""
    return ["head", "worker"] if ray["provider"]["type"] == "local" else list(ray.get("available_node_types", {}))


def _sum(ray: Mapping[str, Any], value: Any) -> Span:
    """Return the sum of ``value(node type)`` over the workers."""
    provider = ray["provider"]
    if provider["type"] == "local":
        count = len(provider["worker_ips"])
        least = min(ray.get("min_workers", count), count)
        return Span(least * value("worker"), min(ray.get("max_workers", count), count) * value("worker"))
    least = most = 0.0
    for name, node in ray.get("available_node_types", {}).items():
        if name != ray.get("head_node_type"):
            least += node.get("min_workers", 0) * value(name)
            most += node.get("max_workers", ray.get("max_workers", 2)) * value(name)
    return Span(least, most)


def _price(ray: Mapping[str, Any], prices: Mapping[str, float]) -> Span | None:
    if not prices:
        return None
    head = prices.get("head" if ray["provider"]["type"] == "local" else str(ray.get("head_node_type")), 0.0)
    workers = _sum(ray, lambda name: prices.get(name, 0.0))
    return Span(head + workers.least, head + workers.most)
