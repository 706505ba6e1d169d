"""What a worker process does with a job: trial, re-ranking, yardstick or promotion. It knows no Ray."""

import errno
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from degas_ray.data import Pack, open_pack
from degas_ray.errors import DegasError, DegasWarning, DiskError, Interrupted
from degas_ray.files import write_json
from degas_ray.home import FAILURE, hold
from degas_ray.runs.run import Context, Report
from degas_ray.trials.promotion import run_promotion
from degas_ray.trials.short import KEY, run_rerank, run_yardstick
from degas_ray.trials.trial import run_trial

DISK = DiskError.__name__  # a failure that is none of the job's own
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
KINDS: dict[str, Callable[[Context, Pack, Mapping[str, Any], Report], None]] = {
    "trial": run_trial,
    "rerank": run_rerank,
    "promotion": run_promotion,
    KEY: run_yardstick,
}


def run_task(shared: Mapping[str, Any], task: Mapping[str, Any], report: Report) -> None:
    """Do one job of a study; its result is in its folder, whatever happens to this process afterwards.

    Args:
        shared: The study's :class:`Context` as JSON.
        task: ``kind``, ``folder`` and what trial.py and promote.py put beside them.
        report: Takes progress: ``phase``, ``step``, ``steps``, or a ``message``.
    """

    folder = Path(task["folder"])
    with _warnings_to(report), hold(folder) as free, _Witness(folder):
        if not free:
            raise DegasError(f"another process works in {folder}; stop it, then resume the study")
        context = Context.from_json(shared)
        KINDS[task["kind"]](context, open_pack(context.pack), task, report)


class _Witness:
    """Writes down what a job failed of: a worker that died leaves nothing, and is worth another try."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FAILURE

    def __enter__(self) -> None:
        self._file.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, Interrupted):
            return True  # a pause has been recorded, and the driver asked for it
        kind_name, text = type(error).__name__, "".join(traceback.format_exception(error))
        if isinstance(error, DegasError):
            text = str(error)
        elif isinstance(error, OSError) and error.errno in _FULL:
            kind_name, text = DISK, f"cannot write {error.filename or self._file.parent}: {error.strerror}"
        write_json(self._file, {"kind": kind_name, "error": text})
        return False


@contextmanager
def _warnings_to(report: Report) -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, DegasWarning):
            report({"phase": f"message {message}", "message": str(message)})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DegasWarning)
        warnings.showwarning = show
        yield
