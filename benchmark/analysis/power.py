"""Power: the smallest difference that a run is likely to find, and the size that a given difference needs."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from scipy import stats

# Nobody runs more seeds or episodes than this.
LARGEST = 1_000_000


class PowerError(ValueError):
    """A size cannot be planned; the text names the value and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The size of a comparison, and what is assumed about its noise.

    Attributes:
        tasks: number of tasks.
        seeds: training runs of each contender on each task.
        episodes: initial states that each training run is evaluated on.
        contenders: number of them; all pairs are compared, and corrected for.
        rate: success rate about which the difference lies; one half is the hardest.
        seed_sd: standard deviation of the true success rates of training runs that differ only in their seed.
        correlation: of the outcomes of two contenders on the same initial state.
        power: probability of finding a true difference.
        level: confidence; one minus the probability of a false difference among all pairs.
    """

    tasks: int
    seeds: int
    episodes: int
    contenders: int = 2
    rate: float = 0.5
    seed_sd: float = 0.0
    correlation: float = 0.0
    power: float = 0.8
    level: float = 0.95

    def __post_init__(self) -> None:
        for name, smallest in (("tasks", 1), ("seeds", 1), ("episodes", 1), ("contenders", 2)):
            if getattr(self, name) < smallest:
                raise PowerError(f"{name}={getattr(self, name)} is too few; expected {smallest} or more.")
        for name, low, high in (("rate", 0, 1), ("correlation", -1, 1), ("power", 0, 1), ("level", 0, 1)):
            if not low < getattr(self, name) < high:
                raise PowerError(f"{name}={getattr(self, name)} is out of range; expected {low} < {name} < {high}.")
        if not 0 <= self.seed_sd < 0.5:
            raise PowerError(f"seed_sd={self.seed_sd} is out of range; expected 0 <= seed_sd < 0.5, such as 0.1.")

    @property
    def comparisons(self) -> int:
        """Pairs of contenders."""
        return self.contenders * (self.contenders - 1) // 2


def detectable_difference(design: Design) -> float:
    """Smallest true difference of two success rates that the design finds with its power, in 0..1.

    The level is shared out among the pairs as Holm's method does for the first of them. Where training runs vary,
    Student's distribution takes the place of the normal one, with the degrees of freedom that the analysis reaches
    (`shrinkage.py`) if all contenders vary alike: those of all contenders together.
    """
    seed_part = 2 * design.seed_sd**2 / design.seeds
    episode_part = 2 * design.rate * (1 - design.rate) * (1 - design.correlation) / (design.seeds * design.episodes)
    error = math.sqrt((seed_part + episode_part) / design.tasks)
    tail = 1 - (1 - design.level) / design.comparisons / 2
    # With infinite degrees of freedom Student's distribution is the normal one.
    known: Any = stats.t(_freedom(design, seed_part, episode_part))
    return float((known.ppf(tail) + known.ppf(design.power)) * error)


def _freedom(design: Design, seed_part: float, episode_part: float) -> float:
    """Satterthwaite's degrees of freedom; infinite where seeds do not vary, or where one seed cannot show that."""
    if design.seed_sd == 0 or design.seeds == 1:
        return math.inf
    of_seeds = seed_part**2 / ((design.contenders - 1) * design.tasks * (design.seeds - 1))
    of_episodes = episode_part**2 / (design.tasks * design.seeds * max(1, design.episodes - 1))
    return (seed_part + episode_part) ** 2 / (of_seeds + of_episodes)


def seeds_needed(design: Design, gap: float) -> int | None:
    """Seeds that find a true difference of `gap`, all else as designed; None where the search finds no number."""
    # One seed cannot show that seeds vary, so it is no remedy where they do.
    fewest = 2 if design.seed_sd > 0 else 1
    return _smallest(lambda number: detectable_difference(replace(design, seeds=number)), fewest, gap)


def episodes_needed(design: Design, gap: float) -> int | None:
    """Episodes of each training run that find a true difference of `gap`; None where the search finds no number."""
    return _smallest(lambda number: detectable_difference(replace(design, episodes=number)), 1, gap)


def _smallest(difference: Callable[[int], float], fewest: int, gap: float) -> int | None:
    """Smallest number whose detectable difference is at most `gap`; differences fall as numbers grow."""
    if not 0 < gap < 1:
        raise PowerError(f"gap={gap} is out of range; expected 0 < gap < 1, such as 0.05 for five points.")
    numbers = range(fewest, LARGEST)
    index = bisect.bisect_left(numbers, -gap, key=lambda number: -difference(number))
    return numbers[index] if index < len(numbers) else None
