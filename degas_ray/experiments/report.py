"""An experiment's rows as Markdown and a figure; every number in it is computed from the rows."""

import json
import statistics as plain
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from degas_ray import figures
from degas_ray.experiments import statistics
from degas_ray.experiments.files import FULL, Experiment
from degas_ray.experiments.found import (
    AGREEMENT,
    BY_CHANCE,
    FOUND,
    KEPT,
    alike,
    found_line,
    kept_line,
    likeness_sentence,
    likeness_strips,
)
from degas_ray.experiments.plan import planned_trainings
from degas_ray.experiments.rows import Row, config_of
from degas_ray.experiments.run import current_rows
from degas_ray.figures import tables
from degas_ray.figures.strips import Strip, strips
from degas_ray.report.importance import importance
from degas_ray.results import Row as TrialRow
from degas_ray.scores import Scores
from degas_ray.scores.protocol import DIVERSITY

GROUPS = (
    "group",
    "generators",
    "seeds",
    "median",
    "95 % interval",
    "against the first",
    "IS",
    DIVERSITY,
    "parameters",
    "multiply-adds",
    "without score",
)
CLAIMS = ("better", "than", "training", "difference", "verdict")
RANKS = ("by", "against", "generators", "Spearman", "95 % interval", "distances moved")
SIZES: dict[statistics.Quantity, str] = {"parameters": "parameters", "macs": "multiply-adds"}
SO_FAR = (
    "What became of every claim: by how much the median distance of the first lies above that of the second, with its "
    "95 % interval. Below zero throughout, the claim holds."
)
INTERVALS = (
    "A group's distance is the median over its generators, each with the mean of its training seeds. Intervals are its "
    "95 % percentile bootstrap intervals (9,999 resamples): over generators, or over seeds where a group has one."
)


@dataclass(frozen=True)
class Report:
    """What an experiment came to so far.

    Args:
        experiment: At one scale.
        rows: That belong to it.
        tables: Headings to lines and their columns, in order.
        claims: What became of the experiment's claims.
        sentences: What was found, in words.
        strips: What the figure shows.
        distance: What is measured, for the figure's axis.
    """

    experiment: Experiment
    rows: tuple[Row, ...]
    tables: tuple[tuple[str, list[dict[str, Any]], tuple[str, ...]], ...]
    claims: tuple[dict[str, Any], ...]
    sentences: tuple[str, ...]
    strips: tuple[Strip, ...]
    distance: str

    @property
    def title(self) -> str:
        """The experiment's, with its scale where that is not the file's own."""
        scale = self.experiment.scale
        return self.experiment.title + ("" if scale == FULL else f" ({scale} scale)")

    def figure(self) -> Figure | None:
        """Return the figure; ``None`` before there is a score."""
        return strips(self.strips, self.distance) if self.strips else None

    def markdown(self, picture: str = "") -> str:
        """Return the report.

        Args:
            picture: The figure's address, where it was written.
        """
        experiment = self.experiment
        parts = [f"## {self.title}", experiment.question, f"The paper: {experiment.paper}"]
        if experiment.caveat:
            parts.append(f"**Caveat:** {experiment.caveat}")
        for heading, lines, columns in self.tables:
            parts += [f"### {heading}", tables.markdown(lines, columns)]
        if picture:
            parts.append(f"![{experiment.title}]({picture})")
        parts += self.sentences
        parts.append(f"Again: `{experiment.command}`; rows: `{experiment.results.name}`.")
        return "\n\n".join(parts) + "\n"

    def facts(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "experiment": self.experiment.name,
            "scale": self.experiment.scale,
            "rows": len(self.rows),
            "tables": {heading: lines for heading, lines, _ in self.tables},
            "sentences": list(self.sentences),
        }


def report_on(experiment: Experiment) -> Report:
    """Read an experiment's rows and compute what they say.

    Args:
        experiment: At one scale.

    Raises:
        InputError: Where its results cannot be read.
    """
    rows = tuple(current_rows(experiment))
    shown: list[tuple[str, list[dict[str, Any]], tuple[str, ...]]] = []
    drawn: list[Strip] = []
    distance, sentences = "", [_progress(experiment, rows)]
    for training in experiment.trainings:
        for protocol, own in _by_protocol([row for row in rows if row.training == training]):
            lines, found = _groups(experiment, training, own)
            heading = f"Training {training}" + (f" on {own[0].dataset}" if own[0].dataset else "")
            unused = {"IS", DIVERSITY} - {key for line in lines for key in line}
            shown.append((heading, lines, tuple(column for column in GROUPS if column not in unused)))
            drawn += found
            if protocol:
                distance = distance or next(row.distance_name for row in own if row.fid is not None)
                sentences.append(f"{heading}: {_measured(own)}.")
    if any(row.training for row in rows):
        sentences.append(INTERVALS)
    searches = [row for row in rows if row.kind in ("search", "study")]
    if searches:
        shown.append(("What was found", [found_line(row) for row in searches], FOUND))
    compared = [(group, share) for group in alike(experiment, searches) if (share := group.stability()) is not None]
    if compared:
        shown.append(("What it is made of, and by chance", [kept_line(group) for group, _ in compared], KEPT))
    ranks = list(_ranks(experiment, rows))
    if ranks:
        shown.append(("How alike the same generators are ranked", ranks, RANKS))
    claims = tuple(_decided(experiment, rows))
    if claims:
        shown.append(("Is it so?", list(claims), CLAIMS))
    sentences += [*_noise(experiment, rows), *_settings_against_chance(experiment, rows)]
    for group, share in compared:
        sentences.append(likeness_sentence(group, share))
        if not experiment.trainings:
            drawn += likeness_strips(group, share)
    if drawn and not experiment.trainings:
        distance = AGREEMENT
        sentences.append(BY_CHANCE)
    importances = list(_importance(experiment, rows))
    if importances:
        shown.append(("Share of the distance's variance, by fANOVA", importances, ("group", "setting", "share")))
    return Report(experiment, rows, tuple(shown), claims, tuple(sentences), tuple(drawn), distance)


