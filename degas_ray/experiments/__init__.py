"""Experiments as files: read and checked, their cost counted, run row by row, and reported with intervals.

A file names groups of generators (searched, from a study, drawn at random, or named) and trainings that all of them
get; each search, study and training is one row of a Parquet file. The work itself is the study room's.
"""

from typing import TYPE_CHECKING

from degas_ray.lazy import lazy_names

_MODULES = {
    "Cost": "cost",
    "Experiment": "files",
    "cost_of": "cost",
    "find_experiment": "files",
    "list_experiments": "files",
    "load_experiment": "files",
    "report_on": "report",
    "run_experiment": "run",
}
__all__ = list(_MODULES)

if TYPE_CHECKING:
    from degas_ray.experiments.cost import Cost as Cost
    from degas_ray.experiments.cost import cost_of as cost_of
    from degas_ray.experiments.files import Experiment as Experiment
    from degas_ray.experiments.files import find_experiment as find_experiment
    from degas_ray.experiments.files import list_experiments as list_experiments
    from degas_ray.experiments.files import load_experiment as load_experiment
    from degas_ray.experiments.report import report_on as report_on
    from degas_ray.experiments.run import run_experiment as run_experiment
else:
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
