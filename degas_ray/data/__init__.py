"""Images: sources, packs (memory-mapped Arrow files with a fingerprint), held-out parts and shuffled batches."""

from degas_ray.data.facts import check, summary
from degas_ray.data.held_out import held_out, held_out_count, split
from degas_ray.data.intake import left_out_lines
from degas_ray.data.loader import Batch, Batches, gather, gather_dequantised
from degas_ray.data.packs import Pack, open_pack, write_pack
from degas_ray.data.quality import doubts, quality
from degas_ray.data.sources import SOURCES, Source, list_sources, prepare

__all__ = [
    "SOURCES",
    "Batch",
    "Batches",
    "Pack",
    "Source",
    "check",
    "doubts",
    "gather",
    "gather_dequantised",
    "held_out",
    "held_out_count",
    "left_out_lines",
    "list_sources",
    "open_pack",
    "prepare",
    "quality",
    "split",
    "summary",
    "write_pack",
]
