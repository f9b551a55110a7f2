"""Estimates, paired tests and power against closed forms, statsmodels and simulation."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from statsmodels.stats import contingency_tables as untyped_tables
from statsmodels.stats import multitest as untyped_multitest
from statsmodels.stats import power as untyped_power
from statsmodels.stats import proportion as untyped_proportion

from pvrbench.benchmark.analysis.estimates import (
    Interval,
    demos_to_reach,
    interquartile_interval,
    interquartile_mean,
    mean_interval,
    population_interval,
    wilson,
)
from pvrbench.benchmark.analysis.pairing import (
    holm,
    mcnemar,
    paired_difference,
    permutation_tests,
    probability_of_improvement,
)
from pvrbench.benchmark.analysis.power import Design, PowerError, detectable_difference, episodes_needed, seeds_needed

multitest: Any = untyped_multitest
statsmodels_power: Any = untyped_power
proportion: Any = untyped_proportion
tables: Any = untyped_tables


@pytest.mark.parametrize(("wins", "trials"), [(0, 1), (0, 50), (3, 17), (25, 50), (50, 50), (999, 1000)])
def test_wilson_equals_statsmodels(wins: int, trials: int) -> None:
    low, high = proportion.proportion_confint(wins, trials, method="wilson")
    interval = wilson(float(wins), float(trials))
    assert interval.low == pytest.approx(max(0, low), abs=1e-12)
    assert interval.high == pytest.approx(min(1, high), abs=1e-12)


def test_holm_equals_statsmodels() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 2, 7, 30):
        p_values: list[float] = (generator.uniform(size=size) ** 3).round(2).tolist()
        np.testing.assert_allclose(holm(p_values), multitest.multipletests(p_values, method="holm")[1], atol=1e-12)
    assert holm([]) == []


def test_mcnemar_equals_statsmodels() -> None:
    generator = np.random.default_rng(1)
    for rate in (0.1, 0.5, 0.9):
        one, other = generator.uniform(size=30) < rate, generator.uniform(size=30) < 0.5
        counts = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]
        assert mcnemar(one, other) == pytest.approx(tables.mcnemar(counts, exact=True).pvalue, abs=1e-12)
    assert mcnemar(np.ones(5), np.ones(5)) == 1


def test_one_training_on_one_task_is_tested_by_mcnemar() -> None:
    first, second = np.ones((1, 1, 6)), np.zeros((1, 1, 6))
    second[0, 0, 0] = 1
    assert paired_difference(first, second)[1] == pytest.approx(2 / 2**5)


def test_sign_flips_come_near_the_exact_permutation_test() -> None:
    difference = np.array([[[0.4, -0.1, 0.3, 0.2, 0.6, -0.2, 0.1, 0.5]]])
    flips = np.array(list(itertools.product((-1, 1), repeat=8))) @ difference.ravel()
    exact = float((np.abs(flips) >= abs(difference.sum()) - 1e-9).mean())
    assert permutation_tests([difference]) == pytest.approx([exact], abs=0.01)
    assert permutation_tests([difference, np.zeros((1, 1, 8))])[1] == 1
    assert permutation_tests([]) == []


def test_probability_of_improvement_counts_ties_half() -> None:
    weak, strong = np.zeros((1, 2, 4)), np.ones((1, 2, 4))
    assert probability_of_improvement(strong, weak) == 1
    assert probability_of_improvement(weak, strong) == 0
    assert probability_of_improvement(weak, weak) == 0.5
    mixed = np.concatenate([weak[:, :1], strong[:, :1]], axis=1)
    assert probability_of_improvement(strong, mixed) == 0.75


def test_the_middle_half_ignores_one_bad_training() -> None:
    assert interquartile_mean(np.array([[0.0, 0.6], [0.8, 1.0]])) == pytest.approx(0.7)
    values = np.ones((2, 4, 10))
    values[0, 0] = 0
    assert interquartile_interval(values).estimate == 1


def test_a_population_of_tasks_is_less_certain_than_these_tasks() -> None:
    easy_and_hard = np.concatenate([np.ones((3, 2, 20)), np.zeros((3, 2, 20))])
    these, all_tasks = mean_interval(easy_and_hard), population_interval(easy_and_hard)
    assert all_tasks.high - all_tasks.low > 3 * (these.high - these.low)
    assert population_interval(easy_and_hard) == all_tasks
    assert math.isnan(population_interval(easy_and_hard[:1]).low)


def test_demonstrations_are_interpolated_over_log_n() -> None:
    curve = [(number, Interval(rate, rate - 0.2, rate + 0.2)) for number, rate in ((5, 0.2), (20, 0.6), (80, 0.8))]
    reached = demos_to_reach(0.4, curve)
    assert reached.estimate == pytest.approx(10)
    assert reached.low == 5
    assert reached.high == pytest.approx(20)
    assert demos_to_reach(0.9, curve).estimate == math.inf
    assert demos_to_reach(0.9, curve).low == pytest.approx(40)


def test_all_alike_is_as_sure_as_its_states_are_many() -> None:
    for seeds in (1, 3):
        interval = mean_interval(np.zeros((1, seeds, 20)))
        assert 0.15 < interval.high < 0.2


@pytest.mark.parametrize("num_tasks", [1, 5])
def test_intervals_hold_the_truth_when_trainings_and_states_vary(num_tasks: int) -> None:
    generator = np.random.default_rng(5)
    covered, told_apart = 0, 0
    for _ in range(200):
        shared = generator.standard_normal((num_tasks, 1, 30))
        logits = [shared + 0.5 * generator.standard_normal((num_tasks, 3, 1)) for _ in range(2)]
        first, second = [(generator.uniform(size=x.shape) < 1 / (1 + np.exp(-x))).astype(float) for x in logits]
        interval = mean_interval(first)
        covered += interval.low <= 0.5 <= interval.high
        told_apart += paired_difference(first, second)[1] < 0.05
    assert 0.925 <= covered / 200 <= 0.99
    assert told_apart / 200 <= 0.07


def test_the_detectable_difference_is_that_of_the_textbook() -> None:
    design = Design(tasks=1, seeds=3, episodes=25)
    standardised = statsmodels_power.NormalIndPower().solve_power(nobs1=75, alpha=0.05, power=0.8)
    assert detectable_difference(design) == pytest.approx(standardised * 0.5, abs=1e-5)
    found = [
        detectable_difference(Design(tasks=tasks, seeds=3, episodes=25, contenders=contenders, seed_sd=seed_sd))
        for tasks, contenders, seed_sd in ((5, 2, 0.0), (1, 2, 0.0), (1, 10, 0.0), (1, 10, 0.1))
    ]
    assert found == sorted(found)


def test_what_is_planned_is_found_with_its_power() -> None:
    design = Design(tasks=4, seeds=3, episodes=25, seed_sd=0.1)
    gap = detectable_difference(design)
    generator = np.random.default_rng(6)
    found = 0
    for _ in range(200):
        rates = [0.5 + sign * gap / 2 + 0.1 * generator.standard_normal((4, 3, 1)) for sign in (1, -1)]
        first, second = [(generator.uniform(size=(4, 3, 25)) < rate).astype(float) for rate in rates]
        found += paired_difference(first, second)[1] < 0.05
    assert 0.7 < found / 200 < 0.9


def test_sizes_that_are_needed_are_the_smallest() -> None:
    design = Design(tasks=5, seeds=3, episodes=25)
    seeds = seeds_needed(design, 0.05) or 0
    assert detectable_difference(Design(tasks=5, seeds=seeds, episodes=25)) <= 0.05
    assert detectable_difference(Design(tasks=5, seeds=seeds - 1, episodes=25)) > 0.05
    varying = Design(tasks=1, seeds=3, episodes=25, seed_sd=0.1)
    assert episodes_needed(varying, 0.05) is None
    assert (seeds_needed(varying, 0.05) or 0) > 3


def test_impossible_designs_are_refused_by_name() -> None:
    with pytest.raises(PowerError, match="seeds=0 is too few; expected 1 or more"):
        Design(tasks=1, seeds=0, episodes=1)
    with pytest.raises(PowerError, match=r"rate=1.5 is out of range; expected 0 < rate < 1"):
        Design(tasks=1, seeds=1, episodes=1, rate=1.5)
    with pytest.raises(PowerError, match=r"gap=5.0 is out of range"):
        seeds_needed(Design(tasks=1, seeds=1, episodes=1), 5.0)
