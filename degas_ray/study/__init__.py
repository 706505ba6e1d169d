"""Studies: trials side by side, re-ranking, promotion, and each phase alone; resumable from what is on disk."""

from typing import TYPE_CHECKING

from degas_ray.lazy import lazy_names

_MODULES = {
    "Event": "events",
    "Plan": "plan",
    "Row": ".results",
    "SearchRun": ".runs.alone",
    "StudyResult": ".report.result",
    "TrainRun": ".runs.full",
    "list_studies": ".home",
    "load_study": ".report.result",
    "make_plan": "plan",
    "promote_genotype": "run",
    "run_search": ".runs.alone",
    "run_study": "run",
    "run_training": ".runs.alone",
}
__all__ = list(_MODULES)

if TYPE_CHECKING:
    from degas_ray.home import list_studies as list_studies
    from degas_ray.report.result import StudyResult as StudyResult
    from degas_ray.report.result import load_study as load_study
    from degas_ray.results import Row as Row
    from degas_ray.runs.alone import SearchRun as SearchRun
    from degas_ray.runs.alone import run_search as run_search
    from degas_ray.runs.alone import run_training as run_training
    from degas_ray.runs.full import TrainRun as TrainRun
    from degas_ray.study.events import Event as Event
    from degas_ray.study.plan import Plan as Plan
    from degas_ray.study.plan import make_plan as make_plan
    from degas_ray.study.run import promote_genotype as promote_genotype
    from degas_ray.study.run import run_study as run_study
else:
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
