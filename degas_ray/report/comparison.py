"""Our generators beside the published ones: tables like the paper's, each number with its protocol.

Only scores of one protocol are ranked. Published numbers stand beside ours in the paper's order and are never ranked
with them unless that is asked for: what else moved them is not known.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from degas_ray.config import TrainConfig
from degas_ray.errors import ProtocolMismatchError
from degas_ray.figures import tables
from degas_ray.files import write_bytes
from degas_ray.gan import build_generator, count_sizes
from degas_ray.report.entries import Entry
from degas_ray.report.page import page
from degas_ray.report.published import TABLES, PublishedTable
from degas_ray.scores.protocol import differences

COLUMNS = ("rank", "generator", "IS", "distance", "parameters", "multiply-adds", "search", "measured by", "from")
SUFFIXES = (".md", ".html", ".tex", ".parquet")
PAPER_SIZES = {"width": 128, "latent_dim": 128}
_NUMBERS = {  # columns of Parquet that are no text
    "rank": "int64",
    "supervised": "bool",
    "ours": "bool",
    "is_mean": "float64",
    "is_std": "float64",
    "distance": "float64",
    "parameters": "int64",
    "macs": "int64",
    "gpu_days": "float64",
    "hours": "float64",
}


@dataclass(frozen=True)
class Table:
    """One table of a comparison.

    Args:
        title: Above it.
        entries: In order; each with its rank where it has one.
        ranks: Places, best first; ``None`` where an entry is not ranked.
    """

    title: str
    entries: tuple[Entry, ...]
    ranks: tuple[int | None, ...]


def compare(entries: Sequence[Entry], *, chosen: bool, any_protocol: bool = False) -> list[Table]:
    """Put entries into tables beside the published lines of the same images.

    Args:
        entries: Ours.
        chosen: Whether somebody named them, in order to have them ranked; otherwise each is ranked with those of its
            own protocol alone, and all published tables are there.
        any_protocol: Rank whatever stands in one table.

    Raises:
        ProtocolMismatchError: Where chosen entries were measured in different ways, with the differences.
    """
    if chosen and not any_protocol:
        _require_one_protocol(entries)
    found: list[Table] = []
    left = list(entries)
    for published in TABLES:
        own = [entry for entry in left if _belongs(entry, published)]
        left = [entry for entry in left if entry not in own]
        if own or not chosen:
            lines = (*(_published_entries(published)), *own)
            found.append(_table(f"Table {published.number} of the paper: {published.title}", lines, any_protocol))
    for group in dict.fromkeys((entry.dataset, entry.supervised) for entry in left):
        own = [entry for entry in left if (entry.dataset, entry.supervised) == group]
        dataset, supervised = group
        title = f"{dataset}, {'supervised' if supervised else 'unsupervised'}" if dataset else "Genotypes, not trained"
        found.append(_table(title, own, any_protocol))
    return found


def _require_one_protocol(entries: Sequence[Entry]) -> None:
    scored = [entry for entry in entries if entry.scores is not None]
    for other in scored[1:]:
        first = scored[0]
        assert first.scores is not None
        assert other.scores is not None
        faults = differences(first.scores.protocol, other.scores.protocol)
        if faults:
            listed = "; ".join(faults)
            raise ProtocolMismatchError(
                f"{first.name} and {other.name} were measured in different ways and cannot be ranked ({listed}); "
                f"score one of them like the other with 'degas-ray evaluate {other.name}' and the same settings, or "
                "compare them all the same with --any-protocol"
            )


def _belongs(entry: Entry, table: PublishedTable) -> bool:
    return (entry.dataset, entry.supervised) == (table.dataset, table.supervised)


def _published_entries(table: PublishedTable) -> list[Entry]:
    found = []
    for line in table.lines:
        parameters, macs = (None, None)
        if line.generator:
            config = TrainConfig.model_validate(PAPER_SIZES)
            parameters, macs = count_sizes(build_generator(line.generator, config, table.resolution))
        found.append(
            Entry(
                name=line.name,
                source=line.source + (f"; {line.note}" if line.note else "") + ("; size counted here" if macs else ""),
                dataset=table.dataset,
                supervised=table.supervised,
                is_mean=line.is_mean,
                is_std=line.is_std,
                distance=line.fid,
                measured=line.protocol,
                parameters=parameters,
                macs=macs,
                gpu_days=line.gpu_days,
            )
        )
    return found


def _table(title: str, entries: Sequence[Entry], any_protocol: bool) -> Table:
    own = sorted(
        (entry for entry in entries if entry.ours),
        key=lambda entry: (entry.protocol_hash, entry.distance is None, entry.distance or 0.0),
    )
    ordered = (*(entry for entry in entries if not entry.ours), *own)
    beside = any(not entry.ours for entry in ordered)
    ranks: list[int | None] = []
    for entry in ordered:
        if entry.distance is None or not (entry.ours or any_protocol):
            ranks.append(None)
            continue
        rivals = [
            other.distance
            for other in ordered
            if other.distance is not None
            and (_may_meet(other, entry, beside) if any_protocol else _alike(other, entry))
        ]
        ranks.append(1 + sum(distance < entry.distance for distance in rivals))
    return Table(title, ordered, tuple(ranks))


def _may_meet(a: Entry, b: Entry, beside: bool) -> bool:
    """Return whether two entries are ranked on demand; ``beside`` says that published lines are in their table."""
    return not beside or _as_published(a) == _as_published(b)


def _as_published(entry: Entry) -> bool:
    """Return whether an entry is a published line, or one of ours that was measured with the same resizing.

    The resizing alone moves a FID by a tenth and more, so no insistence ranks the others with published ones.
    """
    return not entry.ours or (entry.scores is not None and entry.scores.protocol.as_published)


def _alike(a: Entry, b: Entry) -> bool:
    return a.ours and b.ours and a.protocol_hash == b.protocol_hash


def cells(table: Table) -> list[dict[str, Any]]:
    """Return a table's lines as text and numbers under :data:`COLUMNS`."""
    return [
        {
            "rank": rank,
            "generator": entry.name,
            "IS": _spread(entry.is_mean, entry.is_std),
            "distance": f"{entry.distance:,.2f}" if entry.distance is not None else None,
            "parameters": entry.parameters,
            "multiply-adds": entry.macs,
            "search": _cost(entry),
            "measured by": entry.measured or None,
            "from": entry.source,
        }
        for rank, entry in zip(table.ranks, table.entries, strict=True)
    ]


