"""A study as one HTML page: what was searched, what won, figures, tables, how to get each line again."""

import base64
import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from degas_ray import figures
from degas_ray.config import Config, dump, stored_config
from degas_ray.errors import InputError
from degas_ray.figures import tables
from degas_ray.files import read_json
from degas_ray.home import GENERATOR, StudyFolder
from degas_ray.report import comparison
from degas_ray.report.entries import study_entry
from degas_ray.report.findings import findings
from degas_ray.report.importance import importance
from degas_ray.report.overview import COORDINATES, DIAGRAM, HISTORY, IMPORTANCE, PARETO, study_figures
from degas_ray.report.page import page
from degas_ray.report.result import StudyResult, collect
from degas_ray.report.standing import Standing, standing
from degas_ray.report.summary import REACH
from degas_ray.report.worth import FLOOR, RESNET, times
from degas_ray.results import Row
from degas_ray.runs.jobs import Needs
from degas_ray.scores import Scores
from degas_ray.scores.protocol import DIVERSITY
from degas_ray.space import Genotype
from degas_ray.trials.describe import searches, what_trials_do
from degas_ray.trials.order import fresh_scores

TRIALS = (
    "trial", "outcome", "distance", FLOOR, RESNET, *REACH, DIVERSITY, "parameters", "multiply-adds", "n",
    "decided", "minutes", "genotype",
)  # fmt: skip
RERUNS = ("genotype", "in its trial", "fresh mean", "fresh seeds")
CAPTIONS = {
    HISTORY: "Every trial's score after the short training, and the best so far.",
    COORDINATES: "What was tuned and what came of it: a line a trial, dark is good, the thick one is the best.",
    IMPORTANCE: "How much of the variance of the score each setting explains (fANOVA).",
    PARETO: "Size against score. The promoted generator is chosen after re-ranking, so it need not lie on the front.",
}


@dataclass(frozen=True)
class _Study:
    result: StudyResult
    now: Standing
    state: Mapping[str, Any]
    config: Config
    facts: Mapping[str, Any]  # provenance
    winner: Genotype
    name: str  # of the distance

    @property
    def best(self) -> Row:
        """The trial that found the winner."""
        return next(row for row in self.result.rows if row.genotype == str(self.winner) and row.score is not None)


def write_report(home: Path, name: str) -> str:
    """Return the page of a study that has scores; nothing in it is loaded from elsewhere.

    Raises:
        InputError: Where there is no such study, or none of its trials has a score.
    """
    study = _read(home.absolute(), name)
    resolution = _resolution(study)
    shares = importance(study.result.rows, study.config)
    drawn = study_figures(study.config, study.result.rows, study.winner, shares, resolution)
    sentences = findings(study.config, study.now, shares)
    parts = [
        _head(study, sentences, resolution),
        _winner(study, drawn[DIAGRAM]),
        _pictures(study),
        _trials(study),
        *_drawings(study, drawn),
        _published(study, home),
        _again(study),
        _circumstances(study),
    ]
    return page(f"Study {name}", "\n".join(parts))


def _read(home: Path, name: str) -> _Study:
    folder = StudyFolder(home, name)
    state = folder.read()
    config = stored_config(state, folder.file)
    result, now = collect(folder, state, config), standing(folder, config)
    if not result.winner:
        raise InputError(f"no trial of {name} has a score yet; go on with 'degas-ray tune --resume {name}'")
    scored = next(row for row in result.rows if row.scores)
    distance = Scores.from_json(scored.scores).protocol.distance_name
    facts = read_json(folder.provenance) or {}
    return _Study(result, now, state, config, facts, Genotype.parse(result.winner), distance)


def _resolution(study: _Study) -> int:
    from degas_ray.gan import load_generator

    file = study.result.folder / "trials" / f"{study.best.number:04d}" / GENERATOR
    if study.config.resolution is not None or not file.exists():
        return study.config.resolution or 32
    return int(load_generator(file)[1]["resolution"])


