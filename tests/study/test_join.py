"""What RAY_ADDRESS may say; clusters that are there are joined in tests/cluster."""

import os
import socket
from pathlib import Path

import pytest

from degas_ray.errors import InputError
from degas_ray.runs import jobs, join


@pytest.mark.parametrize("given", ["", "  ", "local"])
def test_nothing_and_local_mean_this_machine(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", given)
    assert join.given_address() is None


@pytest.mark.parametrize(
    "given",
    [
        "ray://127.0.0.1:10001", "http://127.0.0.1:8265", "https://host:1", "127.0.0.1", "host:", ":6379", "host:0",
        "host:65536", "host:6379/x", "a b:6379", "user@host:6379", "[::1]", "Auto", "host:6379,other:6379",
    ],
)  # fmt: skip
def test_other_forms_are_refused_with_the_one_that_is_meant(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": given})
    with pytest.raises(InputError, match="expected HOST:PORT of a cluster's head, such as") as caught:
        join.given_address()
    assert "'unset RAY_ADDRESS' runs on this machine" in str(caught.value)


def test_a_port_where_nobody_listens_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(InputError, match=rf"no cluster answers at 127.0.0.1:{port} \(Connection refused\)"):
        jobs.find_cluster()


def test_a_session_of_this_machine_has_the_cores_that_it_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    given = {}

    def init(**options: object) -> None:
        given.update(options)
        raise RuntimeError("enough")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(jobs, "usable_cores", lambda: 3)
    with pytest.raises(RuntimeError, match="enough"), jobs.session(tmp_path):
        pass
    assert (given["address"], given["num_cpus"]) == ("local", 3)


def test_a_name_that_no_host_can_have_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"{'x' * 70}.example:6379")
    with pytest.raises(InputError, match=r"no cluster answers at x+\.example:6379"):
        join.given_address()


def test_what_ray_says_when_it_cannot_join_is_one_sentence() -> None:
    words = "the cluster at h:1 cannot be joined from this machine: no raylet; type"
    with pytest.raises(InputError, match=words), join.saying_why_not("h:1"):
        raise RuntimeError("no raylet\nand a page more")
    with pytest.raises(RuntimeError, match="ours"), join.saying_why_not(None):
        raise RuntimeError("ours")
