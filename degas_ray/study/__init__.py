"""Studies: trials side by side, re-ranking, promotion, and each phase alone; resumable from what is on disk."""

import importlib
from typing import Any

_WHERE = {
    "Event": "events",
    "Plan": "plan",
    "Row": "store",
    "SearchRun": "phases",
    "StudyResult": "result",
    "TrainRun": "phases",
    "list_studies": "store",
    "load_study": "result",
    "make_plan": "plan",
    "promote_genotype": "run",
    "run_search": "phases",
    "run_study": "run",
    "run_training": "phases",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
