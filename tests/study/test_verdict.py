"""Who is promoted in which order, and how good a study says that its champion is."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_study import tiny_config

from degas_ray.files import write_json
from degas_ray.home import VERSION, StudyFolder
from degas_ray.report.standing import standing
from degas_ray.report.verdict import verdict
from degas_ray.report.worth import read_worth
from degas_ray.results import Promotion, Rerun, Row, Yardstick
from degas_ray.scores import Scores
from degas_ray.scores.protocol import METHOD, Protocol
from degas_ray.space import Genotype, Space
from degas_ray.trials.order import candidates, on_front, promotion_order

GENOTYPES = [str(Space().random(seed)) for seed in range(5)]
PROTOCOL = Protocol("efficientnet-lite0", "w", "r", 1000, 1000, 10, "f", "batch", "last", METHOD, 0, "0")


def scores(fid: float, recall: float = 0.4, coverage: float = 0.2) -> dict[str, Any]:
    return Scores(fid, 0.1, 1.0, 0.1, 0.1, recall, 0.1, coverage, PROTOCOL).to_json()


def trial(number: int, fid: float, outcome: str = "completed", genotype: int | None = None, size: int = 9) -> Row:
    text = GENOTYPES[number if genotype is None else genotype]
    return Row(number, outcome, {}, 1, text, 1, scores(fid), (fid,), parameters=size, macs=size)


def again(genotype: int, index: int, fid: float, outcome: str = "completed") -> Rerun:
    return Rerun(GENOTYPES[genotype], index, 1, outcome, scores(fid))


def numbers(order: list[Genotype]) -> list[int]:
    return [GENOTYPES.index(str(genotype)) for genotype in order]


def write(folder: StudyFolder, rows: list[Row], reruns: list[Rerun]) -> None:
    for row in rows:
        write_json(folder.trial(row.number) / "result.json", row.to_json())
    for rerun in reruns:
        name = f"{Genotype.parse(rerun.genotype).hash}-{rerun.index}"
        write_json(folder.root / "rerank" / name / "result.json", asdict(rerun))


def promoted(folder: StudyFolder, genotype: int, fid: float, outcome: str = "completed", recall: float = 0.41) -> None:
    own = folder.root / "promotion" / Genotype.parse(GENOTYPES[genotype]).hash
    coverage = 0.15 if outcome == "completed" else 0.0
    found = Promotion(GENOTYPES[genotype], str(own), outcome, scores(fid, recall, coverage), 10, 20, "")
    write_json(own / "result.json", asdict(found))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path, "s")


def test_what_collapsed_in_its_trial_comes_behind_all_that_did_not() -> None:
    rows = [trial(0, 10.0, "collapsed"), trial(1, 30.0), trial(2, 20.0), trial(3, 5.0, "collapsed")]
    assert numbers(candidates(rows, tiny_config())) == [2, 1, 3, 0]
    assert numbers(promotion_order(rows, [], tiny_config())) == [2, 1, 3, 0]
    found_again = [*rows, trial(4, 40.0, genotype=0)]  # another trial of the first genotype did not collapse
    assert numbers(candidates(found_again, tiny_config())) == [2, 1, 0, 3]


def test_fresh_seeds_decide_who_has_collapsed() -> None:
    rows = [trial(0, 10.0), trial(1, 20.0), trial(2, 30.0), trial(3, 40.0, "collapsed"), trial(4, 50.0)]
    reruns = [again(0, 0, 11.0, "collapsed"), again(1, 0, 25.0), again(3, 0, 24.0)]
    assert numbers(promotion_order(rows, reruns, tiny_config())) == [3, 1, 2, 4, 0]
    half = [again(0, 0, 9.0, "collapsed"), again(0, 1, 11.0), again(1, 0, 25.0)]
    assert numbers(promotion_order(rows, half, tiny_config()))[0] == 0  # one of two is not most


@given(
    st.lists(
        st.tuples(st.floats(1, 1e4), st.sampled_from(["completed", "collapsed"]), st.integers(1, 10**6)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([("fid",), ("fid", "parameters")]),
)
def test_nobody_is_lost_and_none_that_collapsed_comes_first(
    trials: list[tuple[float, str, int]], objectives: tuple[str, ...]
) -> None:
    config = tiny_config(study__objectives=objectives)
    rows = [trial(number, fid, outcome, size=size) for number, (fid, outcome, size) in enumerate(trials)]
    order = numbers(promotion_order(rows, [], config))
    assert sorted(order) == list(range(len(rows)))
    outcomes = [rows[number].outcome for number in order]
    assert outcomes == sorted(outcomes, reverse=True)
    if "completed" in outcomes:
        assert all(rows[number].sound for number in on_front(rows, config))


def test_a_champion_is_told_with_floor_yardstick_and_noise(folder: StudyFolder) -> None:
    write(folder, [trial(0, 700.0), trial(1, 900.0)], [again(0, 0, 800.0), again(1, 0, 850.0)])
    write_json(folder.floor, scores(18.0, 0.9, 0.95))
    write_json(folder.yardstick / "result.json", asdict(Yardstick("resnet", "completed", scores(500.0))))
    promoted(folder, 0, 640.0)
    said = verdict(standing(folder, tiny_config()), tiny_config())
    assert said[0] == "Champion: Fréchet distance 640.0, recall 0.41, coverage 0.15."
    assert "Floor, real images against real ones: Fréchet distance 18.0, recall 0.90, coverage 0.95." in said
    assert "Under the same short training: the ResNet 500.0, this genotype 800.0; the ResNet is ahead." in said
    # ln(800 / 700) and ln(850 / 900) apart from their means, one degree of freedom each.
    within = math.sqrt((math.log(800 / 700) ** 2 / 2 + math.log(850 / 900) ** 2 / 2) / 2)
    assert f"±{100 * within:.0f} %" in " ".join(said)
    assert any(line.startswith("Reliability of one seed: not known. It takes 3 re-ranked") for line in said)
    assert "COLLAPSED" not in " ".join(said)
    assert "did not improve" not in " ".join(said)


def test_a_full_training_that_helped_nothing_is_told(folder: StudyFolder) -> None:
    write(folder, [trial(0, 600.0)], [])
    promoted(folder, 0, 640.0)
    said = verdict(standing(folder, tiny_config()), tiny_config())
    assert "Full training did not improve on the short one: 640.0 against 600.0." in said


def test_a_candidate_that_collapsed_is_passed_over_and_told(folder: StudyFolder) -> None:
    write(folder, [trial(0, 700.0), trial(1, 900.0), trial(2, 950.0)], [])
    promoted(folder, 0, 1626.0, "collapsed", 0.0)
    state = {"version": VERSION, "config": {}, "trials": 3, "spent": {"seconds": 0.0, "gpu_seconds": 0.0}}
    write_json(folder.file, {**state, "status": "paused"})
    assert verdict(standing(folder, tiny_config()), tiny_config())[0].startswith("NO CHAMPION YET: the first full")
    write_json(folder.file, {**state, "status": "finished"})
    now = standing(folder, tiny_config())
    assert (str(now.winner), now.exhausted) == (GENOTYPES[0], False)
    assert verdict(now, tiny_config())[0].startswith("NO CHAMPION: the full training COLLAPSED")
    promoted(folder, 1, 640.0)
    now = standing(folder, tiny_config())
    assert str(now.winner) == GENOTYPES[1]
    assert [promotion.genotype for promotion in now.collapsed] == [GENOTYPES[0]]
    said = verdict(now, tiny_config())
    assert said[0] == "Champion: Fréchet distance 640.0, recall 0.41, coverage 0.15."
    assert said[1] == (
        "The candidate that came before it COLLAPSED at full length. "
        f"Genotype {Genotype.parse(GENOTYPES[0]).hash[:8]}: Fréchet distance 1,626.0, recall 0.00, coverage 0.00."
    )


def test_where_all_collapsed_there_is_none_and_what_may_help_is_told(folder: StudyFolder) -> None:
    write(folder, [trial(0, 700.0, "collapsed"), trial(1, 900.0, "collapsed")], [])
    for genotype in range(2):
        promoted(folder, genotype, 1600.0, "collapsed", 0.0)
    now = standing(folder, tiny_config())
    said = verdict(now, tiny_config())
    assert now.exhausted
    assert said[0] == "NO CHAMPION: all 2 full trainings COLLAPSED, so nothing was registered."
    assert any(line.startswith("Every short training COLLAPSED") for line in said)
    assert said[-1].startswith("What may help: a longer or calmer full training")


def test_reliability_is_that_of_the_fresh_seeds_alone(folder: StudyFolder) -> None:
    """Three genotypes with two seeds each, whose logs are 0 and 2, 4 and 6, 8 and 10: MSB = 32, MSW = 2."""
    logs = {0: (0.0, 2.0), 1: (4.0, 6.0), 2: (8.0, 10.0)}
    reruns = [again(g, index, math.exp(value)) for g, values in logs.items() for index, value in enumerate(values)]
    rows = [trial(number, 1e6) for number in range(3)]
    worth = read_worth(folder, rows, reruns)
    assert worth.reliability is not None
    assert worth.reliability.value == pytest.approx((32 - 2) / (32 + 2))
    assert worth.seed_moves == pytest.approx(math.sqrt(2))
    assert not worth.own_seeds
    write(folder, rows, reruns)
    (line,) = [line for line in verdict(standing(folder, tiny_config()), tiny_config()) if "Reliability" in line]
    assert line.startswith("Reliability of one seed (ICC): 0.88, 95 % interval ")
    assert read_worth(folder, rows, reruns[:4]).reliability is None


def test_reliability_counts_the_trials_own_seeds_where_fresh_ones_are_too_few(folder: StudyFolder) -> None:
    logs = {0: (0.0, 2.0), 1: (4.0, 6.0), 2: (8.0, 10.0)}
    rows = [trial(number, math.exp(own)) for number, (own, _) in logs.items()]
    reruns = [again(number, 0, math.exp(fresh)) for number, (_, fresh) in logs.items()]
    worth = read_worth(folder, rows, reruns)
    assert worth.reliability is not None
    assert worth.reliability.value == pytest.approx((32 - 2) / (32 + 2))
    assert (worth.seed_moves, worth.own_seeds) == (pytest.approx(math.sqrt(2)), True)
    write(folder, rows, reruns)
    (line,) = [line for line in verdict(standing(folder, tiny_config()), tiny_config()) if "Reliability" in line]
    assert "from 6 trainings of 3 genotypes" in line


def test_distances_are_shares_of_floor_and_yardstick(folder: StudyFolder) -> None:
    write_json(folder.floor, scores(20.0))
    write_json(folder.yardstick / "result.json", asdict(Yardstick("resnet", "completed", scores(800.0))))
    worth = read_worth(folder, [], [])
    assert worth.relative(1000.0) == {"×floor": 50.0, "×ResNet": 1.25}
    assert replace(worth, floor=None, yardstick=Yardstick("resnet", "diverged")).relative(1000.0) == {
        "×floor": None,
        "×ResNet": None,
    }


def test_one_promoted_by_hand_out_of_turn_is_the_champion(folder: StudyFolder) -> None:
    write(folder, [trial(0, 500.0), trial(1, 600.0), trial(2, 700.0)], [])
    promoted(folder, 0, 900.0, "collapsed", recall=0.0)
    promoted(folder, 2, 400.0)
    now = standing(folder, tiny_config())
    assert now.promotion is not None
    assert (now.promotion.genotype, now.exhausted, len(now.collapsed)) == (GENOTYPES[2], False, 1)
    assert verdict(now, tiny_config())[0].startswith("Champion: ")
