"""Ray: a session of it, and jobs that Ray Tune runs side by side.

Ray carries work and progress and nothing else. A job's state is in its own folder, so Ray's experiment folder is thrown
away, a job whose worker died is simply handed out again, and a killed driver loses nothing.
"""

import hashlib
import logging
import os
import platform
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import psutil

from degas_ray.cores import WAITING, usable_cores
from degas_ray.errors import InputError
from degas_ray.ports import LOOPBACK
from degas_ray.runs import join

SOCKET_PATH = 107  # bytes that a Unix socket's path may have
SESSION_PATH = 66  # of which Ray takes so many below its folder
OBJECT_STORE = 128 * 2**20  # bytes; images come from the pack, only messages go through Ray


@dataclass(frozen=True)
class Needs:
    """What is reserved for a job while it runs.

    Args:
        cpus: It runs with as many threads.
        gpus: Fractions share one.
    """

    cpus: float = 1.0
    gpus: float = 0.0

    @property
    def threads(self) -> int:
        """Of a worker."""
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class Job:
    """A piece of work for one worker.

    Args:
        key: Its name, unique among the jobs that run.
        task: What a worker needs to know, as JSON.
        needs: What is reserved for it.
    """

    key: str
    task: Mapping[str, Any]
    needs: Needs = Needs()


class Queue(Protocol):
    """Where jobs come from and who is told when they end; called in the driver, one call at a time."""

    def next(self) -> Job | None:
        """Return the next job, or ``None`` where there is none now."""

    def exhausted(self) -> bool:
        """Return whether there will be none any more, whatever becomes of those that run."""

    def ended(self, job: Job, error: str = "") -> None:
        """Take note that a worker returned from a job, or was lost with an ``error``; its results are in its folder."""

    def progress(self, job: Job, report: Mapping[str, Any]) -> None:
        """Take note of what a worker reported."""

    def tick(self) -> None:
        """Do what is to be done every few tenths of a second."""


Worker = Callable[[Mapping[str, Any], Callable[[Mapping[str, Any]], None]], None]


@dataclass(frozen=True)
class Resources:
    """What a session offers.

    Args:
        cpus: Of all hosts.
        gpus: Of all hosts.
        nodes: How many hosts.
        hosts: CPUs and GPUs of each.
        grows: Whether other hosts may join while a study runs.
    """

    cpus: float
    gpus: float
    nodes: int
    hosts: tuple[tuple[float, float], ...] = ()
    grows: bool = False

    def fitting(self, needs: Needs) -> int:
        """Return how many jobs of this size run side by side, at least one."""
        by_gpu = [self.gpus / needs.gpus] if needs.gpus else []
        return max(1, int(min([self.cpus / needs.cpus, *by_gpu]) + 1e-9))

    def whole(self, gpus: float) -> float:
        """Return the CPUs of the largest host that has so many GPUs, for a job that has it to itself; at least one."""
        return max([1.0, *(cpus for cpus, there in self.hosts if there >= gpus)])


def find_cluster() -> str | None:
    """Return the address of the cluster that ``RAY_ADDRESS`` names; ``None`` for a session of this machine alone.

    It is looked for before images are packed and weights are fetched for nothing, and again when they are there.

    Raises:
        InputError: Where it cannot be joined, or the address means none.
    """
    given = join.given_address()
    _prepare_environment(given is not None)
    return None if given is None else join.check_cluster(given)


@contextmanager
def session(home: Path) -> Iterator[Resources]:
    """Start Ray on this machine, or join the cluster that ``RAY_ADDRESS`` names, and leave no process behind.

    Args:
        home: Ray's temporary files go below it where the path is short enough for a socket.

    Raises:
        InputError: Where the cluster cannot be joined.
    """
    address = find_cluster()
    joined = address is not None
    import ray
    from ray._private import worker
    from ray._private.ray_logging import global_worker_stdstream_dispatcher

    folder = None if joined else _scratch(home)
    own: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE,
        "num_cpus": usable_cores(),  # Ray counts those of the machine
        "_temp_dir": str(folder),
    }
    try:
        with _own_signals(), join.saying_why_not(address):
            ray.init(
                address=address or join.LOCAL,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **({} if joined else own),
            )
        # Ray prints what it thinks of dead workers on stdout, which belongs to results.
        global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
        worker.print_to_stdstream = _keep_quiet
        total = ray.cluster_resources()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        hosts = tuple((node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in nodes)
        # A head that listens on loopback alone is all of its cluster; to any other one hosts may come later.
        grows = joined and any(node["NodeManagerAddress"] != LOOPBACK for node in nodes)
        yield Resources(total.get("CPU", 1.0), total.get("GPU", 0.0), len(nodes), hosts, grows)
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def check_shared(folder: Path, resources: Resources) -> None:
    """Refuse a folder that is not the same one on every node of a cluster.

    Raises:
        InputError: With the nodes that do not see what the driver writes there.
    """
    if resources.nodes < 2:
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = folder / f".shared-{secrets.token_hex(8)}"
    probe.touch()
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        seen = ray.get(
            [
                ray.remote(_sees)
                .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
                .remote(str(probe))
                for node in nodes
            ]
        )
    finally:
        probe.unlink(missing_ok=True)
    apart = sorted(node["NodeManagerAddress"] for node, sees in zip(nodes, seen, strict=True) if not sees)
    if apart:
        raise InputError(
            f"{folder} is not the same folder on every host: {', '.join(apart)} cannot see what is written there. "
            "Set degas.storage.home to a folder that all hosts mount (NFS, EFS, Filestore), and launch again"
        )


def _sees(path: str) -> bool:
    folder = Path(path).parent
    if folder.is_dir():
        list(folder.iterdir())  # a network file system may remember that a file was not there
    return Path(path).exists()


def run_jobs(queue: Queue, worker: Worker, *, name: str, scratch: Path, concurrent: int) -> None:
    """Run all jobs of ``queue`` within a :func:`session`.

    Args:
        queue: Where they come from.
        worker: A function of a module, called with a job's task and a function that takes reports.
        name: Of the Ray experiment.
        scratch: An absolute folder for what Ray Tune writes.
        concurrent: Jobs side by side.
    """
    from ray import tune

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    searcher, callback = _adapters(queue)
    trainable = tune.with_resources(tune.with_parameters(_run, worker=worker), _reserved)
    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,  # the queue knows when it is exhausted
            max_concurrent_trials=concurrent,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(scratch),
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    ).fit()