def _head(study: _Study, sentences: Sequence[str], resolution: int) -> str:
    result, best = study.result, study.best
    shown = {
        "images": f"{study.config.dataset} at {resolution}×{resolution}",
        "trials": str(len(result.rows)),
        "hours in all": f"{result.seconds / 3600:.2f}",
        "parameters of the winner": f"{(result.promotion or best).parameters:,}",
    }
    distance = result.promotion.scores["fid"] if result.promotion is not None else best.score
    shown[study.name + (", full training" if result.promotion is not None else ", short training")] = f"{distance:,.1f}"
    boxes = "".join(f"<div><b>{escape(value)}</b><span>{escape(key)}</span></div>" for key, value in shown.items())
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    verdict = "".join(f"<p><b>{escape(sentence)}</b></p>\n" for sentence in result.verdict)
    return (
        f"<h1>Study {escape(result.name)}</h1>\n{verdict}<p class='lead'>A search for an image generator. "
        f"{escape(what_trials_do(study.config))}</p>\n<div class='facts'>{boxes}</div>\n"
        f"<h2>What was found</h2>\n<ul>{said}</ul>"
    )


def _winner(study: _Study, diagram: Figure) -> str:
    words = "<br>".join(map(escape, study.winner.describe().splitlines()))
    return (
        f"<h2>The winner: {study.winner.hash}</h2>\n{_figure(_svg(diagram), 'Its stages from left to right.')}\n"
        f"<p>{words}</p>\n<pre>{escape(str(study.winner))}</pre>"
    )


def _pictures(study: _Study) -> str:
    pictures = {name: Path(path) for name, path in study.result.pictures.items() if path.endswith(".png")}
    whose = "The champion" if study.result.crowned else "What was promoted, and COLLAPSED"
    parts = [
        _figure(_inline(path.read_bytes(), "png"), f"{whose}: {name}.", "pixels")
        for name, path in pictures.items()
        if path.exists()
    ]
    alphas = study.result.folder / "trials" / f"{study.best.number:04d}" / "alphas.png"
    if alphas.exists():
        caption = (
            "The search that found it: weight of every operation over its steps; the strongest at the end is bold."
        )
        parts.append(_figure(_inline(alphas.read_bytes(), "png"), caption))
    if study.result.promotion is not None:
        rows = _stats(Path(study.result.promotion.folder) / "stats.jsonl")
        losses = ("full/critic_loss", "full/generator_loss")
        if any(losses[0] in row for row in rows):
            curve = figures.curve(rows, "step", losses)
            parts.append(_figure(_svg(curve), f"{whose}: losses of critic and generator over its training."))
    return f"<h2>Pictures</h2>\n{''.join(parts)}" if parts else ""


