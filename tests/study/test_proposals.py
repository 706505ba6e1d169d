import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from degas_ray.config import Config
from degas_ray.trials.proposals import NEAR, STARTUP, STUDY_NAME, Proposals, _Sampler
from degas_ray.trials.ranges import own_values, tuned

SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(-5, 5)}


def parabola(journal: Path | None, *, lag: int = 2, seed: int = 0) -> Proposals:
    return Proposals(journal, SPACE, {"x": 4.0}, seed=seed, lag=lag)


def states(journal: Path) -> list[optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.load_study(study_name=STUDY_NAME, storage=storage).trials


def run(proposals: Proposals, count: int) -> list[float]:
    asked = []
    for _ in range(count):
        proposal = proposals.ask()
        asked.append(proposal.params["x"])
        proposals.tell(proposal.number, "completed", [proposal.params["x"] ** 2])
    return asked


def test_the_first_trial_has_the_configs_own_values() -> None:
    config = Config()
    proposals = Proposals(None, tuned(config), own_values(config), seed=0, lag=2)
    assert proposals.ask().params == own_values(config)


def test_the_first_few_stay_near_the_configs_own_values_and_differ() -> None:
    config = Config()
    proposals = Proposals(None, tuned(config), own_values(config), seed=0, lag=2)
    asked = [proposals.ask().params for _ in range(NEAR)]
    rates = [params["search.alpha_lr"] for params in asked]
    # Three standard deviations of a tenth of the range's logarithm.
    low, high = 3e-4, tuned(config)["search.alpha_lr"].high  # type: ignore[attr-defined]
    factor = (high / low) ** 0.3
    assert all(config.search.alpha_lr / factor < rate <= high for rate in rates)
    assert len({tuple(params.values()) for params in asked}) == NEAR


@pytest.mark.parametrize("seed", range(20))
def test_values_near_the_edge_of_a_range_stay_inside(seed: int) -> None:
    space: dict[str, BaseDistribution] = {
        "a": FloatDistribution(1e-3, 1.0, log=True),
        "b": FloatDistribution(0.0, 1.0),
        "c": IntDistribution(1, 2),
        "d": CategoricalDistribution(("x", "y")),
    }
    proposals = Proposals(None, space, {"a": 1.0, "b": 0.0, "c": 2, "d": "y"}, seed=seed, lag=2)
    for _ in range(NEAR):
        params = proposals.ask().params
        assert 1e-3 <= params["a"] <= 1.0
        assert 0.0 <= params["b"] <= 1.0
        assert params["c"] in (1, 2)
        assert params["d"] in ("x", "y")


def test_a_seed_decides_what_is_proposed() -> None:
    assert run(parabola(None), 15) == run(parabola(None), 15)
    assert run(parabola(None), 15) != run(parabola(None, seed=1), 15)


def test_a_study_opened_again_proposes_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    asked = []
    for _ in range(15):
        asked += run(parabola(journal), 1)
    assert asked == run(parabola(None), 15)


@pytest.mark.parametrize("objectives", [1, 2])
def test_a_study_opened_again_has_seen_every_kind_of_end(tmp_path: Path, objectives: int) -> None:
    outcomes = ("completed", "pruned", "collapsed", "failed", "completed", "diverged")

    def opened(journal: Path | None) -> Proposals:
        return Proposals(journal, SPACE, {"x": 4.0}, objectives=objectives, seed=0, lag=3)

    def turn(proposals: Proposals) -> float:
        """Ask for one trial, and tell of the one before it."""
        number = len(proposals) - 1
        proposal = proposals.ask()
        if number >= 0:
            outcome, value = outcomes[number % len(outcomes)], (number * 7) % 11
            values = [value] * objectives if outcome in ("completed", "collapsed") else []
            proposals.tell(number, outcome, values, {10: value + 2.0, 20: value + 1.0})
        return float(proposal.params["x"])

    undisturbed = opened(None)
    asked = [turn(undisturbed) for _ in range(40)]
    journal = tmp_path / "optuna.journal"
    assert [turn(opened(journal)) for _ in range(40)] == asked


def test_the_joint_model_is_optunas_own() -> None:
    space: dict[str, BaseDistribution] = {
        "b": FloatDistribution(1e-3, 1.0, log=True),
        "a": IntDistribution(1, 5),
        "fixed": IntDistribution(3, 3),
    }
    study = optuna.create_study()
    for number in range(STARTUP):
        params = {"b": 0.01 * (number + 1), "a": number % 5 + 1, "fixed": 3}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=float(number)))
    theirs = optuna.samplers.TPESampler(seed=5, n_startup_trials=STARTUP, constant_liar=True)
    study.sampler = theirs
    expected = study.ask(space).params

    again = optuna.create_study(sampler=_Sampler(space, 5))
    again.add_trials(study.get_trials()[:STARTUP])
    assert again.ask(space).params == expected


