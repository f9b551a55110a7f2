"""How well one score of contenders predicts another: Pearson, Kendall, and the mean maximum rank violation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.envs.base import Array

NUM_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Prediction:
    """How well a probe predicts success, with bootstrap intervals over encoders.

    Attributes:
        pearson: linear correlation.
        kendall: rank correlation, tau-b.
        violation: mean maximum rank violation, in the unit of success; smaller is better.
        num_contenders: pairs of scores.
        num_encoders: encoders that they belong to.
    """

    pearson: Interval
    kendall: Interval
    violation: Interval
    num_contenders: int
    num_encoders: int


def predict(
    probe: Float[Array, " C"], success: Float[Array, " C"], encoders: Sequence[str], seed: int = 0
) -> Prediction:
    """Compares a probe with success over contenders.

    Encoders are drawn with replacement, each with all of its contenders. Draws in which either score is constant are
    left out.

    Args:
        probe: scores of the probe, larger is better.
        success: success rates.
        encoders: the encoder of each contender.
        seed: of the bootstrap.

    Raises:
        ValueError: there are fewer than three encoders.
    """
    names = sorted({*encoders})
    if len(names) < 3:
        raise ValueError(f"A prediction over encoders needs at least 3 of them, and there are {len(names)}.")
    rows: list[Array] = [np.flatnonzero(np.array(encoders) == name) for name in names]
    rng = np.random.default_rng(seed)
    draws: list[tuple[float, float, float]] = []
    for _ in range(NUM_RESAMPLES):
        drawn: list[int] = rng.integers(len(names), size=len(names)).tolist()
        chosen = np.concatenate([rows[index] for index in drawn])
        if np.ptp(probe[chosen]) > 0 and np.ptp(success[chosen]) > 0:
            draws.append(_scores(probe[chosen], success[chosen]))
    low, high = np.percentile(np.array(draws), [2.5, 97.5], axis=0)
    found = _scores(probe, success)
    pearson, kendall, violation = (Interval(found[k], float(low[k]), float(high[k])) for k in range(3))
    return Prediction(pearson, kendall, violation, len(probe), len(names))


def _scores(probe: Array, success: Array) -> tuple[float, float, float]:
    centred = probe - probe.mean(), success - success.mean()
    pearson = float(centred[0] @ centred[1] / np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1])))
    return pearson, kendall_tau(probe, success), mean_maximum_rank_violation(probe, success)


def kendall_tau(first: Float[Array, " C"], second: Float[Array, " C"]) -> float:
    """Kendall's tau-b."""
    signs = [np.sign(values[:, None] - values[None]) for values in (first, second)]
    return float((signs[0] * signs[1]).sum() / np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum()))


def mean_maximum_rank_violation(probe: Float[Array, " C"], success: Float[Array, " C"]) -> float:
    """The mean over contenders of the greatest success gap to another one that the probe orders the other way.

    Source: Li et al. 2024, SIMPLER, arXiv:2405.05941, equation 1.
    """
    gaps = np.abs(success[:, None] - success[None])
    is_reversed = (probe[:, None] < probe[None]) != (success[:, None] < success[None])
    return float((gaps * is_reversed).max(axis=1).mean())
