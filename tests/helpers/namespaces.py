"""Hosts on one machine: network namespaces on a bridge, each with processes, mounts, a name and an sshd of its own.

The bridge is in the namespace of the launcher, so that no address of it is ever in the machine's own. Needs root and
the packages openssh-server, rsync and iproute2.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LAUNCHER = "10.77.0.254"
SHARED = "/mnt/shared"  # on every host
OWN = ("/tmp", "/root", "/dev/shm", "/run")  # folders that each host has for itself
HOST = """
set -e
hostname {name}
mount -t tmpfs tmpfs /mnt
mkdir /mnt/shared /mnt/keep
mount --bind {shared} /mnt/shared
index=0
for keep in {keep}; do
    index=$((index + 1)); mkdir /mnt/keep/$index; mount --bind $keep /mnt/keep/$index
done
for folder in {own}; do mount -t tmpfs tmpfs $folder; done
chmod 1777 /tmp /dev/shm
index=0
for keep in {keep}; do
    index=$((index + 1)); mkdir -p $keep; mount --bind /mnt/keep/$index $keep
done
mkdir -p /run/sshd /root
exec /usr/sbin/sshd -D -e -f /mnt/shared/ssh/{name}.conf
"""
SSHD = """
ListenAddress {address}
HostKey /mnt/shared/ssh/host_key
AuthorizedKeysFile /mnt/shared/ssh/key.pub
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PidFile none
"""


def missing() -> str:
    """Return what keeps hosts from being made here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    tools = [tool for tool in ("ip", "unshare", "rsync", "/usr/sbin/sshd", "ssh-keygen") if shutil.which(tool) is None]
    if tools:
        return f"needs {', '.join(tools)}: apt install openssh-server rsync iproute2"
    probe = subprocess.run(["unshare", "-m", "-n", "-p", "-f", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else "needs the right to make namespaces"


class Hosts:
    """A launcher and some hosts on one bridge.

    Args:
        folder: An absolute folder; ``shared`` in it is mounted at :data:`SHARED` on every host.
        count: Hosts beside the launcher.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.shared = folder, folder / "shared"
        self.prefix = f"dg{os.getpid() % 10000}"
        self.addresses = [f"10.77.0.{number}" for number in range(1, count + 1)]
        self.key = self.shared / "ssh" / "key"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Hosts":
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        (self.shared / "ssh").mkdir(parents=True)
        for name in ("key", "host_key"):
            _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.shared / "ssh" / name))
        _do("ip", "netns", "add", self.prefix)
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "link", "add", "name", "br0", "type", "bridge")
        self._inside("ip", "address", "add", f"{LAUNCHER}/24", "dev", "br0")
        self._inside("ip", "link", "set", "br0", "up")
        for address in self.addresses:
            self._add(address)
        for address in self.addresses:
            self._wait_for_ssh(address)

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.kill()  # the first process of its namespace goes with it, and so does every other
            process.wait()
        for name in [*(self._namespace(address) for address in self.addresses), self.prefix]:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def launcher(self, *words: str) -> list[str]:
        """Return a command line that runs ``words`` on the launcher."""
        return ["ip", "netns", "exec", self.prefix, *words]

    def on(self, address: str, command: str) -> str:
        """Run a shell command on a host over SSH and return what it prints."""
        ssh = ["ssh", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        done = subprocess.run(
            self.launcher(*ssh, "-o", "LogLevel=ERROR", f"root@{address}", command),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def link(self, address: str, state: str) -> None:
        """Cut a host off (``down``) or bring it back (``up``)."""
        self._inside("ip", "link", "set", f"v{address.rpartition('.')[2]}", state)

    def processes(self, address: str) -> list[str]:
        """Return the command lines on a host beside its sshd and this look."""
        lines = self.on(address, "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done").splitlines()
        own = ("sshd", "bash -c", "tr ", "sh -c", "/usr/sbin/sshd")
        return [line for line in lines if line.strip() and not line.startswith(own) and "/proc/[0-9]*" not in line]

    def _namespace(self, address: str) -> str:
        return f"{self.prefix}h{address.rpartition('.')[2]}"

    def _inside(self, *words: str) -> None:
        _do(*self.launcher(*words))

    def _add(self, address: str) -> None:
        number, name = address.rpartition(".")[2], self._namespace(address)
        _do("ip", "netns", "add", name)
        self._inside("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        self._inside("ip", "link", "set", f"v{number}", "master", "br0", "up")
        for words in (
            ["address", "add", f"{address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
            ["route", "add", "default", "via", LAUNCHER],
        ):
            _do("ip", "-n", name, *words)
        (self.shared / "ssh" / f"{name}.conf").write_text(SSHD.format(address=address))
        keep = {REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}
        hidden = sorted(str(path) for path in keep if any(path.is_relative_to(folder) for folder in OWN))
        script = HOST.format(name=name, shared=self.shared, keep=" ".join(hidden), own=" ".join(OWN))
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[address] = subprocess.Popen(
                [
                    *("ip", "netns", "exec", name, "unshare", "-m", "-u", "-p", "-f", "--mount-proc", "--kill-child"),
                    *("bash", "-c", script),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait_for_ssh(self, address: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.on(address, "echo up") == "up\n":
                return
            time.sleep(0.1)
        log = (self.folder / f"{self._namespace(address)}.log").read_text()
        raise AssertionError(f"the sshd of {address} does not answer: {log}")


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
