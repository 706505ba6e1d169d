"""What a study found, in a few plain sentences."""

from collections import Counter
from collections.abc import Mapping, Sequence

from degas_ray.config import Config
from degas_ray.report.standing import Standing
from degas_ray.results import Rerun, Row
from degas_ray.scores import Scores
from degas_ray.trials.describe import searches

_NAMED = 3  # settings that are called important
_LEAST = 0.05  # share of the variance, below which a setting is not named


def findings(config: Config, now: Standing, shares: Mapping[str, float]) -> list[str]:
    """Return the sentences, in the order in which a reader asks; what the champion is worth is told before them.

    Args:
        config: The study's.
        now: Its trials, re-rankings and winner.
        shares: From :func:`degas_ray.report.importance.importance`.
    """
    rows, reruns, winner, promotion = now.rows, now.reruns, now.winner, now.promotion
    outcomes = Counter(row.outcome for row in rows)
    counted = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    trials = "searches" if searches(config) else f"trials by {config.study.strategy}"
    said = [f"{len(rows)} {trials} on {config.dataset}: {counted}."]
    scored = [row for row in rows if row.score is not None]
    if scored:
        sound = [row for row in scored if row.sound]
        best = min(sound or scored, key=lambda row: row.score or 0.0)
        worst = max(scored, key=lambda row: row.score or 0.0)
        told = "best generator that did not collapse" if best.sound and len(sound) < len(scored) else "best generator"
        name = Scores.from_json(best.scores).protocol.distance_name
        said.append(
            f"After the short training the {told} had {_article(name)} {name} of {best.score:,.1f} "
            f"(trial {best.number}) and the worst {worst.score:,.1f} (trial {worst.number})."
        )
    said += _noise(rows, reruns)
    if winner is not None:
        residual = sum(edge.residual for feature_map in winner.maps for edge in feature_map.inputs)
        said.append(
            f"The winner is genotype {winner.hash} with n = {winner.n}: {residual} residual "
            f"connection{'' if residual == 1 else 's'}, the other inputs direct."
        )
    if promotion is not None:
        said.append(
            f"Trained to full length it has {promotion.parameters:,} parameters and reaches "
            f"{Scores.from_json(promotion.scores).sentence()}."
            + (" It COLLAPSED: its images are a few, over and over." if promotion.collapsed else "")
        )
    decided = [1 - row.entropy[1] for row in rows if row.entropy is not None]
    if decided:
        meaning = (
            "each tells little by itself, and the network is taken that is best by all together"
            if config.search.paths == "sampled"
            else "near 0 the pruning is close to a random pick"
        )
        said.append(
            f"The searches ended {100 * min(decided):.0f} to {100 * max(decided):.0f} % decided "
            f"(0: all operations alike, 100: one left); {meaning}."
        )
    named = [(key, share) for key, share in list(shares.items())[:_NAMED] if share >= _LEAST]
    if named:
        listed = ", ".join(f"{key} {100 * share:.0f} %" for key, share in named)
        said.append(
            f"Of the score's variance over {len(scored)} trials, fANOVA gives to: {listed}. With so few trials that is "
            "a hint and no proof."
            if len(scored) < 30
            else f"Of the score's variance over {len(scored)} trials, fANOVA gives to: {listed}."
        )
    return said


def _article(name: str) -> str:
    return "an" if name.startswith("FID") else "a"


def _noise(rows: Sequence[Row], reruns: Sequence[Rerun]) -> list[str]:
    """Say how far a fresh seed moves the score of the same genotype: what a difference must exceed to mean anything."""
    first = {row.genotype: row.score for row in rows if row.score is not None}
    pairs = [
        (first[rerun.genotype], Scores.from_json(rerun.scores).fid)
        for rerun in reruns
        if rerun.scores and first.get(rerun.genotype)
    ]
    ratios = [abs(fresh - before) / before for before, fresh in pairs if before]
    if not ratios:
        return []
    return [
        f"Trained again with fresh seeds, the same genotypes moved by up to {100 * max(ratios):.0f} %: smaller "
        "differences between trials say nothing."
    ]
