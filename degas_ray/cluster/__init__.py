"""Clusters: their file, their start on this machine or on hosts over SSH, the study as a Ray job, their end."""

from typing import TYPE_CHECKING

from degas_ray.lazy import lazy_names

_MODULES = {
    "Cluster": "opened",
    "ClusterFile": "file",
    "Status": "status",
    "attach_job": "job",
    "bring_down": "launch",
    "pause_study": "launch",
    "find_status": "status",
    "launch_study": "launch",
    "open_cluster": "opened",
    "read_cluster": "file",
    "read_log": "status",
}
__all__ = list(_MODULES)

if TYPE_CHECKING:
    from degas_ray.cluster.file import ClusterFile as ClusterFile
    from degas_ray.cluster.file import read_cluster as read_cluster
    from degas_ray.cluster.job import attach_job as attach_job
    from degas_ray.cluster.launch import bring_down as bring_down
    from degas_ray.cluster.launch import launch_study as launch_study
    from degas_ray.cluster.launch import pause_study as pause_study
    from degas_ray.cluster.opened import Cluster as Cluster
    from degas_ray.cluster.opened import open_cluster as open_cluster
    from degas_ray.cluster.status import Status as Status
    from degas_ray.cluster.status import find_status as find_status
    from degas_ray.cluster.status import read_log as read_log
else:
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)
