"""What is wrong with this machine, and what to do about it: one finding for each thing that runs depend on."""

from degas_ray.doctor.checkup import examine
from degas_ray.doctor.findings import Finding

__all__ = ["Finding", "examine"]
