"""A run's mirror in MLflow: a thread sends the run's queue in order, and so that sending twice changes nothing.

:class:`MlflowTracker` writes records to a journal, :class:`Sender` is the thread that empties it while the run goes on,
:class:`Delivery` knows how each kind of record is sent. What a process leaves behind, the next command sends.
"""

import json
import math
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from degas_ray import figures
from degas_ray.errors import DegasWarning
from degas_ray.files import put
from degas_ray.tracking import backend, tags
from degas_ray.tracking.backend import Address
from degas_ray.tracking.record import (
    LOCK_SECONDS,
    POLL_SECONDS,
    Journal,
    Record,
    check_outcome,
    claim_journal,
    create_journal,
    journal_folders,
    locked,
    safe_name,
)

STATUS = {
    "completed": "FINISHED",
    "collapsed": "FINISHED",  # it ran to its end; the tag says what came of it
    "pruned": "KILLED",
    "interrupted": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
}

BATCH = 500  # records read from the disk at once
METRICS_A_CALL = 1000  # MLflow's limits
VALUES_A_CALL = 100
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
THUMBNAIL = 256  # pixels of the longer side; what MLflow's own log_image makes for the grid

PREDECESSOR_SECONDS = 60.0
FIRST_SECONDS = 10.0  # how long to wait for the run id of a new run
FINISH_SECONDS = 20.0  # and for the last records, before they are left to the next command


