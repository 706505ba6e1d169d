"""Pictures and tables: genotype diagrams, curves, heat maps, grids; one look, safe for the colour-blind."""

from degas_ray.figures import tables
from degas_ray.figures.curves import alpha_heatmap, curve, pareto
from degas_ray.figures.diagram import draw_genotype
from degas_ray.figures.grids import image_grid, real_beside_generated
from degas_ray.figures.overview import importances, optimisation_history, parallel_coordinates
from degas_ray.figures.style import save

__all__ = [
    "alpha_heatmap",
    "curve",
    "draw_genotype",
    "image_grid",
    "importances",
    "optimisation_history",
    "parallel_coordinates",
    "pareto",
    "real_beside_generated",
    "save",
    "tables",
]
