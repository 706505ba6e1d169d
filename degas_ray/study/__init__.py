"""Studies: trials side by side, re-ranking, promotion, and each phase alone; resumable from what is on disk."""

from typing import TYPE_CHECKING

from degas_ray.lazy import lazy_names

_MODULES = {
    "Event": "events",
    "Plan": "plan",
    "Row": "store",
    "SearchRun": "phases",
    "StudyResult": "result",
    "TrainRun": "full",
    "list_studies": "store",
    "load_study": "result",
    "make_plan": "plan",
    "promote_genotype": "run",
    "run_search": "phases",
    "run_study": "run",
    "run_training": "phases",
}
__all__ = list(_MODULES)

if TYPE_CHECKING:
    from degas_ray.study.events import Event as Event
    from degas_ray.study.full import TrainRun as TrainRun
    from degas_ray.study.phases import SearchRun as SearchRun
    from degas_ray.study.phases import run_search as run_search
    from degas_ray.study.phases import run_training as run_training
    from degas_ray.study.plan import Plan as Plan
    from degas_ray.study.plan import make_plan as make_plan
    from degas_ray.study.result import StudyResult as StudyResult
    from degas_ray.study.result import load_study as load_study
    from degas_ray.study.run import promote_genotype as promote_genotype
    from degas_ray.study.run import run_study as run_study
    from degas_ray.study.store import Row as Row
    from degas_ray.study.store import list_studies as list_studies
else:
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
