"""What runs say of themselves: MLflow, run directories, provenance."""

from degas_ray.tracking.backend import Address
from degas_ray.tracking.cards import model_card
from degas_ray.tracking.provenance import log_provenance, provenance
from degas_ray.tracking.records import OUTCOMES, RunDirectory, Tracker, both
from degas_ray.tracking.runs import Run, Tracking, open_tracking
from degas_ray.tracking.ui import Server, start_server

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
