"""The study's own page in MLflow: leaderboard, optimisation history, Pareto front."""

from collections.abc import Sequence

from degas_ray import figures
from degas_ray.config import Config
from degas_ray.space import Genotype
from degas_ray.study.promote import Rerun, winner
from degas_ray.study.store import Row, StudyFolder
from degas_ray.tracking import Tracker

COLUMNS = ("trial", "outcome", "score", "parameters", "n", "entropy", "seconds", "genotype")


def leaderboard(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return the trials as a table of text, best first, those without a score last."""
    order = sorted(rows, key=lambda row: (row.score is None, row.score or 0.0, row.number))
    return [
        {
            "trial": str(row.number),
            "outcome": row.outcome + (" (reused)" if row.reused else ""),
            "score": f"{row.score:,.1f}" if row.score is not None else "",
            "parameters": f"{row.parameters:,}" if row.parameters else "",
            "n": str(row.n or ""),
            "entropy": f"{row.entropy[0]:.2f} → {row.entropy[1]:.2f}" if row.entropy else "",
            "seconds": f"{row.seconds:.0f}",
            "genotype": row.genotype,
        }
        for row in order
    ]


def record(tracker: Tracker, config: Config, folder: StudyFolder, reruns: Sequence[Rerun]) -> None:
    """Write what is known of a study to its MLflow run."""
    rows = folder.rows()
    scores = [row.score for row in rows]
    known = [score for score in scores if score is not None]
    if not known:
        return
    best = known[0]
    for row in rows:
        if row.score is not None:
            best = min(best, row.score)
            tracker.metrics({"study/fid": row.score, "study/best_fid": best}, row.number)
    tracker.text(figures.tables.markdown(leaderboard(rows), COLUMNS), "leaderboard.md")
    tracker.figure(figures.optimisation_history(scores), "optimisation-history.png")
    if len(config.study.objectives) > 1:
        points = [
            {"trial": row.number, **dict(zip(config.study.objectives, values, strict=True))}
            for row in rows
            if (values := row.objectives(config.study.objectives))
        ]
        tracker.figure(figures.pareto(points, *config.study.objectives[:2]), "pareto.png")
    genotype = winner(rows, reruns, config)
    if isinstance(genotype, Genotype):
        tracker.tags({"degas.genotype": str(genotype), "degas.genotype_hash": genotype.hash})
        tracker.figure(figures.draw_genotype(genotype), "diagram.png")
