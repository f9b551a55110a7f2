"""Predictive value of a score: hand-computed values, scipy, and coverage of the bootstrap."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from pvrbench.benchmark.analysis.prediction import kendall_tau, mean_maximum_rank_violation, predict


def test_rank_violation_by_hand() -> None:
    success = np.array([0.9, 0.5, 0.1])
    assert mean_maximum_rank_violation(np.array([3.0, 2.0, 1.0]), success) == 0.0
    # The last two are exchanged: each of them violates by 0.4, the first by nothing.
    assert mean_maximum_rank_violation(np.array([3.0, 1.0, 2.0]), success) == pytest.approx(0.8 / 3)
    # All are reversed: 0.8, 0.4 and 0.8.
    assert mean_maximum_rank_violation(np.array([1.0, 2.0, 3.0]), success) == pytest.approx(2.0 / 3)


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 6, 20).astype(float)
    second = first + rng.integers(0, 6, 20)
    found = predict(first, second, [f"encoder {number // 2}" for number in range(20)])
    tau, r = cast("Any", stats.kendalltau(first, second)), cast("Any", stats.pearsonr(first, second))
    assert kendall_tau(first, second) == pytest.approx(tau.statistic)
    assert found.kendall.estimate == pytest.approx(tau.statistic)
    assert found.pearson.estimate == pytest.approx(r.statistic)
    assert found.kendall.low < found.kendall.estimate < found.kendall.high
    assert (found.num_contenders, found.num_encoders) == (20, 10)


def test_encoders_are_drawn_whole() -> None:
    """Four contenders of an encoder that are all alike tell no more than one."""
    rng = np.random.default_rng(1)
    probe = rng.normal(size=8)
    success = probe + rng.normal(size=8)
    names = [f"encoder {number}" for number in range(8)]
    once = predict(probe, success, names)
    four_times = predict(np.repeat(probe, 4), np.repeat(success, 4), list(np.repeat(names, 4)))
    for ours, theirs in ((four_times.pearson, once.pearson), (four_times.violation, once.violation)):
        assert (ours.low, ours.estimate, ours.high) == pytest.approx((theirs.low, theirs.estimate, theirs.high))


def test_two_encoders_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        predict(np.arange(4.0), np.arange(4.0), ["a", "a", "b", "b"])