def _reserved(config: dict[str, Any]) -> Any:
    from ray import tune

    needs: Needs = config["needs"]
    return tune.PlacementGroupFactory([{"CPU": needs.cpus, "GPU": needs.gpus}])


def _run(config: dict[str, Any], worker: Worker) -> None:
    import torch
    from ray import tune

    torch.set_num_threads(config["needs"].threads)  # results on a CPU depend on it
    worker(config["task"], lambda report: tune.report(dict(report)))


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


def _adapters(queue: Queue) -> tuple[Any, Any]:
    """Return a Tune searcher and a Tune callback that speak for ``queue``."""
    from ray import tune
    from ray.tune.search import Searcher

    jobs: dict[str, Job] = {}

    class QueueSearcher(Searcher):
        def __init__(self) -> None:
            super().__init__(metric=None, mode=None)

        def suggest(self, trial_id: str) -> Any:
            # What died may come again, so the end is said only when nothing runs any more.
            job = queue.next()
            if job is None:
                return Searcher.FINISHED if queue.exhausted() and not jobs else None
            jobs[trial_id] = job
            return {"task": {**job.task}, "needs": job.needs}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            if not error:
                queue.ended(jobs.pop(trial_id))

        def save(self, checkpoint_path: str) -> None:
            Path(checkpoint_path).write_bytes(b"")  # Tune wants a file; the study's own folder is the state

        def restore(self, checkpoint_path: str) -> None:
            raise AssertionError("studies resume from their own folder")

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return (dict, ())

    class Progress(tune.Callback):
        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            if trial.trial_id in jobs and "phase" in result:
                queue.progress(jobs[trial.trial_id], result)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace").strip()
            queue.ended(jobs.pop(trial.trial_id), text or "the worker died")

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            queue.tick()

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return (dict, ())

    return QueueSearcher(), Progress()


def _keep_quiet(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    """Print nothing: replaces Ray's ``print_to_stdstream``."""


@contextmanager
def _own_signals() -> Iterator[None]:
    """Put the handlers of SIGINT and SIGTERM back that Ray replaces: a study pauses, it does not exit."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _prepare_environment(joined: bool) -> None:
    """Set what Ray reads when it is imported, and its workers when they start."""
    own = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # a pause is the study's affair
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's own state is thrown away; each trial's copy had 13 KB
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a busy machine takes longer than Ray's minute
        "RAY_gcs_server_port_wait_time_s": "300",  # and than its 20 and 30 seconds for the first of its processes
        **WAITING,
    }
    if not joined:
        # Ray turns its authentication on by itself, with a token that it would write into the user's home directory.
        # Naming the mode too would come too late once Ray is imported.
        own["RAY_AUTH_TOKEN"] = _token()
        # The name is of other systems; off means that every server of the session listens on loopback alone.
        own["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Nobody starts this session's control service again: waiting for it, a minute by default, is no use.
        own["RAY_gcs_rpc_server_reconnect_timeout_s"] = "15"
    for key, value in own.items():
        os.environ.setdefault(key, value)


@cache
def _token() -> str:
    """Return what Ray's processes know each other by; Ray's own library keeps the first one it reads."""
    return secrets.token_hex(32)


def _scratch(home: Path) -> Path:
    """Return a fresh folder for Ray's session, and remove those of processes that are gone."""
    # The name says whose it is: other machines may share the home, and other homes the temporary folder.
    owner = hashlib.sha256(f"{platform.node()} {home}".encode()).hexdigest()[:4]
    near, far = home / "ray", Path(tempfile.gettempdir())
    for old in [*near.glob(f"{owner}-*"), *far.glob(f"degas-ray-{owner}-*")]:
        number = old.name.rpartition("-")[2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(old, ignore_errors=True)
    folder = near / f"{owner}-{os.getpid()}"
    if len(str(folder).encode()) + SESSION_PATH > SOCKET_PATH:
        folder = far / f"degas-ray-{owner}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder
