"""Clusters: their file, their start on this machine or on hosts over SSH, the study as a Ray job, their end."""

import importlib
from typing import Any

_WHERE = {
    "Cluster": "opened",
    "ClusterFile": "file",
    "Status": "status",
    "attach_job": "job",
    "bring_down": "launch",
    "pause_study": "launch",
    "find_status": "status",
    "launch_study": "launch",
    "open_cluster": "opened",
    "read_cluster": "file",
    "read_log": "status",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