def _spread(mean: float | None, std: float | None) -> str | None:
    if mean is None:
        return None
    return f"{mean:.2f}" + (f" ± {std:.2g}" if std is not None else "")


def _cost(entry: Entry) -> str | None:
    if entry.gpu_days is not None:
        return f"{entry.gpu_days:g} GPU-days"
    return f"{entry.hours:.2g} h" if entry.hours is not None else None


NOTE = (
    "Distances are FID where they are measured on the Inception graph of 2015, and Fréchet distances on the features "
    "that are named otherwise; IS is given on Inception's classes alone. Ranks compare only our own results with "
    "the same protocol. Published FIDs were measured with the resizing of TensorFlow's graph, so only ours with "
    "scores.resizer=legacy can be compared with them; they are shown for orientation."
)
NOTE_ANY = (
    "Ranked across protocols, as --any-protocol asked: the order proves nothing. Published FIDs are ranked with "
    "ours only where those are FIDs with scores.resizer=legacy."
)


def note(any_protocol: bool) -> str:
    """Return what a reader must know of the ranks."""
    return NOTE_ANY if any_protocol else NOTE


def as_markdown(found: Sequence[Table], words: str) -> str:
    """Return the tables as Markdown."""
    parts = [f"## {table.title}\n\n{tables.markdown(cells(table), COLUMNS)}\n" for table in found]
    return "\n".join([*parts, words, ""])


def html_table(table: Table) -> str:
    """Return one table as HTML; a number and its spread stay in one line."""
    rows = cells(table)
    for row in rows:
        row["IS"] = row["IS"] and row["IS"].replace(" ", "\N{NO-BREAK SPACE}")
        row["search"] = row["search"] and row["search"].replace(" ", "\N{NO-BREAK SPACE}")
    return tables.html(rows, COLUMNS)


def as_html(found: Sequence[Table], words: str) -> str:
    """Return the tables as parts of an HTML page."""
    parts = [f"<h2>{escape(table.title)}</h2>\n{html_table(table)}" for table in found]
    return "\n".join([*parts, f"<p>{escape(words)}</p>", ""])


def as_latex(found: Sequence[Table], words: str) -> str:
    """Return the tables as LaTeX floats that need booktabs."""
    parts = [
        "\\begin{table}\n\\caption{" + table.title.translate(tables.LATEX) + "}\n"
        f"{tables.latex(cells(table), COLUMNS)}\n\\end{{table}}"
        for table in found
    ]
    return "\n\n".join([f"% {words}", *parts, ""])


def as_parquet(found: Sequence[Table], words: str) -> bytes:
    """Return all lines of all tables as one Parquet file, numbers as numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"table": table.title, "rank": rank, **_plain(entry)}
        for table in found
        for rank, entry in zip(table.ranks, table.entries, strict=True)
    ]
    schema = pa.schema([(name, pa.type_for_alias(_NUMBERS.get(name, "string"))) for name in (rows[0] if rows else ())])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.with_metadata({"note": words})), buffer)
    return buffer.getvalue()


def _plain(entry: Entry) -> dict[str, Any]:
    facts = asdict(replace(entry, scores=None))
    del facts["scores"]
    return {**facts, "ours": entry.ours, "protocol": entry.protocol_json, "protocol_hash": entry.protocol_hash or None}


def write(path: Path, found: Sequence[Table], words: str) -> None:
    """Write tables in the format that the file's ending names, one of :data:`SUFFIXES`.

    Raises:
        DegasError: Where it cannot be written.
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        write_bytes(path, as_parquet(found, words))
        return
    text = {".md": as_markdown, ".html": _page, ".tex": as_latex}[kind](found, words)
    write_bytes(path, text.encode())


def _page(found: Sequence[Table], words: str) -> str:
    return page("Comparison", as_html(found, words))
