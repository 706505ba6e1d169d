"""Hosts over SSH: started by Ray's own launcher, then reached and looked at directly.

``ray up`` returns when the head is up, and ``ray down`` leaves the workers of local hosts running; so the hosts are
waited for, and each of them is gone to at the end. The token, and the code that is installed here, are copied to
``~/.degas-ray/MARK`` on every host.
"""

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import degas_ray
from degas_ray.cluster import commands
from degas_ray.cluster.file import ClusterFile
from degas_ray.cluster.hosts import Say, run_within, tail
from degas_ray.cluster.state import ClusterFolder, State
from degas_ray.cluster.tunnel import Tunnel
from degas_ray.errors import DegasError
from degas_ray.ports import LOOPBACK, free_port

UP_SECONDS = 1800.0  # a cloud's hosts are made and set up meanwhile
SSH_SECONDS = 15
UNREACHABLE = 255


class OverSsh:
    """A cluster whose head is another host, or has workers.

    Args:
        file: The cluster's.
        folder: Of the cluster on this machine.
        state: Ports and the hosts' Python.
    """

    def __init__(self, file: ClusterFile, folder: ClusterFolder, state: State) -> None:
        self.file, self.folder, self.state = file, folder, state
        self.yaml = folder.root / "ray.yaml"
        self.away = f"$HOME/.degas-ray/{state.mark}"

    def start(self, say: Say) -> None:
        """Copy what the hosts need and run ``ray up``.

        Raises:
            DegasError: Where it fails, with the end of its log.
        """
        self._write_upload()
        self.yaml.write_text(yaml.safe_dump(self._ray_config(), sort_keys=False), encoding="utf-8")
        say(f"ray up: its log is {self.folder.log}")
        self._ray("up", "--no-config-cache")

    def _ray(self, verb: str, *options: str) -> None:
        words = [sys.executable, "-m", "ray.scripts.scripts", verb, "-y", *options, str(self.yaml)]
        # With the second autoscaler the workers of local hosts are never contacted (Ray 2.60).
        environment = {**os.environ, "RAY_UP_enable_autoscaler_v2": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        with self.folder.log.open("wb" if verb == "up" else "ab") as log:
            code = run_within(UP_SECONDS, words, environment, log)
        if code is None:
            raise DegasError(
                f"'ray {verb}' did not end within {UP_SECONDS:.0f} s; 'degas-ray doctor {self.file.path}' looks for "
                f"what stops a host. The end of {self.folder.log}:\n{tail(self.folder.log)}"
            )
        if code:
            raise DegasError(f"'ray {verb}' failed; the end of {self.folder.log}:\n{tail(self.folder.log)}")

    def run(self, command: str) -> str:
        """Run a shell command on the head and return what it prints.

        Raises:
            DegasError: Where it fails.
        """
        code, out, said = self._on(self._head(), command)
        if code:
            raise DegasError(f"on the head: {said.strip() or out.strip() or f'{command} ended with {code}'}")
        return out

    @contextmanager
    def reach(self) -> Iterator[str]:
        """Give the dashboard's address through a tunnel, since it listens on the head's loopback alone.

        Where the connection breaks it is opened again, and the address stays the same.
        """
        port = free_port(LOOPBACK)
        forward = f"{LOOPBACK}:{port}:{LOOPBACK}:{self.state.dashboard}"
        words = [*self._ssh(), "-N", "-o", "ExitOnForwardFailure=yes", "-L", forward, self._user(self._head())]
        tunnel = Tunnel(words, port)
        try:
            tunnel.wait(SSH_SECONDS)
            yield f"http://{LOOPBACK}:{port}"
        finally:
            tunnel.close()

    def end(self, say: Say) -> list[str]:
        """End every process of the cluster, the head's first since it would start its workers again; then look."""
        if self.file.provider != "local":
            say("giving the hosts back")
            self._ray("down")
            return []
        left = []
        for host in [self._head(), *self.file.ray["provider"]["worker_ips"]]:
            say(f"ending what runs on {host}")
            code, out, said = self._on(host, commands.end_all(self.state.python, self.state.mark))
            if code == UNREACHABLE:
                left.append(f"{host}  cannot be reached: {said.strip()}; what runs there ends by itself without a head")
            elif "No module named" in said:
                continue  # nothing was ever copied there, so nothing was started
            elif code:
                left += [f"{host}  {line}" for line in (out or said).splitlines()]
            else:
                self._on(host, f"rm -rf {self.away} /tmp/degas-ray-{self.state.mark}")
        return left

    def _ray_config(self) -> dict[str, Any]:
        """Return Ray's part of the file with our mounts, and our start commands where it has none."""
        state, ray = self.state, dict(self.file.ray)
        upload = str(self.folder.root / "upload")
        ray["file_mounts"] = {
            **ray.get("file_mounts", {}),
            f"~/.degas-ray/{state.mark}": upload,
            "~/.degas-ray/requirements.txt": f"{upload}/requirements.txt",
        }
        exports = f"export {commands.assignments(self._environment())}; cd /;"
        folder = f"/tmp/degas-ray-{state.mark}"
        more = "--autoscaling-config=~/ray_bootstrap_config.yaml"
        head = commands.start_head(
            state.python, state.mark, folder, gcs=state.gcs, dashboard=state.dashboard, more=more
        )
        ray.setdefault("head_start_ray_commands", [f"{exports} {head}"])
        worker = commands.start_worker(state.python, state.mark, folder, state.gcs)
        ray.setdefault("worker_start_ray_commands", [f"{exports} {worker}"])
        return ray

    def _write_upload(self) -> None:
        upload = self.folder.root / "upload"
        shutil.rmtree(upload, ignore_errors=True)
        package = Path(degas_ray.__file__).parent
        shutil.copytree(package, upload / "code" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(self.folder.token, upload / "token")
        (upload / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")
        # Ray copies nothing to a host that had the very same files before, though `down` has removed them since.
        (upload / "launch").write_text(secrets.token_hex(8), encoding="ascii")

    def _environment(self) -> Mapping[str, str]:
        own = commands.environment(self.state.mark, f"{self.away}/token", here=False)
        return own | {"PYTHONPATH": f"{self.away}/code"}

    def _on(self, host: str, command: str) -> tuple[int, str, str]:
        """Run a command on a host; return its exit code and what it says."""
        line = f"export {commands.assignments(self._environment())}; cd /; {command}"
        done = subprocess.run(
            [*self._ssh(), self._user(host), f"bash -c {shlex.quote(line)}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def _ssh(self) -> list[str]:
        auth = self._auth()
        words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={SSH_SECONDS}"]
        # A host that is switched off says nothing: without these a connection to it would stay open for hours.
        words += ["-o", f"ServerAliveInterval={SSH_SECONDS}", "-o", "ServerAliveCountMax=3"]
        words += ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.folder.root / 'hosts'}"]
        if "ssh_private_key" in auth:
            words += ["-i", str(Path(auth["ssh_private_key"]).expanduser())]
        if "ssh_proxy_command" in auth:
            words += ["-o", f"ProxyCommand={auth['ssh_proxy_command']}"]
        return [*words, "-o", "LogLevel=ERROR"]

    def _auth(self) -> Mapping[str, Any]:
        if self.file.provider == "local":
            return dict(self.file.ray.get("auth", {}))
        from ray.autoscaler.sdk import bootstrap_config  # names the key that Ray made for the cloud's hosts

        return dict(bootstrap_config(yaml.safe_load(self.yaml.read_text(encoding="utf-8")))["auth"])

    def _user(self, host: str) -> str:
        user = self._auth().get("ssh_user")
        return f"{user}@{host}" if user else host

    def _head(self) -> str:
        if self.file.provider == "local":
            provider = self.file.ray["provider"]
            return str(provider.get("external_head_ip") or provider["head_ip"])
        from ray.autoscaler.sdk import get_head_node_ip

        return str(get_head_node_ip(str(self.yaml)))


def requirements() -> list[str]:
    """Return what the hosts' Python must have: this package's needs, with Ray in the very version that is here."""
    needs = [text.partition(";")[0].strip() for text in metadata.requires("degas-ray") or () if "extra ==" not in text]
    others = [text for text in needs if not text.startswith("ray[")]
    return [f"ray[default,tune]=={metadata.version('ray')}", *others]
