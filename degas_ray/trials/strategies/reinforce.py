"""Reinforce: a controller writes genotypes choice by choice and is rewarded by the proxy's score.

As AGAN (Wang and Huan, 2019) and AutoGAN (Gong and others, 2019) do it, after ENAS (Pham and others, 2018): a recurrent
network with a policy gradient (Williams, 1992). Theirs see thousands of rewards and learn at 3.5e-4; a study has some
dozens, hence the higher rate, and rewards are taken relative to the spread of those before.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from optuna.distributions import CategoricalDistribution
from torch import Tensor, nn

from degas_ray.search import LimitedSpace
from degas_ray.seeds import derive
from degas_ray.trials.strategies.base import Result
from degas_ray.trials.strategies.choices import distributions, within

HIDDEN = 32
RATE = 0.02
ENTROPY = 0.01  # weight of the policy's entropy, which keeps it from settling on its first luck
LEAST_SPREAD = 1e-3  # of rewards, below which they are taken to be equal


class Controller(nn.Module):
    """Chooses one option after the other, each knowing those before.

    Args:
        sizes: How many options each choice has.
        seed: Of the weights.
    """

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.begin = nn.Parameter(torch.zeros(HIDDEN))
            self.chosen = nn.ModuleList(nn.Embedding(size, HIDDEN) for size in self.sizes)
            self.cell = nn.LSTMCell(HIDDEN, HIDDEN)
            heads = [nn.Linear(HIDDEN, size) for size in self.sizes]
            for head in heads:
                nn.init.zeros_(head.weight)  # the first choices are uniform
                nn.init.zeros_(head.bias)
            self.heads = nn.ModuleList(heads)
        self.optimizer = torch.optim.Adam(self.parameters(), RATE)

    def sample(self, seed: int) -> list[int]:
        """Draw all choices."""
        draw = torch.Generator().manual_seed(seed % 2**63)
        chosen: list[int] = []
        with torch.no_grad():
            state, given = self._start()
            for place in range(len(self.sizes)):
                state = self.cell(given, state)
                weights = self.heads[place](state[0][0]).softmax(0)
                chosen.append(int(torch.multinomial(weights, 1, generator=draw)))
                given = self.chosen[place](torch.tensor([chosen[-1]]))
        return chosen

    def judge(self, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the log-probability of choices, and the policy's entropy along them."""
        state, given = self._start()
        logs, entropies = [], []
        for place, option in enumerate(chosen):
            state = self.cell(given, state)
            log = self.heads[place](state[0][0]).log_softmax(0)
            logs.append(log[option])
            entropies.append(-(log.exp() * log).sum())
            given = self.chosen[place](torch.tensor([option]))
        return torch.stack(logs).sum(), torch.stack(entropies).sum()

    def learn(self, chosen: Sequence[int], advantage: float) -> None:
        """Make choices likelier that were better than usual, and others less likely."""
        log, entropy = self.judge(chosen)
        self.optimizer.zero_grad()
        (-advantage * log - ENTROPY * entropy).backward()
        self.optimizer.step()

    def _start(self) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (torch.zeros(1, HIDDEN), torch.zeros(1, HIDDEN)), self.begin[None]


class ReinforceStrategy:
    """A controller that has learnt from all results so far.

    Args:
        space: What is searched; a genotype that is too large becomes the nearest that is not.
        seed: The study's.
    """

    waits = True

    def __init__(self, space: LimitedSpace, seed: int) -> None:
        self._space, self._seed = space, seed
        self._options: dict[str, tuple[str, ...]] = {}
        for key, distribution in distributions(space.space).items():
            assert isinstance(distribution, CategoricalDistribution)
            self._options[key] = tuple(map(str, distribution.choices))
        self._controller, self._learnt = self._untaught(), list[Result]()

    def propose(self, number: int, past: Sequence[Result]) -> Mapping[str, str]:
        """Return the choices of trial ``number``."""
        known = len(self._learnt)
        if list(past[:known]) != self._learnt:  # what it has learnt is no beginning of what it is told
            self._controller, known = self._untaught(), 0
        scores = [result.values[0] if result.values else None for result in past]
        for result, advantage in list(zip(past, advantages(scores), strict=True))[known:]:
            chosen = [options.index(result.choices[key]) for key, options in self._options.items()]
            self._controller.learn(chosen, advantage)
        self._learnt = list(past)
        drawn = self._controller.sample(derive(self._seed, "reinforce", number))
        picked = {key: options[place] for (key, options), place in zip(self._options.items(), drawn, strict=True)}
        return within(picked, self._space)

    def _untaught(self) -> Controller:
        sizes = [len(options) for options in self._options.values()]
        return Controller(sizes, derive(self._seed, "controller"))


def advantages(scores: Sequence[float | None]) -> list[float]:
    """Return how much better each trial was than those before it, in their standard deviations.

    Rewards are minus the logarithm of the distance, which may be of any size; a trial without a score is as bad as the
    worst so far.

    Args:
        scores: By trial.
    """
    found: list[float] = []
    rewards: list[float] = []
    for score in scores:
        if score is None or not math.isfinite(score):
            rewards.append(min(rewards, default=0.0))
        else:
            rewards.append(-math.log(max(score, 1e-9)))
        mean = sum(rewards) / len(rewards)
        spread = math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / len(rewards))
        found.append((rewards[-1] - mean) / spread if spread > LEAST_SPREAD else 0.0)
    return found
