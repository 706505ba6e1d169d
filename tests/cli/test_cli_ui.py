"""`degas-ray ui` as a person uses it: an address that answers, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest


def test_ctrl_c_stops_the_server_and_leaves_no_process(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "degas-ray"), "ui", "--home", str(tmp_path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ui:
        assert ui.stdout is not None
        facts = json.loads("".join(iter(ui.stdout.readline, "}\n")) + "}")
        assert facts["address"].startswith("http://127.0.0.1:")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{facts['address']}/health", timeout=30) as answer:
            assert answer.status == 200
        family = psutil.Process(ui.pid).children(recursive=True)
        assert facts["pid"] in {process.pid for process in family}
        os.kill(ui.pid, signal.SIGINT)
        _, told = ui.communicate(timeout=60)
    assert (ui.returncode, told) == (0, "")
    assert [process for process in family if process.is_running()] == []
    with pytest.raises(ProcessLookupError):
        os.killpg(facts["pid"], 0)
