"""Images: sources, packs (memory-mapped Arrow files with a fingerprint) and shuffled batches."""

from degas_ray.data.facts import check, split_half, subset, summary
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
    "left_out_lines",
    "list_sources",
    "open_pack",
    "prepare",
    "quality",
    "split_half",
    "subset",
    "summary",
    "write_pack",
]
