"""Tests that hold at any stopping time: against closed forms, against brute force, and by simulation."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import special

from pvrbench.benchmark.analysis.anytime import adjusted, confidence_sequence, log_e_process
from pvrbench.benchmark.analysis.sequential import (
    Ending,
    Member,
    ending_text,
    families,
    replay,
    round_ends,
    state_order,
    state_scores,
)
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import Episode

Array = np.ndarray[Any, np.dtype[Any]]


def coins(generator: np.random.Generator, rates: list[float], states: int) -> dict[int, Array]:
    return {who: (generator.uniform(size=states) < rate).astype(float) for who, rate in enumerate(rates)}


def test_the_wealth_of_paired_outcomes_is_the_beta_binomial_mixture() -> None:
    outcomes = np.random.default_rng(0).choice([-1, 0, 1], p=[0.15, 0.5, 0.35], size=300)
    wins, discordant = np.cumsum(outcomes == 1), np.cumsum(outcomes != 0)
    expected = discordant * np.log(2) + special.betaln(wins + 1, discordant - wins + 1)
    np.testing.assert_allclose(log_e_process(outcomes), expected, atol=1e-9)


def test_the_wealth_is_fair_under_the_null_hypothesis() -> None:
    # Three states, each -0.5, 0 or 1 with mean zero: the mean wealth over all 27 courses is one.
    values, chances = np.array([-0.5, 0.0, 1.0]), np.array([0.4, 0.4, 0.2])
    mean = sum(
        chances[list(course)].prod() * np.exp(log_e_process(values[list(course)])[-1]) for course in np.ndindex(3, 3, 3)
    )
    assert mean == pytest.approx(1)


def test_adjusted_e_values_are_those_of_closed_testing_by_means() -> None:
    e_values = np.array([0.2, 50.0, 3.0, 3.0, 900.0])
    everyone = range(len(e_values))
    sets = [chosen for size in everyone for chosen in combinations(everyone, size + 1)]
    expected = [min(e_values[list(chosen)].mean() for chosen in sets if who in chosen) for who in everyone]
    assert adjusted(np.log(e_values)) == pytest.approx(expected)


def test_confidence_sequences_hold_the_truth_at_all_times() -> None:
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(120):
        differences = (generator.uniform(size=(3, 60)) < 0.6).mean(0) - (generator.uniform(size=(3, 60)) < 0.4).mean(0)
        interval = confidence_sequence(differences, -1.0, 1.0)
        assert interval.low <= interval.estimate <= interval.high
        held += interval.low <= 0.2 <= interval.high
    assert held / 120 >= 0.95


def test_no_state_leaves_everything_possible() -> None:
    assert (confidence_sequence([]).low, confidence_sequence([]).high) == (0, 1)


def test_confidence_sequences_only_narrow() -> None:
    outcomes = np.random.default_rng(2).uniform(size=80) < 0.7
    before, after = confidence_sequence(outcomes[:40]), confidence_sequence(outcomes)
    assert before.low <= after.low < 0.7 < after.high <= before.high


def test_equal_contenders_are_rarely_decided_and_better_ones_nearly_always() -> None:
    generator = np.random.default_rng(3)
    equal = [bool(replay(coins(generator, [0.5] * 3, 100), 100).decisions) for _ in range(150)]
    assert np.mean(equal) <= 0.05
    found = [replay(coins(generator, [0.9, 0.3, 0.3], 100), 100) for _ in range(20)]
    assert np.mean([{(0, 1), (0, 2)} <= set(result.decisions) for result in found]) > 0.9
    # The better one ends before the two that cannot be told apart.
    assert np.mean([result.endings[0].states for result in found]) < 60


def test_rounds_are_decided_as_the_whole_is() -> None:
    scores = coins(np.random.default_rng(4), [0.9, 0.5, 0.45, 0.1], 200)
    there = {who: values[:0] for who, values in scores.items()}
    while (result := replay(there, 200)).next_end is not None:
        there = {
            who: scores[who][: result.endings[who].states if who in result.endings else result.next_end]
            for who in scores
        }
    whole = replay(scores, 200)
    assert (result.endings, result.decisions) == (whole.endings, whole.decisions)
    # A report of what was run comes to the same decisions.
    assert replay(there, 200, ended=there).decisions == whole.decisions
    assert min(ending.states for ending in whole.endings.values()) < 200


def test_a_contender_that_lags_behind_holds_the_round() -> None:
    scores = coins(np.random.default_rng(5), [0.5, 0.5, 0.5], 200)
    lagging = {who: values[: 20 if who else 40] for who, values in scores.items()}
    assert replay(lagging, 200).next_end == 40


def test_all_contenders_have_one_order_and_the_last_round_ends_with_the_planned_states() -> None:
    assert sorted(state_order(130)) == list(range(130))
    assert state_order(130) == state_order(130) != tuple(range(130))
    assert round_ends(100) == (20, 40, 60, 80, 100)
    assert round_ends(1000)[:2] == (100, 200)


def cell_of(encoder: str, task: str = "suite/one", number: int = 5, seed: int = 0) -> Cell:
    return Cell.at(task=task, camera="front", encoder=encoder, readout="mean", head="mlp", num_demos=number, seed=seed)


def test_a_state_seen_by_three_seeds_counts_once() -> None:
    cells = [cell_of("one", number=number, seed=seed) for number in (5, 25) for seed in (0, 1, 2)]
    solved = {5: (0, 0, 1), 25: (1, 1, 1)}
    outcomes = {
        cell: [Episode(index=index, seed=index, success=bool(solved[cell.num_demos][cell.seed]), num_steps=1)]
        for cell in cells
        for index in (7,)
    }
    scores = state_scores(Member(tuple(cells), is_compared=True), outcomes, (7, 3))
    assert scores == pytest.approx([(1 / 3 + 1) / 2])


def test_references_and_contenders_without_some_cell_are_compared_with_nobody() -> None:
    whole = [cell_of(name, task) for name in ("one", "two", "oracle") for task in ("suite/one", "suite/two")]
    (family,) = families([*whole, cell_of("three")])
    assert {who.encoder for who, member in family.items() if member.is_compared} == {"one", "two"}
    (alone,) = families([cell_of("one"), cell_of("oracle")])
    assert not any(member.is_compared for member in alone.values())


def test_records_say_why_they_ended() -> None:
    assert not ending_text(Ending(200, 3, 1), 200)
    text = ending_text(Ending(60, 3, 1), 200)
    assert "after 60 of 200 states" in text
    assert "3 significantly different, 1 given up" in text
