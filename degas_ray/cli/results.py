"""What comes out, for people and as JSON: of a study, a search, a training, a scoring."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from degas_ray.cli.common import DEFAULT_HOME, print_facts, print_table, print_words
from degas_ray.cli.progress import duration
from degas_ray.errors import DegasError

if TYPE_CHECKING:
    from degas_ray.scores import Scores
    from degas_ray.space import Genotype
    from degas_ray.study import Row, SearchRun, StudyResult, TrainRun

TRIAL_COLUMNS = ("trial", "outcome", "distance", "×floor", "×ResNet", "params", "time", "genotype")


def study_facts(result: "StudyResult", home: Path) -> dict[str, Any]:
    """Return a study as JSON."""
    return {
        "study": result.name,
        "run_id": result.run_id,
        "folder": result.folder,
        "genotype": result.winner,
        "trials": [{**row.to_json(), "score": row.score} for row in result.rows],
        "reruns": [asdict(rerun) for rerun in result.reruns],
        "promotion": asdict(result.promotion) if result.promotion is not None else None,
        "collapsed": [asdict(promotion) for promotion in result.collapsed],
        "verdict": result.verdict,
        "judge": result.worth.to_json(),
        "pictures": result.pictures,
        "seconds": result.seconds,
        "front": sorted(result.front),
        "next": with_home(result.next_command, home),
    }


def print_study(result: "StudyResult", home: Path) -> None:
    """Print a study: trials, re-ranking, winner, scores, pictures, what to type next."""
    from degas_ray.scores import Scores
    from degas_ray.space import Genotype

    scored = [Scores.from_json(row.scores) for row in result.rows if row.scores]
    name = scored[0].protocol.distance_name if scored else "score"
    heading(f"Study {result.name}: {len(result.rows)} trials in {duration(result.seconds)}")
    for sentence in result.verdict:
        print_words(sentence)
    if result.verdict:
        click.echo()
    print_table(
        TRIAL_COLUMNS,
        [_trial_row(row, result) for row in result.rows],
        right=[column for column in TRIAL_COLUMNS if column != "outcome"],
    )
    if scored:
        p = scored[0].protocol
        images = f"{p.n_fake:,} samples against {p.n_real:,} real images"
        print_words(f"distance: {name} on {p.features_name} ({images}), after the short training")
        print_words("×floor, ×ResNet: as a multiple of what real images get against real ones, and the ResNet")
    if result.front:
        print_words("front: no other trial beats it in every objective")
    for row in result.rows:
        if row.error:
            print_words(f"trial {row.number}: {row.error.strip().splitlines()[-1]}")
    if result.reruns:
        heading("Re-ranked with fresh seeds")
        _print_reruns(result)
    if result.winner:
        genotype = Genotype.parse(result.winner)
        heading(f"Winner {genotype.hash}")
        print_genotype(genotype)
    if result.promotion is not None:
        promotion = result.promotion
        title = "COLLAPSED, no champion" if promotion.collapsed else "Champion"
        heading(f"{title}: the winner, trained to full length")
        facts = {"model": f"{promotion.model} version {promotion.version}, alias champion"} if promotion.model else {}
        facts |= {"outcome": promotion.outcome} if promotion.outcome != "completed" else {}
        facts["size"] = size_words(promotion.parameters, promotion.macs)
        print_facts(facts | score_lines(Scores.from_json(promotion.scores)))
    print_pictures(result.pictures)
    print_next(result.next_command, home)


def require_champion(result: "StudyResult") -> None:
    """End with an error where what was trained to full length has collapsed, once everything has been printed.

    Raises:
        DegasError: With what to type next.
    """
    if result.crowned:
        return
    count = len(result.collapsed)
    raise DegasError(
        f"{'the full training' if count == 1 else f'all {count} full trainings'} of study {result.name} collapsed, so "
        f"no champion was registered; everything is kept; go on with '{result.next_command}'"
    )


def size_words(parameters: int, macs: int) -> str:
    """Return a generator's size in words."""
    return f"{parameters:,} parameters, {macs / 1e6:,.1f} M multiply-adds an image"


def heading(text: str) -> None:
    """Print a heading with an empty line before it."""
    click.echo("\n" + click.style(text, bold=True))


def print_genotype(genotype: "Genotype") -> None:
    """Print a genotype in words and as text."""
    print_words(genotype.describe(), indent=9)
    print_words(f"As text: {genotype}", indent=9)


def print_pictures(pictures: Mapping[str, str]) -> None:
    """Print where pictures are: their folder once, seen from here, and their names in it."""
    if not pictures:
        return
    folder = Path(os.path.commonpath([Path(path).parent for path in pictures.values()]))
    seen = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    heading(f"Pictures in {seen}")
    print_facts({name: str(Path(path).relative_to(folder)) for name, path in pictures.items()})


def print_next(command: str, home: Path) -> None:
    """Print what to type next."""
    heading("Next")
    click.echo(with_home(command, home) + "\n")


def with_home(command: str, home: Path) -> str:
    """Return ``command`` so that it finds the same home when it is typed here."""
    default = Path(os.environ.get("DEGAS_RAY_HOME") or DEFAULT_HOME).expanduser().absolute()
    return command if home == default else f"{command} --home {shlex.quote(str(home))}"


