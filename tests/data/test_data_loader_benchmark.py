"""The benchmarks' clock, and the loader's benchmark at its smallest."""

import json
import sys

import pytest

from benchmarks import data_loader
from benchmarks.timing import alternate


def test_functions_take_turns_in_both_orders() -> None:
    calls: list[str] = []
    medians = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warmup=1)
    assert "".join(calls) == "abbaabba"
    assert set(medians) == {"a", "b"}
    assert all(seconds >= 0 for seconds in medians.values())


def test_data_loader_prints_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["data_loader", "--images", "128", "--rounds", "1", "--before", "."])
    monkeypatch.setattr(data_loader.os, "sched_getaffinity", lambda _: {0})
    data_loader.main()
    result = json.loads(capsys.readouterr().out)
    assert result["benchmark"] == "data_loader"
    assert result["images"] == 128
    assert result["images_per_second"]["ours"] > 0
    assert min(result["packed_a_second"].values()) > 0
    assert set(result["packed_a_second"]) == {"now", "before"}
    assert result["packing_ratio"] > 0
    assert {"machine", "threads", "versions"} <= set(result)
