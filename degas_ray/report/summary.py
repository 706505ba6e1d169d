"""The study's own page in MLflow: what was found in words, leaderboard, figures."""

import math
from collections.abc import Collection, Iterator, Sequence

from degas_ray import figures
from degas_ray.config import Config
from degas_ray.home import StudyFolder
from degas_ray.report.findings import findings
from degas_ray.report.importance import importance
from degas_ray.report.overview import study_figures
from degas_ray.report.standing import standing
from degas_ray.report.verdict import verdict
from degas_ray.report.worth import FLOOR, RESNET, Worth, times
from degas_ray.results import Row
from degas_ray.scores import Scores
from degas_ray.tracking import Tracker, tags
from degas_ray.trials.order import on_front

REACH = ("recall", "coverage")
COLUMNS = (
    "trial", "outcome", "score", FLOOR, RESNET, *REACH, "parameters", "n", "entropy", "seconds", "genotype",
)  # fmt: skip


def leaderboard(rows: Sequence[Row], worth: Worth, front: Collection[int] = ()) -> list[dict[str, str]]:
    """Return the trials as a table of text, best first, then what collapsed, those without a score last.

    Args:
        rows: The trials.
        worth: What scores are relative to.
        front: Numbers of those on the Pareto front.
    """
    order = sorted(rows, key=lambda row: row.place)
    return [
        {
            "trial": str(row.number),
            "outcome": row.ended(front),
            "score": f"{row.score:,.1f}" if row.score is not None else "",
            **{key: times(value) for key, value in worth.relative(row.score).items()},
            **{key: f"{Scores.from_json(row.scores).metrics()[key]:.2f}" if row.scores else "" for key in REACH},
            "parameters": f"{row.parameters:,}" if row.parameters else "",
            "n": str(row.n or ""),
            "entropy": f"{row.entropy[0]:.2f} → {row.entropy[1]:.2f}" if row.entropy else "",
            "seconds": f"{row.seconds:.0f}",
            "genotype": row.genotype,
        }
        for row in order
    ]


def record(tracker: Tracker, config: Config, folder: StudyFolder, resolution: int) -> None:
    """Write what is known of a study to its MLflow run."""
    now = standing(folder, config)
    rows, genotype = now.rows, now.winner
    if all(row.score is None for row in rows):
        return
    for number, values in _curve(rows):
        tracker.metrics(values, number)
    shares = importance(rows, config)
    said = verdict(now, config)
    sentences = [*said, *findings(config, now, shares)]
    table = figures.tables.markdown(leaderboard(rows, now.worth, on_front(rows, config)), COLUMNS)
    tracker.text("\n".join(["# What was found", "", *(f"- {line}" for line in sentences), ""]), "summary.md")
    tracker.text(table, "leaderboard.md")
    tracker.tags({tags.NOTE: "\n".join([*(f"- {line}" for line in sentences), "", table])})
    for name, figure in study_figures(config, rows, genotype, shares, resolution).items():
        tracker.figure(figure, f"{name}.png")
    if genotype is not None:
        tracker.tags({tags.VERDICT: " ".join(said), tags.GENOTYPE: str(genotype), tags.GENOTYPE_HASH: genotype.hash})


def _curve(rows: Sequence[Row]) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each score, and the best so far where all earlier trials are over.

    Trials end in another order than they began, and a pause may leave one behind: what is the best up to a later one
    is not known before it has ended, and a point stays in MLflow as it was first recorded.
    """
    best = math.inf
    for index, row in enumerate(rows):
        if row.score is not None:
            best = min(best, row.score) if row.sound else best
            whole = row.number == index
            yield (
                row.number,
                {"study/fid": row.score, **({"study/best_fid": best} if whole and best < math.inf else {})},
            )
