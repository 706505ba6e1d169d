"""A cluster's file and its hosts: can they be reached from here, with what is installed here."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from degas_ray.doctor.findings import Finding
from degas_ray.errors import InputError
from degas_ray.files import path_of

SSH_PORT = 22
SECONDS = 5.0
CLOUDS = {"aws": ("boto3",), "gcp": ("googleapiclient", "google.auth"), "azure": ("azure.identity",)}
PIP = {"aws": "boto3", "gcp": "google-api-python-client google-auth", "azure": "azure-identity"}


@dataclass(frozen=True)
class Hosts:
    """What a cluster's file says of its hosts.

    Args:
        file: The file.
        provider: Its type: local, aws, gcp and so on.
        addresses: Of a local cluster, the head's first.
        key: The private key for ssh, where one is named.
    """

    file: Path
    provider: str
    addresses: tuple[str, ...]
    key: Path | None


def read_cluster(path: Path) -> Hosts:
    """Read what is needed of a cluster's YAML.

    Raises:
        InputError: With what is wrong with it.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the cluster's file {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; expected a cluster's YAML") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    provider = tree.get("provider") if isinstance(tree, dict) else None
    if not isinstance(provider, dict) or not isinstance(provider.get("type"), str):
        raise InputError(
            f"{path} has no provider.type; expected a cluster's YAML with 'provider: {{type: local, ...}}'"
        )
    auth = tree.get("auth")
    key = auth.get("ssh_private_key") if isinstance(auth, dict) else None
    if key is not None and not isinstance(key, str):
        raise InputError(f"{path}: auth.ssh_private_key: got {key!r}, expected the path of a private key")
    return Hosts(path, provider["type"], _addresses(path, provider), path_of(key) if key else None)


def _addresses(path: Path, provider: dict[str, Any]) -> tuple[str, ...]:
    if provider["type"] != "local":
        return ()
    head = provider.get("external_head_ip") or provider.get("head_ip")
    workers = provider.get("worker_ips") or []
    if not isinstance(head, str) or not isinstance(workers, list) or not all(isinstance(ip, str) for ip in workers):
        raise InputError(f"{path}: expected provider.head_ip: ADDRESS and provider.worker_ips: [ADDRESS, ...]")
    return (head, *workers)


def reachability(hosts: Hosts) -> Iterator[Finding]:
    """Look at the tools, the key and every host."""
    missing = [tool for tool in ("ssh", "rsync") if shutil.which(tool) is None]
    if missing:
        advice = (
            f"install them, such as: apt-get install {' '.join('openssh-client' if t == 'ssh' else t for t in missing)}"
        )
        yield Finding("cluster tools", "fault", f"{' and '.join(missing)} not installed here", advice)
    else:
        yield Finding("cluster tools", "ok", "ssh, rsync")
    if hosts.provider in CLOUDS:
        yield _cloud(hosts.provider)
    if hosts.key is not None:
        yield _key(hosts.key)
    for address in hosts.addresses:
        yield _host(address)


def _cloud(provider: str) -> Finding:
    missing = [name for name in CLOUDS[provider] if _is_missing(name)]
    if missing:
        return Finding(f"cluster {provider}", "fault", f"{missing[0]} is not installed", f"pip install {PIP[provider]}")
    return Finding(f"cluster {provider}", "ok", f"{', '.join(CLOUDS[provider])}; its hosts are made by the launch")


def _is_missing(name: str) -> bool:
    try:
        return find_spec(name) is None
    except ModuleNotFoundError:  # a parent package is missing
        return True


def _key(key: Path) -> Finding:
    if not key.is_file():
        advice = f"type: ssh-keygen -t ed25519 -f {key}, and put {key}.pub into the hosts' ~/.ssh/authorized_keys"
        return Finding("cluster key", "fault", f"{key} is missing", advice)
    if stat.S_IMODE(os.stat(key).st_mode) & 0o077:
        return Finding("cluster key", "fault", f"{key} can be read by others; ssh refuses it", f"type: chmod 600 {key}")
    return Finding("cluster key", "ok", str(key))


def _host(address: str) -> Finding:
    name = f"cluster {address}"
    try:
        with socket.create_connection((address, SSH_PORT), timeout=SECONDS):
            return Finding(name, "ok", f"answers on port {SSH_PORT}")
    except (OSError, UnicodeError) as error:  # a host name may be one that cannot be encoded
        advice = f"is it on, and does sshd run there? Try: ssh {address} true"
        return Finding(name, "fault", f"no answer on port {SSH_PORT}: {error}", advice)