def test_the_order_in_which_trials_end_does_not_change_what_is_proposed() -> None:
    def reversed_pairs(proposals: Proposals) -> list[float]:
        asked: list[float] = []
        for _ in range(10):
            pair = [proposals.ask(), proposals.ask()]
            asked += [proposal.params["x"] for proposal in pair]
            for proposal in reversed(pair):
                proposals.tell(proposal.number, "completed", [proposal.params["x"] ** 2])
        return asked

    assert reversed_pairs(parabola(None, lag=4)) == run(parabola(None, lag=4), 20)


def test_results_steer_the_proposals_once_there_are_enough() -> None:
    asked = run(parabola(None), 60)
    assert fmean(map(abs, asked[-20:])) < 0.6 * fmean(map(abs, asked[NEAR:STARTUP]))


def test_a_proposal_waits_for_the_results_it_depends_on() -> None:
    proposals = parabola(None, lag=2)
    run(proposals, STARTUP)
    first = proposals.ask()
    proposals.ask()
    assert proposals.ready()  # the next one would be trial 12, from the results of trials 0 to 9
    proposals.ask()
    assert not proposals.ready()
    proposals.tell(first.number, "completed", [1.0])
    assert proposals.ready()


def test_random_proposals_wait_for_nothing() -> None:
    proposals = parabola(None, lag=2)
    for _ in range(STARTUP):
        assert proposals.ready()
        proposals.ask()


def test_a_killed_drivers_trials_are_running_with_their_values(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    before = parabola(journal)
    asked = [before.ask(), before.ask()]
    before.tell(0, "completed", [1.0])
    after = parabola(journal)
    assert after.running() == asked[1:]
    assert len(after) == 2


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    run(parabola(journal), 2)
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "worker')
    assert run(parabola(journal), 1) == run(parabola(None), 3)[2:]
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_lock_left_by_a_killed_driver_keeps_nobody_waiting(tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    run(parabola(journal), 1)
    Path(f"{journal}.lock").symlink_to(journal)  # what Optuna's own lock would have left
    run(parabola(journal), 1)
    assert len(parabola(journal)) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_a_failure(tmp_path: Path, value: float) -> None:
    proposals = parabola(tmp_path / "j")
    proposals.tell(proposals.ask().number, "completed", [value])
    assert [trial.state for trial in states(tmp_path / "j")] == [TrialState.FAIL]
    assert proposals.running() == []


def test_a_pruned_trial_is_told_as_pruned_with_what_it_had_reached(tmp_path: Path) -> None:
    proposals = parabola(tmp_path / "j")
    proposals.tell(proposals.ask().number, "pruned", milestones={100: 900.0, 200: 800.0, 300: math.nan})
    (trial,) = states(tmp_path / "j")
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {100: 900.0, 200: 800.0}


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_a_trial_that_came_to_nothing_is_told_as_failed(tmp_path: Path, outcome: str) -> None:
    proposals = parabola(tmp_path / "j")
    proposals.tell(proposals.ask().number, outcome)
    assert states(tmp_path / "j")[0].state == TrialState.FAIL


def test_telling_twice_changes_nothing(tmp_path: Path) -> None:
    proposals = parabola(tmp_path / "j")
    number = proposals.ask().number
    proposals.tell(number, "completed", [1.0])
    proposals.tell(number, "completed", [2.0])
    assert [trial.value for trial in states(tmp_path / "j")] == [1.0]


def test_several_objectives(tmp_path: Path) -> None:
    def ask(count: int) -> list[Any]:
        proposals = Proposals(None, SPACE, {"x": 4.0}, objectives=2, seed=0, lag=2)
        asked = []
        for number in range(count):
            asked.append(proposals.ask().params["x"])
            outcome = "pruned" if number % 5 == 4 else "completed"
            proposals.tell(number, outcome, [asked[-1] ** 2, (asked[-1] - 1) ** 2], {1: 3.0})
        return asked

    assert ask(15) == ask(15)


def test_the_model_keeps_away_from_what_collapsed_however_near_it_came(tmp_path: Path) -> None:
    """Left of 0 every trial collapses, at distances that would be the best."""

    def late(outcome: str, journal: Path | None = None) -> list[float]:
        proposals, asked = parabola(journal), []
        for _ in range(STARTUP + 30):
            proposal = proposals.ask()
            x = float(proposal.params["x"])
            asked.append(x)
            proposals.tell(proposal.number, outcome if x < 0 else "completed", [0.0 if x < 0 else 1.0 + (x - 2) ** 2])
        return asked[-20:]

    journal = tmp_path / "optuna.journal"
    assert sum(x < 0 for x in late("completed")) >= 15
    assert sum(x < 0 for x in late("collapsed", journal)) <= 5
    told = [trial for trial in states(journal) if trial.params["x"] < 0]
    assert told
    assert {trial.state for trial in told} == {TrialState.PRUNED}
    assert all(trial.intermediate_values == {0: 0.0} for trial in told)


def test_a_collapse_among_several_objectives_is_on_no_front() -> None:
    proposals = Proposals(None, SPACE, {"x": 4.0}, objectives=2, seed=0, lag=2)
    for outcome, values in (("collapsed", [1.0, 1.0]), ("completed", [2.0, 2.0])):
        proposals.tell(proposals.ask().number, outcome, values, {5: 1.0})
    assert [trial.number for trial in proposals._study.best_trials] == [1]