def _stats(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _trials(study: _Study) -> str:
    rows = study.result.rows
    order = sorted(rows, key=lambda row: row.place)
    protocol = Scores.from_json(study.best.scores)
    diversity = protocol.protocol.diversity_column
    lines = [
        {
            "trial": f"{row.number}" + (" ★" if row.genotype == str(study.winner) else ""),
            "outcome": row.ended(study.result.front),
            "distance": row.score,
            **{key: times(value) or None for key, value in study.result.worth.relative(row.score).items()},
            **{key: f"{Scores.from_json(row.scores).metrics()[key]:.2f}" if row.scores else None for key in REACH},
            diversity: round(Scores.from_json(row.scores).is_mean, 2) if row.scores else None,
            "parameters": row.parameters or None,
            "multiply-adds": row.macs or None,
            "n": row.n or None,
            "decided": f"{100 * (1 - row.entropy[1]):.0f} %" if row.entropy else None,
            "minutes": round(row.seconds / 60, 2),
            "genotype": Genotype.parse(row.genotype).hash if row.genotype else None,
        }
        for row in order
    ]
    told = f"Measured by {protocol.protocol.distance_name} on {protocol.protocol.features_name}, "
    told += f"{protocol.protocol.n_fake:,} samples against {protocol.protocol.n_real:,} real images, "
    told += f"protocol {protocol.protocol.hash}. Lower is better. ★ won after re-ranking. "
    told += (
        f"{FLOOR}: as a multiple of what real images get against other real ones; {RESNET}: of what the hand-designed "
    )
    told += "ResNet gets after the same short training."
    if study.result.front:
        told += f" On the front: no trial beats it in every one of {', '.join(study.config.study.objectives)}."
    columns = [diversity if column == DIVERSITY else column for column in TRIALS]
    parts = [f"<h2>Trials</h2>\n{_scroll(tables.html(lines, columns))}\n<p class='small'>{escape(told)}</p>"]
    if study.result.reruns:
        before = {row.genotype: row.score for row in study.result.rows}
        again = [
            {
                "genotype": Genotype.parse(genotype).hash,
                "in its trial": before.get(genotype),
                "fresh mean": fmean(fresh) if fresh else None,
                "fresh seeds": ", ".join(f"{value:,.1f}" for value in fresh) or "none has a score",
            }
            for genotype, fresh in fresh_scores(study.result.reruns).items()
        ]
        parts.append(f"<h3>Re-ranked with fresh seeds</h3>\n{_scroll(tables.html(again, RERUNS))}")
    failed = [f"trial {row.number}: {row.error.strip().splitlines()[-1]}" for row in order if row.error.strip()]
    parts += [f"<p class='small'>{escape(line)}</p>" for line in failed]
    return "\n".join(parts)


def _drawings(study: _Study, drawn: Mapping[str, Figure]) -> Iterator[str]:
    yield "<h2>The study in figures</h2>"
    for name, caption in CAPTIONS.items():
        if name in drawn:
            yield _figure(_svg(drawn[name]), caption)


def _published(study: _Study, home: Path) -> str:
    found = comparison.compare([study_entry(home, study.result.name)], chosen=True)  # a run may have the same name
    body = "\n".join(_scroll(comparison.html_table(table)) for table in found)
    told = (
        comparison.NOTE
        if any(not entry.ours for table in found for entry in table.entries)
        else (
            "Nothing has been published for these images, so there is nothing to put beside it; "
            "'degas-ray compare' prints the published tables."
        )
    )
    return f"<h2>Beside published generators</h2>\n{body}\n<p class='small'>{escape(told)}</p>"


def _again(study: _Study) -> str:
    name = study.result.name
    same = study.config.study.model_copy(
        update={"trials": study.state["trials"], "concurrent": max(1, int(study.state.get("lag", 2)) // 2)}
    )
    settings = dump(study.config.model_copy(update={"study": same}))
    file = f"{name}.yaml"
    searched = searches(study.config)
    each = (
        "One trial's search alone, and the full training of its generator"
        if searched
        else "A generator's full training"
    )
    parts = [
        "<h2>How to get each line again</h2>",
        f"<p>Save the settings below as <code>{escape(file)}</code>. The whole study, with equal proposals, seeds and "
        "scores on a machine of the same kind:</p>",
        f"<pre>degas-ray tune --config {escape(file)} --name {escape(name)}-again</pre>",
        f"<p>{each} in the study's home:</p>",
    ]
    for row in study.result.rows:
        lines = [_search_command(study.config, row, file)] if searched else []
        lines += [f"degas-ray promote {name} --trial {row.number}"] if row.genotype else []
        if lines:
            text = escape("\n".join(lines))
            parts.append(f"<details><summary>trial {row.number}</summary><pre>{text}</pre></details>")
    parts.append(f"<details><summary>{escape(file)}</summary><pre>{escape(settings)}</pre></details>")
    return "\n".join(parts)


def _search_command(config: Config, row: Row, file: str) -> str:
    """Return the command that does a trial's search alone, on as many threads as it had."""
    threads = Needs(config.study.search_cpus or config.study.cpus).threads
    sets = " ".join(f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in row.params.items())
    return f"OMP_NUM_THREADS={threads} degas-ray search --config {file} --seed {row.seed} {sets}"


def _circumstances(study: _Study) -> str:
    facts = study.facts
    if not facts:
        return ""
    git, machine = facts.get("git") or {}, facts["machine"]
    code = git["commit"] + (" with changes that are not committed" if git.get("dirty") else "") if git else "no git"
    rows = {
        "command": shlex.join(facts["command"]),
        "seed": str(facts["seed"]),
        "images": f"{facts['data']['dataset']}, fingerprint {facts['data']['fingerprint']}",
        "working directory's commit": code,
        "packages": ", ".join(f"{name} {version}" for name, version in facts["packages"].items()),
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"GPUs: {', '.join(machine['gpus']) or 'none'}, {machine['system']}",
        "MLflow run": study.result.run_id,
    }
    lines = [{"what": key, "value": value} for key, value in rows.items()]
    return f"<h2>Circumstances</h2>\n{_scroll(tables.html(lines, ('what', 'value')))}"


def _svg(figure: Figure) -> str:
    # An image each: inlined as elements, the figures' ids would clash.
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue(), "svg+xml")


def _inline(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _figure(source: str, caption: str, look: str = "") -> str:
    text = escape(caption)
    return f'<figure><img class="{look}" src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>\n'


def _scroll(table: str) -> str:
    return f'<div class="scroll">{table}</div>'