def write_report(reports: Sequence[Report], file: Path, title: str = "Evidence") -> None:
    """Write reports as one Markdown page, its figures in a folder beside it.

    Args:
        reports: In order.
        file: Of the page.
        title: At its top.

    Raises:
        DegasError: Where it cannot be written.
    """
    from degas_ray.files import write_bytes

    folder = file.parent / file.stem
    parts = [f"# {title}\n\nMade by `degas-ray experiment report`; every number comes from the rows.\n"]
    claims = [{"experiment": item.title, **claim} for item in reports for claim in item.claims]
    if claims:
        parts.append(f"{SO_FAR}\n\n{tables.markdown(claims, ('experiment', *CLAIMS))}\n")
    for item in reports:
        figure, address = item.figure(), ""
        if figure is not None:
            name = item.experiment.results.with_suffix(".svg").name
            figures.save(figure, folder / name)
            address = f"{folder.name}/{name}"
        parts.append(item.markdown(address))
    write_bytes(file, "\n".join(parts).encode())


def _progress(experiment: Experiment, rows: Sequence[Row]) -> str:
    done = sum(row.kind == "training" for row in rows)
    # A training that stands in two groups was made once.
    hours = sum({row.key: row.seconds for row in rows if row.kind != "trial"}.values()) / 3600
    return f"{done} of {planned_trainings(experiment)} trainings are done; {hours:.2g} hours were spent in all."


