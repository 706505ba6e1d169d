"""The figures of a whole study, for its MLflow run and its report alike."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from degas_ray import figures
from degas_ray.config import Config
from degas_ray.results import Row
from degas_ray.scores import Scores
from degas_ray.space import Genotype

HISTORY, COORDINATES, IMPORTANCE = "optimisation-history", "parallel-coordinates", "importance"
PARETO, DIAGRAM = "pareto", "diagram"


def study_figures(
    config: Config, rows: Sequence[Row], winner: Genotype | None, shares: Mapping[str, float], resolution: int
) -> dict[str, Figure]:
    """Return names to figures; those that there is nothing to draw of are left out.

    Args:
        config: The study's.
        rows: The trials; at least one has a score.
        winner: The genotype that won, if any.
        shares: Importances of the tuned settings.
        resolution: Of the images.
    """
    scored = [row for row in rows if row.score is not None]
    tuned = [key for key in scored[0].params if len({str(row.params.get(key)) for row in scored}) > 1]
    name = Scores.from_json(scored[0].scores).protocol.distance_name
    found = {HISTORY: figures.optimisation_history([row.score for row in rows], name)}
    if tuned:
        lines = [{**row.params, name: row.score} for row in scored]
        found[COORDINATES] = figures.parallel_coordinates(lines, tuned, name)
    if shares:
        found[IMPORTANCE] = figures.importances(shares, name)
    x = next((objective for objective in config.study.objectives if objective != "fid"), "parameters")
    label = {"parameters": "parameters", "macs": "multiply-adds"}[x]
    points = [{"name": f"trial {row.number}", name: row.score, label: float(getattr(row, x))} for row in scored]
    knee = next((f"trial {row.number}" for row in scored if winner is not None and row.genotype == str(winner)), "")
    found[PARETO] = figures.pareto(points, label, name, knee=knee)
    if winner is not None:
        found[DIAGRAM] = figures.draw_genotype(winner, resolution)
    return found
