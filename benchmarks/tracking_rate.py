"""How many calls a second an MLflow server takes, from writers that send what running trials send.

Run ``python -m benchmarks.tracking_rate``: SQLite behind the server that ``degas-ray ui`` starts. With ``--uri`` it is
a server that runs already, such as one with PostgreSQL behind it (docs/scaling.md has the command).
"""

import os
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import psutil

from benchmarks.timing import report
from degas_ray.tracking import backend, open_tracking, start_server

METRICS = ("search/loss", "search/weights_loss", "search/alpha_entropy", "search/skip_share", "search/margin")


def write(client: Any, experiment: str, until: float, took: list[float]) -> None:
    """Make a run and send it a batch of metrics, as a trial does about once a second, again and again."""
    from mlflow.entities import Metric

    run = client.create_run(experiment).info.run_id
    step = 0
    while time.perf_counter() < until:
        step += 1
        start = time.perf_counter()
        client.log_batch(run, metrics=[Metric(name, 0.5, int(time.time() * 1000), step) for name in METRICS])
        took.append(time.perf_counter() - start)


def cpu_seconds(server: int) -> float:
    """Return what a server's processes have used, the ones that it started among them."""
    process = psutil.Process(server)
    return float(sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True))))


def measure(uri: str, experiment: str, writers: int, seconds: float, server: int | None) -> dict[str, float | None]:
    """Return calls a second, how long one took, and what it cost the server."""
    before = cpu_seconds(server) if server is not None else 0.0
    client, took = backend.client(uri), [list[float]() for _ in range(writers)]
    until = time.perf_counter() + seconds
    threads = [threading.Thread(target=write, args=(client, experiment, until, mine)) for mine in took]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [second for mine in took for second in mine]
    used = cpu_seconds(server) - before if server is not None else None
    return {
        "writers": writers,
        "calls_a_second": round(len(every) / seconds, 1),
        "median_milliseconds": round(1000 * median(every), 1),
        "p99_milliseconds": round(1000 * quantiles(every, n=100)[98], 1),
        "server_cpu_milliseconds_a_call": round(1000 * used / len(every), 2) if used is not None else None,
    }


@click.command()
@click.option("--uri", help="Of a server that runs already.")
@click.option("--server", type=int, help="Its first process, whose CPU time is counted.")
@click.option("--writers", default=(1, 4, 16), multiple=True, show_default=True, help="Side by side; may be repeated.")
@click.option("--seconds", default=20.0, show_default=True)
def main(uri: str | None, server: int | None, writers: tuple[int, ...], seconds: float) -> None:
    """Print calls a second by the number of writers as JSON."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        if uri is None:
            started = start_server(home)
            stack.callback(started.stop)
            uri, server = started.address, started.pid
        address = open_tracking(home, uri).address
        results = [measure(address.uri, address.experiment_id, count, seconds, server) for count in writers]
    report({"benchmark": "tracking_rate", "load_at_the_end": round(os.getloadavg()[0], 1), "results": results})


if __name__ == "__main__":
    main()
