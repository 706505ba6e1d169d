"""What work leaves in a study's folder: trials, re-rankings, promotions, the yardstick, what was spent."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pydantic import Field

from degas_ray.config import BudgetConfig

COLLAPSED = "collapsed"
Size = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class Row:
    """What became of one trial.

    Args:
        number: Its number in Optuna and its folder's name.
        outcome: completed, pruned, diverged, collapsed or failed.
        params: The tuned values by dotted key.
        seed: The trial's; every other seed in it is derived from this one.
        genotype: Text, empty where the search did not end.
        n: Normal maps between up-sampled ones.
        scores: The proxy's scores with their protocol, as JSON; empty where there are none.
        distances: The Fréchet distance of each proxy training of the genotype.
        parameters: Of the generator at the proxy's width.
        macs: Multiply-adds for one image.
        entropy: Mean entropy of softmax(alpha) at the beginning and the end, as shares of the uniform one.
        seconds: Spent in all attempts together.
        reused: The work whose scores these are, where the genotype had been trained before.
        milestones: Generator steps to Fréchet distances along the way.
        run_id: In MLflow.
        error: Why it failed, for people; the traceback where there is one.
    """

    number: int
    outcome: str
    params: Mapping[str, Any]
    seed: int
    genotype: str = ""
    n: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)
    distances: tuple[float, ...] = ()
    parameters: Size = 0
    macs: Size = 0
    entropy: tuple[float, float] | None = None
    seconds: float = 0.0
    reused: str = ""
    milestones: Mapping[str, float] = field(default_factory=dict)
    run_id: str = ""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that :meth:`StudyFolder.row` reads."""
        return asdict(self)

    @property
    def score(self) -> float | None:
        """The mean Fréchet distance of the proxy trainings, or ``None`` without one."""
        return sum(self.distances) / len(self.distances) if self.distances else None

    @property
    def place(self) -> tuple[bool, bool, float, int]:
        """What rows are sorted by: best first, then what collapsed, those without a score last."""
        return self.score is None, not self.sound, self.score or 0.0, self.number

    @property
    def sound(self) -> bool:
        """Whether it has a score and its images are not copies of a few."""
        return self.score is not None and self.outcome != COLLAPSED

    def ended(self, front: Collection[int]) -> str:
        """Return the outcome with what a table says beside it.

        Args:
            front: Numbers of the trials on the Pareto front.
        """
        said = [word for word, holds in (("reused", self.reused), ("front", self.number in front)) if holds]
        return self.outcome + (f" ({', '.join(said)})" if said else "")

    def objectives(self, names: Sequence[str]) -> tuple[float, ...]:
        """Return what a study minimises, empty where the trial has no scores."""
        if self.score is None:
            return ()
        values = {"fid": self.score, "parameters": float(self.parameters), "macs": float(self.macs)}
        return tuple(values[name] for name in names)


@dataclass(frozen=True)
class Rerun:
    """A re-ranking: one more proxy training of a genotype.

    Args:
        genotype: Its text.
        index: Which of its fresh seeds.
        seed: The training's.
        outcome: completed, collapsed or diverged.
        scores: As JSON; empty where it diverged.
        seconds: Spent in all attempts together.
        run_id: In MLflow.
    """

    genotype: str
    index: int
    seed: int
    outcome: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    run_id: str = ""


@dataclass(frozen=True)
class Promotion:
    """The winner at full length.

    Args:
        genotype: Its text.
        folder: Its files: ``generator.ckpt``, ``scores.json``, pictures, a card.
        outcome: completed or collapsed.
        scores: As JSON.
        parameters: At full width.
        macs: Multiply-adds for one image.
        run_id: In MLflow.
        model: The registered model's name; empty before it is registered.
        version: Its version there.
        pictures: What they show, to their files.
        best: Step and Fréchet distance of ``best.ckpt``, the best of the generators that were scored along the way and
            at the end; ``None`` without milestones.
    """

    genotype: str
    folder: str
    outcome: str
    scores: Mapping[str, Any]
    parameters: Size
    macs: Size
    run_id: str
    model: str = ""
    version: int = 0
    pictures: Mapping[str, str] = field(default_factory=dict)
    best: Mapping[str, float] | None = None

    @property
    def collapsed(self) -> bool:
        """Whether it is no champion: its images are a few, over and over."""
        return self.outcome == COLLAPSED


@dataclass(frozen=True)
class Yardstick:
    """A known generator under the short training.

    Args:
        name: Of the generator.
        outcome: completed, collapsed or diverged.
        scores: As JSON; empty where it diverged.
        parameters: At the proxy's width.
        macs: Multiply-adds for one image.
        seconds: Of its training and scores.
        source: The study that trained it.
    """

    name: str
    outcome: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    parameters: int = 0
    macs: int = 0
    seconds: float = 0.0
    source: str = ""

    @property
    def distance(self) -> float | None:
        """Its Fréchet distance, or ``None`` where it has no scores."""
        return self.scores.get("fid")


@dataclass
class Ledger:
    """What a study has spent, across all attempts; ``study.json`` holds it.

    Args:
        seconds: With at least one driver running.
        gpu_seconds: Of all GPUs reserved by running jobs.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def exceeds(self, budget: BudgetConfig) -> str:
        """Return which limit of the budget is spent, or nothing."""
        hours = self.seconds / 3600
        spent = {
            "budget.hours": (budget.hours, hours),
            "budget.gpu_hours": (budget.gpu_hours, self.gpu_seconds / 3600),
            "budget.dollars": (budget.dollars, hours * budget.dollars_per_hour),
        }
        return next((name for name, (limit, value) in spent.items() if limit is not None and value >= limit), "")
