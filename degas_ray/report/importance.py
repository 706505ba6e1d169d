"""How much each tuned setting moved the score, by Optuna's own evaluator (fANOVA; Hutter and others, 2014)."""

import math
from collections.abc import Sequence

import numpy as np
import optuna

from degas_ray.config import Config
from degas_ray.results import Row
from degas_ray.trials.ranges import tuned

FEWEST = 4  # trials with a score, below which there is nothing to tell apart
MOST = 200  # trials that are looked at: the forest's time grows with their number, and was a minute for a thousand


def importance(rows: Sequence[Row], config: Config) -> dict[str, float]:
    """Return tuned keys to their shares of the distance's variance, largest first; empty where that cannot be said.

    Args:
        rows: The trials; of more than :data:`MOST` with a score, so many are picked by a draw that is always the same.
        config: The study's.
    """
    scored = [row for row in rows if row.score is not None and math.isfinite(row.score)]
    if len(scored) > MOST:
        picked = np.random.default_rng(0).choice(len(scored), MOST, replace=False)
        scored = [scored[index] for index in sorted(picked)]
    if len(scored) < FEWEST or len({row.score for row in scored}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A strategy may leave settings alone.
    space = {key: spread for key, spread in tuned(config).items() if all(key in row.params for row in scored)}
    if not space:
        return {}
    study = optuna.create_study()
    for row in scored:
        params = {key: row.params[key] for key in space}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=row.score))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in shares.items()}
