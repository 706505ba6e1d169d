"""What runs say of themselves: MLflow, run directories, provenance."""

from degas_ray.tracking.backend import Address
from degas_ray.tracking.provenance import log_provenance, model_card, provenance
from degas_ray.tracking.record import OUTCOMES, RunDirectory, Tracker, both
from degas_ray.tracking.runs import Run, Tracking, open_tracking
from degas_ray.tracking.server import Server, start_server

__all__ = [
    "OUTCOMES",
    "Address",
    "Run",
    "RunDirectory",
    "Server",
    "Tracker",
    "Tracking",
    "both",
    "log_provenance",
    "model_card",
    "open_tracking",
    "provenance",
    "start_server",
]
