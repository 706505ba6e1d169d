"""Who leads a study: its champion, and the candidates that were trained to full length and are none."""

from dataclasses import dataclass

from degas_ray.config import Config
from degas_ray.home import StudyFolder
from degas_ray.report.worth import Worth, read_worth
from degas_ray.results import Ledger, Promotion, Rerun, Row
from degas_ray.space import Genotype
from degas_ray.trials.order import promotion_order


@dataclass(frozen=True)
class Standing:
    """Who leads a study.

    Args:
        rows: The trials.
        reruns: The re-rankings.
        winner: The champion's genotype; the first candidate where there is none.
        promotion: Its training to full length, if it was done.
        collapsed: The promotions that are no champions, in order.
        worth: What the judge is worth.
        exhausted: Whether every candidate has collapsed at full length.
        unfinished: Whether the study stopped, or still runs, before its remaining promotions.
    """

    rows: tuple[Row, ...]
    reruns: tuple[Rerun, ...]
    winner: Genotype | None
    promotion: Promotion | None
    collapsed: tuple[Promotion, ...]
    worth: Worth
    exhausted: bool
    unfinished: bool = False


def standing(folder: StudyFolder, config: Config, chosen: Genotype | None = None) -> Standing:
    """Return who leads a study, from its folder.

    Args:
        folder: The study's.
        config: Its settings.
        chosen: What was promoted by hand; the study's own order by default.
    """
    rows, reruns = folder.rows(), folder.reruns()
    order = [chosen] if chosen is not None else promotion_order(rows, reruns, config)
    found: list[Promotion] = []
    for genotype in order:
        promotion = folder.promotion(genotype.hash)
        if promotion is None:
            continue  # one behind it may have been promoted by hand
        found.append(promotion)
        if not promotion.collapsed:
            break
    collapsed = tuple(promotion for promotion in found if promotion.collapsed)
    # Where none is crowned the first candidate stands for all, with its own training.
    leader = next((promotion for promotion in found if not promotion.collapsed), found[0] if found else None)
    first = order[0] if order else None
    winner = Genotype.parse(leader.genotype) if leader is not None else first
    worth = read_worth(folder, rows, reruns)
    exhausted = bool(order) and len(collapsed) == len(order)
    failed = leader is not None and leader.collapsed
    unfinished = failed and len(collapsed) < min(len(order), config.study.promotions) and not _ended(folder, config)
    return Standing(tuple(rows), tuple(reruns), winner, leader, collapsed, worth, exhausted, unfinished)


def _ended(folder: StudyFolder, config: Config) -> bool:
    """Return whether a study is finished, or has spent its budget and so trains no further candidate."""
    state = folder.read()
    spent = Ledger(**state.get("spent", {})).exceeds(config.study.budget)
    return state.get("status") == "finished" or bool(spent)