def _by_protocol(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield rows that may be ranked with each other; those without a score go with the first."""
    protocols = list(dict.fromkeys(row.protocol_hash for row in rows if row.protocol_hash)) or [""]
    for place, protocol in enumerate(protocols):
        own = [row for row in rows if row.protocol_hash == protocol or (not row.protocol_hash and not place)]
        if own:
            yield protocol, own


def _groups(experiment: Experiment, training: str, rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[Strip]]:
    lines: list[dict[str, Any]] = []
    drawn: list[Strip] = []
    reference: statistics.Units | None = None
    for group in experiment.groups_of(training):
        own = [row for row in rows if row.group == group]
        scored = [row for row in own if row.fid is not None]
        if not own:
            continue
        line: dict[str, Any] = {
            "group": group,
            "generators": len({row.member for row in own}),
            "seeds": len({row.seed for row in own}),
            "without score": len(own) - len(scored),
        }
        if scored:
            values = statistics.units(scored)
            middle = statistics.median(values)
            diversity = "IS" if scored[0].distance_name == "FID" else DIVERSITY
            line |= {
                "median": middle.value,
                "95 % interval": _interval(middle, "{:,.1f}"),
                "against the first": _against(values, reference) if reference is not None else None,
                diversity: plain.median(row.is_mean for row in scored if row.is_mean is not None),
                "parameters": round(plain.median(row.parameters or 0 for row in scored)),
                "multiply-adds": round(plain.median(row.macs or 0 for row in scored)),
            }
            reference = reference or values
            drawn.append(Strip(f"training {training}", group, values.values, middle.value, middle.low, middle.high))
        lines.append(line)
    return lines, drawn


def _against(values: statistics.Units, reference: statistics.Units) -> str:
    share = statistics.difference(values, reference)
    return f"{100 * share.value:+.1f} %" + (f" {text}" if (text := _interval(share, "{:+.1f}", 100)) else "")


def _interval(estimate: statistics.Estimate, form: str, scale: float = 1.0) -> str | None:
    if estimate.low is None or estimate.high is None:
        return None
    return f"[{form.format(scale * estimate.low)}, {form.format(scale * estimate.high)}]"


def _measured(rows: Sequence[Row]) -> str:
    row = next(row for row in rows if row.protocol)
    numbers = {name: getattr(row, name) for name in ("fid", "kid", "is_mean", "is_std", "precision", "recall")}
    numbers |= {"density": row.density, "coverage": row.coverage}
    protocol = Scores.from_json({**numbers, "protocol": json.loads(row.protocol)}).protocol
    return (
        f"{protocol.distance_name} on {protocol.features_name}, {protocol.n_fake:,} samples against "
        f"{protocol.n_real:,} real images; smaller is better"
    )


def _decided(experiment: Experiment, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield what the rows say of each claim: it holds, it does not, or it cannot be told."""
    for claim in experiment.claims:
        counted = [row for row in rows if row.training in claim.trainings and row.fid is not None]
        better, than = ([row for row in counted if row.group == name] for name in (claim.better, claim.than))
        if not better or not than or len({row.protocol_hash for row in (*better, *than)}) > 1:
            continue
        values, reference = statistics.units(better), statistics.units(than)
        share = statistics.difference(values, reference)
        if share.low is None or share.high is None:
            verdict = "one value, no interval"
        elif share.low <= 0 <= share.high:
            verdict = "not told by these rows"
        else:
            verdict = "holds" if share.high < 0 else "does not hold: worse"
        yield {
            "better": claim.better,
            "than": claim.than,
            "training": ", ".join(claim.trainings),
            "difference": _against(values, reference),
            "verdict": verdict + (", but see the caveat there" if experiment.caveat else ""),
        }


def _noise(experiment: Experiment, rows: Sequence[Row]) -> Iterator[str]:
    for training in experiment.trainings:
        found = statistics.noise([row for row in rows if row.training == training])
        if found is not None:
            within, between = found
            yield (
                f"Training {training} as a judge: fresh seeds move one generator's distance by {100 * within:.1f} % "
                f"(standard deviation), generators differ by {100 * between:.1f} %."
            )
        icc = statistics.reliability([row for row in rows if row.training == training])
        if icc is not None:
            yield (
                f"Reliability of one seed of training {training}, ICC(1) of the log distances: {icc.value:.2f} "
                f"[{icc.low:.2f}, {icc.high:.2f}], {icc.groups} generators."
            )


def _ranks(experiment: Experiment, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield each training against each later one, and sizes against the last of those with the most generators."""
    names = list(experiment.trainings)
    sides = {name: [row for row in rows if row.training == name] for name in names}
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            found = statistics.rank_agreement(sides[first], sides[second])
            if found is not None:
                yield _rank(first, second, found) | {"distances moved": _moved(sides[first], sides[second])}
    if not names:
        return
    last = max(reversed(names), key=lambda name: len({row.genotype for row in sides[name]}))
    for quantity, name in SIZES.items():
        found = statistics.rank_agreement(sides[last], sides[last], quantity)
        if found is not None:
            yield _rank(name, last, found)


def _rank(first: str, second: str, found: statistics.Estimate) -> dict[str, Any]:
    return {
        "by": first,
        "against": second,
        "generators": found.count,
        "Spearman": f"{found.value:.2f}",
        "95 % interval": _interval(found, "{:.2f}"),
    }


def _moved(first: Sequence[Row], second: Sequence[Row]) -> str | None:
    """Say how much farther the second training's generators are, where one protocol measured both."""
    share = statistics.paired_difference(first, second)
    if share is None or len({row.protocol_hash for row in (*first, *second) if row.fid is not None}) > 1:
        return None
    return f"{100 * share.value:+.1f} % {_interval(share, '{:+.1f}', 100)}"


def _importance(experiment: Experiment, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for study in (row for row in rows if row.kind == "study"):
        trials = [row for row in rows if row.kind == "trial" and row.key.startswith(f"{study.key}-")]
        scored = [
            TrialRow(
                int(row.key.rpartition("-")[2]), row.outcome, json.loads(row.params), row.seed, distances=(row.fid,)
            )
            for row in trials
            if row.fid is not None
        ]
        for key, share in importance(scored, config_of(study)).items():
            yield {"group": f"{study.group} {study.member}", "setting": key, "share": share}


def _settings_against_chance(experiment: Experiment, rows: Sequence[Row]) -> Iterator[str]:
    """Say whether a study's trials differ more than generators do that are all found with the same settings."""
    alike = [name for name, group in experiment.generators.items() if group.kind == "search"]
    for study in (row for row in rows if row.kind == "study"):
        trials = [row for row in rows if row.kind == "trial" and row.key.startswith(f"{study.key}-")]
        for name in alike:
            same = [row for row in rows if row.kind == "training" and row.group == name]
            if {row.protocol_hash for row in same} != {row.protocol_hash for row in trials if row.protocol_hash}:
                continue
            by_settings, by_chance = statistics.spread(trials), statistics.spread(same)
            if by_settings is None or by_chance is None:
                continue
            ending = "more than chance alone" if by_settings > by_chance else "no more than chance alone"
            yield (
                f"{len(trials)} trials of {study.group} {study.member}, each with settings of its own, vary by "
                f"{100 * by_settings:.1f} % (standard deviation); {len(same)} trainings of {name}, all of one setting, "
                f"by {100 * by_chance:.1f} %: {ending}, so read the shares of fANOVA accordingly."
            )
