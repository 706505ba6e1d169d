"""A port of this machine that leads to another host, for as long as it is needed."""

import socket
import subprocess
import threading
import time
from collections.abc import Sequence

from degas_ray.ports import LOOPBACK

POLL_SECONDS = 0.05


class Tunnel:
    """A command such as ``ssh -N -L``, run again whenever it ends, until :meth:`close`.

    Args:
        command: Makes a port of this machine lead elsewhere, and ends where its connection breaks.
        port: That port.
    """

    PAUSE = 2.0  # seconds between two looks whether it still runs

    def __init__(self, command: Sequence[str], port: int) -> None:
        self._command, self._port = command, port
        self._process = self._open()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="degas-tunnel", daemon=True)
        self._keeper.start()

    def wait(self, seconds: float) -> None:
        """Return once the port answers, the command ends, or ``seconds`` have passed."""
        process, deadline = self._process, time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline and not _listens(self._port):
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """End the command for good."""
        self._closing.set()
        self._keeper.join()
        self._process.terminate()
        self._process.wait()

    def _open(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the one who uses it
        )

    def _keep(self) -> None:
        while not self._closing.wait(self.PAUSE):
            if self._process.poll() is not None:
                self._process = self._open()


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
