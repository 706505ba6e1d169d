"""Experiments as files: read and checked, their cost counted, run row by row, and reported with intervals.

A file names groups of generators (searched, from a study, drawn at random, or named) and trainings that all of them
get; each search, study and training is one row of a Parquet file. The work itself is the study room's.
"""

import importlib
from typing import Any

_WHERE = {
    "Cost": "cost",
    "Experiment": "files",
    "cost_of": "cost",
    "find_experiment": "files",
    "list_experiments": "files",
    "load_experiment": "files",
    "report_on": "report",
    "run_experiment": "run",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
