"""Random, evolution and reinforce: choices and genotypes, determinism, learning, and a study of each kind."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from scipy import stats
from tiny_study import tiny_config

from degas_ray.cli.main import main
from degas_ray.config import Config, resolve
from degas_ray.errors import ConfigError
from degas_ray.search import limited_space
from degas_ray.space import PUBLISHED, Genotype, Space
from degas_ray.trials.proposals import Proposals
from degas_ray.trials.ranges import own_values, tuned
from degas_ray.trials.strategies import Result, Strategy, choices, distributions, genotype_of, make_strategy
from degas_ray.trials.strategies.reinforce import Controller, advantages

NAMES = ("random", "evolution", "reinforce")


def config(name: str, trials: int = 40) -> Config:
    return resolve(overrides={"study.strategy": name, "study.trials": trials})


def strategy(name: str, trials: int = 40) -> Strategy:
    made = make_strategy(config(name, trials))
    assert made is not None
    return made


def run(name: str, reward: Callable[[Mapping[str, str]], float], trials: int) -> list[Result]:
    past: list[Result] = []
    made = strategy(name, trials)
    for number in range(trials):
        chosen = made.propose(number, past)
        past.append(Result(chosen, (reward(chosen),)))
    return past


@pytest.mark.parametrize("n", [1, 2, 3])
def test_choices_are_the_discrete_space(n: int) -> None:
    space = Space(n)
    sizes = [len(distribution.choices) for distribution in distributions(space).values()]  # type: ignore[attr-defined]
    assert math.prod(sizes) == space.discrete_size()
    for seed in range(30):
        genotype = space.random(seed)
        assert genotype_of(choices(genotype, space), space) == genotype


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_genotypes_are_choices_too(name: str) -> None:
    genotype = PUBLISHED[name]
    space = Space(genotype.n)
    assert genotype_of(choices(genotype, space), space) == genotype


def test_random_is_uniform_over_genotypes() -> None:
    drawn = Counter()
    for number in range(900):
        drawn[strategy("random").propose(number, [])["genotype.N1a"]] += 1
    assert len(drawn) == 9
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001


@pytest.mark.parametrize("name", NAMES)
def test_proposals_depend_on_seed_and_results_alone(name: str) -> None:
    def score(chosen: Mapping[str, str]) -> float:
        return 1.0 + sum(map(len, chosen.values()))

    first = run(name, score, 14)
    for number in (0, 5, 13):  # one that is made anew knows as much as one that saw it all
        assert strategy(name, 14).propose(number, first[:number]) == first[number].choices
    assert (first[-1].choices != strategy(name, 14).propose(13, [])) is (name != "random")
    assert all(set(result.choices) == set(distributions(Space(1))) for result in first)


@pytest.mark.parametrize("name", ["evolution", "reinforce"])
def test_learners_end_better_than_random(name: str) -> None:
    """A made-up distance that is halved by every direct ``conv_3x3`` and ``deconv_4x4``, six in all."""

    def distance(chosen: Mapping[str, str]) -> float:
        return 64.0 / 2 ** sum(value in ("conv_3x3", "deconv_4x4") for value in chosen.values())

    learnt, drawn = (run(kind, distance, 80) for kind in (name, "random"))
    late, chance = ([math.log(result.values[0]) for result in results[-20:]] for results in (learnt, drawn))
    assert stats.mannwhitneyu(late, chance, alternative="less").pvalue < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_no_genotype_is_larger_than_the_limit(name: str) -> None:
    overrides = {"study.strategy": name, "study.trials": 40, "search.cost": "parameters", "search.cost_limit": 0.7}
    limited = resolve(overrides=overrides)
    made, space = make_strategy(limited), limited_space(limited.search)
    assert made is not None
    past: list[Result] = []
    for number in range(30):
        chosen = made.propose(number, past)
        past.append(Result(chosen, (float(number % 7),)))
        assert space.cost(genotype_of(chosen, space.space)) <= space.limit
    fresh = make_strategy(limited)
    assert fresh is not None
    assert fresh.propose(29, past[:29]) == past[29].choices
    larger = [strategy(name).propose(number, []) for number in range(30)]
    assert any(space.cost(genotype_of(chosen, space.space)) > space.limit for chosen in larger)


@pytest.mark.parametrize("wanted", [(3,), (3, 0, 2, 8, 1, 4)])
def test_the_controller_learns_what_is_rewarded(wanted: tuple[int, ...]) -> None:
    sizes = (9, 4, 5, 9, 4, 9)
    controller = Controller(sizes, seed=0)
    assert math.exp(controller.judge([0] * 6)[0].item()) == pytest.approx(1 / math.prod(sizes))

    def right(chosen: list[int]) -> int:
        return sum(a == b for a, b in zip(chosen, wanted, strict=False))

    scores: list[float | None] = []
    for step in range(150):
        drawn = controller.sample(step)
        scores.append(math.exp(-right(drawn)))
        controller.learn(drawn, advantages(scores)[-1])
    share = sum(right(controller.sample(1000 + i)) for i in range(50)) / 50 / len(wanted)
    chance = sum(1 / size for size in sizes[: len(wanted)]) / len(wanted)
    assert chance < 0.2
    assert share > (0.9 if len(wanted) == 1 else 0.5)


def test_advantages_are_free_of_scale_and_take_failures_as_the_worst() -> None:
    some = advantages([100.0, 50.0, 200.0, None])
    assert some == pytest.approx(advantages([1.0, 0.5, 2.0, math.inf]))
    assert some[0] == 0.0
    assert some[1] == pytest.approx(1.0)
    assert some[2] < 0
    assert some[3] < 0
    assert advantages([None, None]) == [0.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_study_proposes_what_an_undisturbed_one_does(name: str, tmp_path: Path) -> None:
    def proposals(journal: Path) -> Proposals:
        chosen = config(name)
        return Proposals(
            journal, tuned(chosen), own_values(chosen), seed=0, lag=2, strategy=make_strategy(chosen)
        )  # fmt: skip

    whole, parts = proposals(tmp_path / "whole"), tmp_path / "parts"
    for number in range(9):
        one, other = whole.ask(), proposals(parts).ask()
        assert one == other
        for told in (whole, proposals(parts)):
            told.tell(number, *(("failed", ()) if number == 3 else ("completed", [float(number % 4)])))
    assert proposals(parts).ready()


def test_learners_wait_for_the_results_that_they_learn_from(tmp_path: Path) -> None:
    for name, waits in (("random", False), ("evolution", True), ("reinforce", True)):
        chosen = config(name)
        made = Proposals(None, tuned(chosen), {}, seed=0, lag=1, strategy=make_strategy(chosen))
        made.ask(), made.ask()
        assert made.ready() is not waits


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["study.strategy=random", "study.tune=[search.lr]"], "study.tune: strategy random chooses operations"),
        (["study.strategy=reinforce", "study.objectives=[fid, macs]"], "study.objectives: strategy reinforce is"),
        (["study.strategy=evolve"], "study.strategy: got 'evolve', expected 'glo-darts', 'random', 'evolution'"),
    ],
)
def test_what_does_not_go_together_is_told(settings: list[str], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        tuned(resolve(sets=settings))


def test_a_study_by_evolution_through_the_command_line(tmp_path: Path) -> None:
    """Real Ray, real trainings: no search is run, each trial's genotype is that of its choices."""
    file = tmp_path / "tiny.yaml"
    tiny = tiny_config(study__trials=2, study__promote=False, study__rerank={"top": 0})
    file.write_text(json.dumps(tiny.model_dump(mode="json")))
    args = ["tune", "--config", str(file), "--strategy", "evolution", "--name", "e1", "--home", str(tmp_path / "home")]
    result = CliRunner().invoke(main, [*args, "--json", "--quiet"])
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["trials"]
    assert [row["outcome"] for row in rows] == ["completed"] * 2
    for row in rows:
        assert Genotype.parse(row["genotype"]) == genotype_of(row["params"], Space(1))
    folder = tmp_path / "home" / "studies" / "e1" / "trials" / "0000"
    assert not (folder / "search.json").exists()
    assert (folder / "diagram.svg").exists()
    again = CliRunner().invoke(main, ["tune", "--resume", "e1", "--home", str(tmp_path / "home"), "--json", "--quiet"])
    assert json.loads(again.stdout)["trials"] == rows
