"""Who leads a study: its champion, and the candidates that were trained to full length and are none."""

from dataclasses import dataclass

from degas_ray.config import Config
from degas_ray.files import checked
from degas_ray.space import Genotype
from degas_ray.study import promote
from degas_ray.study.monitor import Ledger
from degas_ray.study.promote import Promotion, Rerun
from degas_ray.study.store import Row, StudyFolder, read_json
from degas_ray.study.worth import Worth, read_worth


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
    rows, reruns = folder.rows(), read_reruns(folder)
    order = [chosen] if chosen is not None else promote.promotion_order(rows, reruns, config)
    found: list[Promotion] = []
    for genotype in order:
        promotion = read_promotion(folder, genotype)
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


def read_reruns(folder: StudyFolder) -> list[Rerun]:
    """Return the re-rankings that are over."""
    files = sorted((folder.root / "rerank").glob("*/result.json"))
    found = [(path, read_json(path)) for path in files]
    return [checked(Rerun, value, path) for path, value in found if value is not None]


def read_promotion(folder: StudyFolder, genotype: Genotype) -> Promotion | None:
    """Return the promotion of a genotype, or ``None`` where there is none yet."""
    path = folder.root / "promotion" / genotype.hash / "result.json"
    value = read_json(path)
    return checked(Promotion, value, path) if value is not None else None
