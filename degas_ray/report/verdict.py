"""How good a study's champion is, in plain sentences: against the floor, the yardstick and the noise of a seed."""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from degas_ray.config import Config
from degas_ray.report.standing import Standing
from degas_ray.report.worth import Worth
from degas_ray.results import COLLAPSED, Promotion
from degas_ray.scores import Scores, comparable
from degas_ray.scores.reliability import FEWEST
from degas_ray.space import Genotype
from degas_ray.trials.order import fresh_scores

CERTAIN = 2 * math.sqrt(2)  # standard deviations of a seed, beyond which two trainings differ


def verdict(now: Standing, config: Config) -> list[str]:
    """Return what a reader must know before anything else.

    Args:
        now: Who leads the study.
        config: Its settings.
    """
    if now.winner is None:
        return []
    said = list(_leader(now))
    if all(not row.sound for row in now.rows if row.score is not None):
        said.append("Every short training COLLAPSED, so their distances say little about the genotypes.")
    said += _against(now)
    said += _reliability(now.worth, config)
    if now.promotion is not None and now.promotion.collapsed:
        other = "other genotypes" if now.exhausted else "the study's next genotypes"
        said.append(
            "What may help: a longer or calmer full training (more full.steps, lower full.lr and full.critic_lr, more "
            f"full.critic_steps, another full.framework), or {other}."
        )
    return said


def _leader(now: Standing) -> Iterator[str]:
    """Say what the champion reaches, or that there is none and why."""
    promotion, passed = now.promotion, now.collapsed
    if promotion is None:
        short = _short_scores(now)
        if short is not None:
            collapsed = " It COLLAPSED." if not any(r.sound for r in now.rows if r.genotype == str(now.winner)) else ""
            yield f"Winner, after the short training alone: {_numbers(short)}.{collapsed}"
        return
    if promotion.collapsed:
        if now.unfinished:
            were = "first full training" if len(passed) == 1 else f"first {len(passed)} full trainings"
            yield f"NO CHAMPION YET: the {were} COLLAPSED. The study trains its next candidate when it is resumed."
        else:
            count = "the full training" if len(passed) == 1 else f"all {len(passed)} full trainings"
            yield f"NO CHAMPION: {count} COLLAPSED, so nothing was registered."
        yield f"What they draw comes near hardly any real image. {_listed(passed)}"
        return
    full = Scores.from_json(promotion.scores)
    yield f"Champion: {_numbers(full)}."
    if passed:
        were = "candidate that came before it" if len(passed) == 1 else f"{len(passed)} candidates that came before it"
        yield f"The {were} COLLAPSED at full length. {_listed(passed)}"
    short, distance = _short_scores(now), _short(now)
    known = short is not None and comparable(short.protocol, full.protocol)
    if known and distance is not None and full.fid >= distance:
        yield f"Full training did not improve on the short one: {full.fid:,.1f} against {distance:,.1f}."


def _against(now: Standing) -> Iterator[str]:
    """Say what real images, the ResNet and another seed get."""
    worth, distance = now.worth, _short(now)
    if worth.floor is not None:
        yield f"Floor, real images against real ones: {_numbers(worth.floor)}."
    if worth.resnet is not None:
        said = f"Under the same short training: the ResNet {worth.resnet:,.1f}"
        if worth.yardstick is not None and worth.yardstick.outcome == COLLAPSED:
            said += " (COLLAPSED)"
        if distance is not None:
            said += f", this genotype {distance:,.1f}{_ahead(distance, worth)}"
        yield said + "."
    elif worth.yardstick is not None:
        yield f"The yardstick, the ResNet under the same short training, {worth.yardstick.outcome}."
    if worth.seed_moves is not None:
        yield f"Another seed moves a distance by ±{100 * worth.seed_moves:.0f} % (standard deviation)."


def _ahead(distance: float, worth: Worth) -> str:
    if worth.resnet is None or worth.seed_moves is None or min(distance, worth.resnet) <= 0:
        return ""
    lead = math.log(distance / worth.resnet)
    if abs(lead) <= CERTAIN * worth.seed_moves:
        return ", a difference that a seed can make"
    return "; the ResNet is ahead" if lead > 0 else "; the genotype is ahead"


def _reliability(worth: Worth, config: Config) -> Iterator[str]:
    """Say how far one short training can be trusted to tell genotypes apart."""
    icc, rerank = worth.reliability, config.study.rerank
    if icc is not None:
        yield (
            f"Reliability of one seed (ICC): {icc.value:.2f}, 95 % interval {icc.low:.2f} to {icc.high:.2f}, from "
            f"{icc.count} trainings of {icc.groups} genotypes. They are the study's best and differ less than "
            "genotypes at large, so it is a low estimate."
        )
        return
    had = f"{rerank.top} genotypes with {rerank.seeds} each" if rerank.top else "none"
    yield (
        f"Reliability of one seed: not known. It takes {FEWEST} re-ranked genotypes, better more, and "
        f"this study re-ranks {had} (study.rerank.top, study.rerank.seeds)."
    )


def _short(now: Standing) -> float | None:
    """Return the winner's distance after the short training: the mean of its fresh seeds, or its trial's."""
    fresh = fresh_scores(now.reruns).get(str(now.winner))
    if fresh:
        return fmean(fresh)
    return next((row.score for row in now.rows if row.genotype == str(now.winner) and row.score is not None), None)


def _short_scores(now: Standing) -> Scores | None:
    return next(
        (Scores.from_json(row.scores) for row in now.rows if row.genotype == str(now.winner) and row.scores), None
    )


def _listed(promotions: Sequence[Promotion]) -> str:
    parts = [f"{Genotype.parse(p.genotype).hash[:8]}: {_numbers(Scores.from_json(p.scores))}" for p in promotions]
    return f"Genotype {'; genotype '.join(parts)}."


def _numbers(scores: Scores) -> str:
    distance = f"{scores.fid:,.1f}"
    return f"{scores.protocol.distance_name} {distance}, recall {scores.recall:.2f}, coverage {scores.coverage:.2f}"