def score_lines(scores: "Scores") -> dict[str, str]:
    """Return scores as facts; the distance comes with what it was measured by."""
    second = scores.second.sentence() if scores.second is not None else "not measured: no held-out images"
    return {
        "distance": scores.sentence(),
        "second judge": second,
        scores.protocol.diversity_name: f"{scores.is_mean:.2f} ± {scores.is_std:.2f} ({scores.protocol.splits} splits)",
        "kernel distance": f"{scores.kid:.4g}",
        "precision, recall": f"{scores.precision:.2f}, {scores.recall:.2f}",
        "density, coverage": f"{scores.density:.2f}, {scores.coverage:.2f}",
        "protocol": protocol_words(scores) + f" [{scores.protocol.hash}]",
    }


def protocol_words(scores: "Scores") -> str:
    """Return how scores were measured, besides what the sentence about the distance says."""
    p = scores.protocol
    known = {f"BN with {p.bn} statistics": p.bn, f"{p.checkpoint} checkpoint": p.checkpoint}
    network = [] if p.precision == "float32" else [f"network in {p.precision}"]
    parts = [f"{p.resizer} resizing", *network, *(words for words, value in known.items() if value != "unknown")]
    return ", ".join([*parts, f"real images {p.reference}"])


def _trial_row(row: "Row", result: "StudyResult") -> tuple[str, ...]:
    from degas_ray.report.worth import times
    from degas_ray.space import Genotype

    shown = ("★ " if row.genotype and row.genotype == result.winner else "") + str(row.number)
    return (
        shown,
        row.ended(result.front),
        f"{row.score:,.1f}" if row.score is not None else "–",
        *(times(value) or "–" for value in result.worth.relative(row.score).values()),
        f"{row.parameters:,}" if row.parameters else "–",
        duration(row.seconds),
        Genotype.parse(row.genotype).hash[:8] if row.genotype else "–",
    )


def _print_reruns(result: "StudyResult") -> None:
    from degas_ray.space import Genotype
    from degas_ray.trials.order import fresh_scores

    before = {row.genotype: row.score for row in result.rows}
    rows = []
    for genotype, fresh in fresh_scores(result.reruns).items():
        first = before.get(genotype)
        star = "★ " if genotype == result.winner else ""
        rows.append(
            (
                star + Genotype.parse(genotype).hash[:8],
                f"{first:,.1f}" if first is not None else "–",
                f"{fmean(fresh):,.1f}" if fresh else "–",
                "  ".join(f"{value:,.1f}" for value in fresh) or "none has a score",
            )
        )
    columns = ("genotype", "in its trial", "fresh mean", "fresh seeds")
    print_table(columns, rows, right=columns[:3])


def search_facts(run: "SearchRun") -> dict[str, Any]:
    """Return a search as JSON."""
    found = run.found
    return {
        "genotype": str(run.genotype),
        "hash": run.genotype.hash,
        "n": run.genotype.n,
        "run": run.name,
        "run_id": run.run_id,
        "folder": run.folder,
        "entropy": found.entropy,
        "skip_share": found.skip_share,
        "margin": found.margin,
        "warnings": found.warnings,
        "parameters": run.parameters,
        "macs": run.macs,
        "pictures": run.pictures,
    }


def print_search(run: "SearchRun", home: Path) -> None:
    """Print a search: the genotype, how decided it is, pictures, what to type next."""
    genotype, found = run.genotype, run.found
    heading(f"Genotype {genotype.hash} of {run.name}")
    print_genotype(genotype)
    heading("How far the alphas decided")
    begun, ended = found.entropy
    print_facts(
        {
            "entropy": f"{begun:.3f} at the beginning, {ended:.3f} at the end (1: all operations alike, 0: one left)",
            "margin": f"{found.margin:.3f} between the first and the second choice, on average",
            "skip_connect": f"{100 * found.skip_share:.0f} % of the choices among normal operations",
            "size": f"{size_words(run.parameters, run.macs)}, at the proxy's width",
        }
    )
    for warning in found.warnings:
        print_words(f"Note: {warning}", indent=6)
    print_pictures(run.pictures)
    print_next(f"degas-ray train {run.run_id}", home)


def train_facts(run: "TrainRun") -> dict[str, Any]:
    """Return a training as JSON."""
    return {
        "run_id": run.run_id,
        "run": run.name,
        "folder": run.folder,
        "generator": run.what,
        "outcome": run.outcome,
        "collapsed_at": run.collapsed_at,
        "parameters": run.parameters,
        "macs": run.macs,
        "scores": run.scores.to_json(),
        "best": asdict(run.best) if run.best is not None else None,
        "pictures": run.pictures,
    }


def print_train(run: "TrainRun", home: Path) -> None:
    """Print a training: outcome, scores, pictures, what to type next."""
    heading(f"Training {run.name}: {run.outcome}")
    if run.outcome == "collapsed":
        since = f" since step {run.collapsed_at:,}" if run.collapsed_at is not None else ""
        click.echo(f"COLLAPSED{since}: the samples are near-copies of a few images; look at them.")
    size = size_words(run.parameters, run.macs)
    print_facts({"generator": run.what, "size": size, "folder": str(run.folder), "run id": run.run_id})
    heading("Scores")
    print_facts(score_lines(run.scores))
    if run.best is not None:
        best = f"{run.scores.protocol.distance_name} {run.best.distance:,.1f} after step {run.best.step:,}"
        print_facts({"best": f"{best}, kept as {run.folder / 'best.ckpt'}"})
    print_pictures(run.pictures)
    print_next(f"degas-ray sample {run.name} --grid --out samples.png", home)
