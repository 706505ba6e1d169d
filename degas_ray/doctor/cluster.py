"""A cluster's hosts: can they be reached from here, with what is installed here."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from degas_ray.cluster.file import ClusterFile
from degas_ray.doctor.findings import Finding
from degas_ray.files import path_of

SSH_PORT = 22
SECONDS = 5.0
CLOUDS = {"aws": ("boto3",), "gcp": ("googleapiclient", "google.auth"), "azure": ("azure.identity",)}
PIP = {"aws": "boto3", "gcp": "google-api-python-client google-auth", "azure": "azure-identity"}


def reachability(file: ClusterFile) -> Iterator[Finding]:
    """Look at the tools, the key and every host; a cluster that is this machine alone needs none of them.

    Args:
        file: The cluster's.
    """
    if file.here:
        yield Finding("cluster", "ok", f"{file.name} is this machine alone; nothing goes over SSH")
        return
    missing = [tool for tool in ("ssh", "rsync") if shutil.which(tool) is None]
    if missing:
        packages = " ".join("openssh-client" if tool == "ssh" else tool for tool in missing)
        advice = f"install them, such as: apt-get install {packages}"
        yield Finding("cluster tools", "fault", f"{' and '.join(missing)} not installed here", advice)
    else:
        yield Finding("cluster tools", "ok", "ssh, rsync")
    if file.provider in CLOUDS:
        yield _cloud(file.provider)
    auth = file.ray.get("auth", {})
    if (key := auth.get("ssh_private_key")) is not None:
        yield _key(path_of(key))
    if file.provider != "local":
        return
    if auth.get("ssh_proxy_command"):
        yield Finding("cluster hosts", "note", "behind a proxy command; not looked at", "try: degas-ray launch")
        return
    provider = file.ray["provider"]
    for address in (provider.get("external_head_ip") or provider["head_ip"], *provider["worker_ips"]):
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
