"""One run in MLflow, written through a journal on disk."""

import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from degas_ray import figures
from degas_ray.errors import DegasWarning
from degas_ray.tracking import journal
from degas_ray.tracking.backend import Address
from degas_ray.tracking.delivery import Delivery
from degas_ray.tracking.records import check_outcome, safe_name
from degas_ray.tracking.sender import Sender

FIRST_SECONDS = 10.0  # how long to wait for the run id of a new run
FINISH_SECONDS = 20.0  # and for the last records, before they are left to the next command


class MlflowTracker:
    """A tracker whose records are on the disk when a call returns, and in MLflow about a second later.

    Args:
        address: Where the run is kept.
        header: Its name, role, key and parent.
        pause: Seconds between two sendings, where that is to be more than one.
    """

    def __init__(self, address: Address, header: Mapping[str, Any], pause: float = 0.0) -> None:
        self._journal = journal.create(address.queue, header)
        self._delivery = Delivery(address, self._journal)
        self._sender = Sender(self._delivery, pause)
        self._said: set[str] = set()
        self._append({"op": "start"})
        self._sender.start()
        deadline = time.monotonic() + FIRST_SECONDS
        while not self.run_id and not self._sender.problem and time.monotonic() < deadline:
            time.sleep(journal.POLL_SECONDS)

    @property
    def run_id(self) -> str:
        """MLflow's run id; empty until a server that is down has given one."""
        return self._delivery.run_id

    def params(self, flat: Mapping[str, Any]) -> None:
        """Record settings by dotted name; text longer than MLflow takes is kept whole as an artifact."""
        self._append({"op": "params", "values": {key: str(value) for key, value in flat.items()}})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers at a step, each once; an infinity is drawn as a gap and named in the tag degas.non_finite."""
        texts = {key: repr(float(value)) for key, value in values.items()}
        self._append({"op": "metrics", "values": texts, "step": int(step), "time": now()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts that may change."""
        self._append({"op": "tags", "values": {key: str(value) for key, value in values.items()}})

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a figure as an artifact."""
        with self._file(name) as path:
            figures.save(figure, path)

    def image(self, array: NDArray[np.uint8], key: str, step: int) -> None:
        """Keep an image [H, W, 3] of a series; MLflow shows it in its grid, with a slider over steps."""
        path = self._journal.new_file("image.png")
        Image.fromarray(array).save(path)
        self._append({"op": "image", "path": self._relative(path), "key": key, "step": int(step), "time": now()})

    def text(self, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        with self._file(name) as path:
            path.write_text(text, encoding="utf-8")

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file or a folder as it is now; what happens to it afterwards does not matter."""
        with self._file(f"{folder}/{path.name}" if folder else path.name) as target:
            if path.is_dir():
                shutil.copytree(path, target, copy_function=_link_or_copy)
            else:
                _link_or_copy(str(path), str(target))

    def finish(self, outcome: str) -> None:
        """Record the outcome and wait until all is sent; after an outage the rest goes with the next command.

        Whoever started the run calls this whatever happens: until then its journal belongs to this process.
        """
        self._append({"op": "finish", "outcome": check_outcome(outcome), "time": now()})
        if not self._sender.close(FINISH_SECONDS):
            self._say(
                "left",
                f"MLflow cannot be reached ({self._sender.problem}); the last records of this run wait in "
                f"{self._journal.folder} and are sent by the next command with the same --home",
            )
        self._say_what_was_refused()

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        name = safe_name(name)
        path = self._journal.new_file(Path(name).name)
        yield path
        parent = Path(name).parent
        folder = None if parent == Path() else parent.as_posix()
        self._append({"op": "file", "path": self._relative(path), "folder": folder})

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._journal.folder).as_posix()

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            self._journal.append(record)
        except OSError as error:
            where = self._journal.folder
            self._say("disk", f"{error.strerror}: records of this run cannot be written to {where}; free space there")
        self._sender.notify()
        if self._sender.problem:
            self._say(
                "away",
                f"MLflow cannot be reached ({self._sender.problem}); the run goes on, its records wait in "
                f"{self._journal.folder} and are sent in order when MLflow is back",
            )
        self._say_what_was_refused()

    def _say_what_was_refused(self) -> None:
        for problem in self._delivery.rejected:
            self._say(problem, f"MLflow refused a record ({problem}); it is kept in {self._delivery.rejected_file}")

    def _say(self, once: str, message: str) -> None:
        if once not in self._said:
            self._said.add(once)
            warnings.warn(message, DegasWarning, stacklevel=4)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
    return target


def now() -> int:
    """Return milliseconds since 1970, MLflow's own measure."""
    return int(time.time() * 1000)