class Delivery:
    """One journal on its way to MLflow.

    Args:
        address: The receiver's.
        journal: Its header says which run.
    """

    def __init__(self, address: Address, journal: Journal) -> None:
        self.address = address
        self.journal = journal
        self.run_id = ""
        # Gets the records that MLflow will never take; their files are in the folder "rejected" beside it.
        self.rejected_file = address.queue.parent / "rejected.jsonl"
        self.rejected: list[str] = []
        self._client: Any = None
        self._store: Path | None = None  # of the run's artifacts, where that is a folder here
        self._points: set[tuple[str, int]] | None = None
        self._images: set[tuple[str, int]] = set()
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._started = time.monotonic()

    def connect(self) -> None:
        """Find the run by its key or create it, after everything that its earlier openings left on the disk is sent.

        Raises:
            backend.failures(): Where MLflow cannot be reached now.
        """
        for folder in journal_folders(self.address.queue, self.journal.header["key"]):
            if folder == self.journal.folder:
                break
            if not deliver_left_over(self.address, folder) and time.monotonic() - self._started < PREDECESSOR_SECONDS:
                raise TimeoutError(f"another process is still sending {folder}")
        client = self._client = backend.client(self.address.uri)
        header = self.journal.header
        with locked(self.address.queue / "runs.lock", LOCK_SECONDS):
            search, oldest = f"tags.`{tags.KEY}` = '{header['key']}'", ["start_time ASC"]
            found = client.search_runs([self.address.experiment_id], search, max_results=1, order_by=oldest)
            if found:
                run = found[0]
            else:
                facts = {tags.KEY: header["key"], tags.ROLE: header["role"], tags.PARENT: header["parent"]}
                facts |= {tags.SOURCE_NAME: "degas-ray", tags.SOURCE_TYPE: "LOCAL"}
                run = client.create_run(
                    self.address.experiment_id,
                    tags={key: value for key, value in facts.items() if value},
                    run_name=header["name"],
                    start_time=header["time"],
                )
        self._points, self._images = set(), set()
        self._params, self._tags = dict(run.data.params), dict(run.data.tags)
        if found:
            self._points = {
                (key, point.step)
                for key in run.data.metrics
                for point in client.get_metric_history(run.info.run_id, key)
            }
            if tags.IMAGES in run.data.tags:
                self._images = set(_image_names(client.list_artifacts(run.info.run_id, "images")))
        self._store = backend.local_path(self.address, run.info.artifact_uri)
        self.run_id = run.info.run_id

    def send(self) -> None:
        """Send everything that is pending.

        Raises:
            backend.failures(): Where MLflow cannot be reached; what was not sent stays on the disk.
        """
        while batch := self.journal.pending(BATCH):
            if self._points is None:
                self.connect()
            for position, records in _groups(batch):
                try:
                    self._send_group(records)
                except backend.failures() as error:
                    self._points = None  # part of it may have arrived: look at the run before sending more
                    if not backend.is_permanent(error):
                        raise
                    self._reject(records, error)
                self.journal.commit(position)
                for record in records:
                    if "path" in record:
                        shutil.rmtree((self.journal.folder / record["path"]).parent)
                if self._points is None:
                    break

    def _send_group(self, records: list[Record]) -> None:
        first = records[0]
        match first["op"]:  # "open" is the header: connect() has done what it says
            case "metrics":
                self._send_metrics(records)
            case "params":
                self._send_params(first["values"])
            case "tags":
                self._send_tags(first["values"])
            case "file":
                self._upload(self.journal.folder / first["path"], first["folder"])
            case "image":
                self._send_image(first)
            case "start":
                self._client.update_run(self.run_id, status="RUNNING")
                if tags.OUTCOME in self._tags:
                    self._client.delete_tag(self.run_id, tags.OUTCOME)
            case "finish":
                self._send_tags({tags.OUTCOME: first["outcome"]})
                self._client.set_terminated(self.run_id, STATUS[first["outcome"]], first["time"])

    def _send_metrics(self, records: list[Record]) -> None:
        from mlflow.entities import Metric

        assert self._points is not None
        points, odd = [], {}
        for record in records:
            for key, text in record["values"].items():
                if (key, record["step"]) in self._points:
                    continue
                self._points.add((key, record["step"]))
                value = float(text)
                if not math.isfinite(value):
                    odd[tags.NON_FINITE] = f"{key} = {value} at step {record['step']}"
                    value = math.nan  # MLflow draws an infinity as 1.8e308 and nothing else beside it
                points.append(Metric(key, value, record["time"], record["step"]))
        self._log_batches("metrics", points, METRICS_A_CALL)
        if odd:
            self._send_tags(odd)

    def _send_params(self, values: dict[str, str]) -> None:
        from mlflow.entities import Param

        short = {key: _cut(value, PARAM_LENGTH, f"params/{key}.txt") for key, value in values.items()}
        for key, value in values.items():
            if short[key] != value and key not in self._params:
                self._client.log_text(self.run_id, value, f"params/{key}.txt")
        changed = {key: value for key, value in short.items() if self._params.get(key, value) != value}
        if changed:  # MLflow's params are for ever: the first value stays, the newer one is a tag
            self._send_tags({tags.NOW + key: value for key, value in changed.items()})
        fresh = [Param(key, value) for key, value in short.items() if key not in self._params]
        self._log_batches("params", fresh, VALUES_A_CALL)
        self._params |= {param.key: param.value for param in fresh}

    def _send_tags(self, values: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        for key, value in values.items():
            if len(value) > TAG_LENGTH:
                self._client.log_text(self.run_id, value, f"tags/{key}.txt")
        short = [RunTag(key, _cut(value, TAG_LENGTH, f"tags/{key}.txt")) for key, value in values.items()]
        self._log_batches("tags", short, VALUES_A_CALL)

    def _log_batches(self, kind: str, items: list[Any], size: int) -> None:
        for start in range(0, len(items), size):
            self._client.log_batch(self.run_id, **{kind: items[start : start + size]})

    def _send_image(self, record: Record) -> None:
        key, step = record["key"], record["step"]
        if (key, step) in self._images:
            return
        # The name is log_image's own form, which the step slider reads; its random part is fixed here, so that an
        # image that arrived just before the connection broke is written over and not beside.
        source = self.journal.folder / record["path"]
        unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{key}/{step}/{record['time']}")
        name = f"{key.replace('/', '~')}+step+{step}+timestamp+{record['time']}+{unique}"
        whole, small = source.with_name(f"{name}.png"), source.with_name(f"{name}+compressed.webp")
        put(source, whole)
        with Image.open(source) as image:
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            image.save(small)
        self._upload(whole, "images")
        self._upload(small, "images")
        self._client.set_tag(self.run_id, tags.IMAGES, "True")
        self._images.add((key, step))

    def _upload(self, source: Path, folder: str | None) -> None:
        """Send a file, or a folder, to ``folder``; where the artifacts are on a disk of this machine, link it there."""
        if self._store is None:
            self._client.log_artifact(self.run_id, str(source), folder)
        else:
            put(source, self._store / (folder or "") / source.name)

    def _reject(self, records: list[Record], error: Exception) -> None:
        """Set aside what MLflow will never take, so that it does not hold up what comes after it."""
        facts = {"key": self.journal.header["key"], "error": backend.without_passwords(str(error))}
        with self.rejected_file.open("a", encoding="utf-8") as file:
            for record in records:
                kept = {"path": self._keep(record["path"])} if "path" in record else {}
                file.write(json.dumps({**facts, **record, **kept}) + "\n")
        self.rejected.append(backend.first_line(error))

    def _keep(self, path: str) -> str:
        """Copy a record's file out of the journal, which goes; return its path from the folder of rejected_file."""
        source = self.journal.folder / path
        target = Path("rejected") / self.journal.folder.parent.name / source.parent.name / source.name
        whole = self.rejected_file.parent / target
        shutil.rmtree(whole.parent, ignore_errors=True)  # of a process that ended in the middle of this
        shutil.copytree(source.parent, whole.parent)
        return target.as_posix()


class Sender(threading.Thread):
    """Sends a journal from the background, so that no loop ever waits for a server; closes it at the end.

    Args:
        delivery: Of the journal.
        pause: Seconds between two rounds, at least :attr:`PAUSE`.
    """

    PAUSE = 1.0  # seconds between two rounds: records that come meanwhile go together
    LONGEST_PAUSE = 8.0  # after failures

    def __init__(self, delivery: Delivery, pause: float = 0.0) -> None:
        super().__init__(name="degas-tracking", daemon=True)
        self.delivery = delivery
        self.problem = ""
        self._pause = max(self.PAUSE, pause)
        self._changed = threading.Condition()
        self._dirty = False
        self._closing = False
        self._given_up = False
        self._done = False

    def notify(self) -> None:
        """Say that there are new records."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """Send what is left, trying for ``seconds``, and end; tell whether everything was sent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join(seconds)
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
        return self._done

    def run(self) -> None:
        """Send, wait for more, and wait longer after a failure."""
        pause = self.PAUSE
        sent = False
        while not (self._given_up or (self._closing and sent and not self._dirty)):
            self._wait(None, lambda: self._dirty or self._closing)
            self._dirty = False
            sent = self._send()
            if sent:
                pause = self.PAUSE
                self._wait(self._pause, lambda: self._closing)
            else:
                self._dirty = True
                pause = self.PAUSE if self._closing else min(2 * pause, self.LONGEST_PAUSE)
                self._wait(pause, partial(self._is_news, self._closing))
        self.delivery.journal.close(remove=sent)
        self._done = sent

    def _is_news(self, closing: bool) -> bool:
        return self._given_up or self._closing != closing

    def _send(self) -> bool:
        try:
            self.delivery.send()
        except backend.failures() as error:
            self.problem = backend.first_line(error)
            return False
        self.problem = ""
        return True

    def _wait(self, seconds: float | None, until: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(until, seconds)


class MlflowTracker:
    """A tracker whose records are on the disk when a call returns, and in MLflow about a second later.

    Args:
        address: Where the run is kept.
        header: Its name, role, key and parent.
        pause: Seconds between two rounds of sending, at least :attr:`Sender.PAUSE`.
    """

    def __init__(self, address: Address, header: Mapping[str, Any], pause: float = 0.0) -> None:
        self._journal = create_journal(address.queue, header)
        self._delivery = Delivery(address, self._journal)
        self._sender = Sender(self._delivery, pause)
        self._said: set[str] = set()
        self._append({"op": "start"})
        self._sender.start()
        deadline = time.monotonic() + FIRST_SECONDS
        while not self.run_id and not self._sender.problem and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    @property
    def run_id(self) -> str:
        """MLflow's run id; empty until a server that is down has given one."""
        return self._delivery.run_id

    def params(self, flat: Mapping[str, Any]) -> None:
        """Record settings by dotted name; text longer than MLflow takes is kept whole as an artifact."""
        self._append({"op": "params", "values": {key: str(value) for key, value in flat.items()}})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers at a step, each once; an infinity is drawn as a gap and named in a tag."""
        texts = {key: repr(float(value)) for key, value in values.items()}
        self._append({"op": "metrics", "values": texts, "step": int(step), "time": now()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts that may change."""
        self._append({"op": "tags", "values": {key: str(value) for key, value in values.items()}})

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a figure as an artifact."""
        with self._artifact(name) as path:
            figures.save(figure, path)

    def image(self, array: NDArray[np.uint8] | Path, key: str, step: int) -> None:
        """Keep an image of a series; MLflow shows it in its grid, with a slider over steps."""
        with self._file("image.png", {"op": "image", "key": key, "step": int(step), "time": now()}) as path:
            if isinstance(array, Path):
                self._keep(array, path)
            else:
                Image.fromarray(array).save(path)

    def text(self, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        with self._artifact(name) as path:
            path.write_text(text, encoding="utf-8")

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file or a folder as it is now; what happens to it afterwards does not matter."""
        with self._artifact(f"{folder}/{path.name}" if folder else path.name) as target:
            self._keep(path, target)

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

    def _artifact(self, name: str) -> AbstractContextManager[Path]:
        path = PurePosixPath(safe_name(name))
        folder = None if path.parent == PurePosixPath() else str(path.parent)
        return self._file(path.name, {"op": "file", "folder": folder})

    @contextmanager
    def _file(self, name: str, record: Record) -> Iterator[Path]:
        """Yield where to write a file of the queue; its record follows once it is whole."""
        path = self._journal.new_file(name)
        yield path
        self._append({**record, "path": path.relative_to(self._journal.folder).as_posix()})

    def _keep(self, path: Path, target: Path) -> None:
        put(path, target, link=self._delivery.address.owns(path))

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


def deliver_left_over(address: Address, folder: Path) -> bool:
    """Send a journal whose process has ended, and remove it; tell whether it is out of the way.

    Args:
        address: The receiver's; a journal that was written for another address stays as it is.
        folder: The journal's.

    Raises:
        backend.failures(): Where MLflow cannot be reached; the journal stays.
    """
    left = claim_journal(folder)
    if left is None:
        return not folder.exists()
    done = not left.header  # its process died before it said which run it is
    try:
        if left.header.get("address") == address.mark:
            Delivery(address, left).send()
            done = True
    finally:
        left.close(remove=done)
    return True


def _groups(batch: list[tuple[int, Record]]) -> Iterator[tuple[int, list[Record]]]:
    """Join neighbouring metrics into one call; everything else goes alone."""
    for together, items in groupby(batch, lambda item: item[1]["op"] == "metrics"):
        alike = list(items)
        for group in [alike] if together else [[item] for item in alike]:
            yield group[-1][0], [record for _, record in group]


def _cut(value: str, length: int, file: str) -> str:
    if len(value) <= length:
        return value
    note = f"... (in full: {file})"
    return value[: length - len(note)] + note


def _image_names(artifacts: Iterator[Any]) -> Iterator[tuple[str, int]]:
    for artifact in artifacts:
        key, _, rest = PurePosixPath(artifact.path).name.partition("+step+")
        step, _, name = rest.partition("+")
        if name.endswith(".webp"):  # the second of the two files: both are there
            yield key.replace("~", "/"), int(step)


def now() -> int:
    """Return milliseconds since 1970, MLflow's own measure."""
    return int(time.time() * 1000)
