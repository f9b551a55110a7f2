"""Many contenders, and layouts with missing outcomes, against closed forms and simulation."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import special

from pvrbench.benchmark.analysis.estimates import clustered_spread, mean_interval
from pvrbench.benchmark.analysis.layout import Array, by_state, equal_trials, filled, in_common, weighted
from pvrbench.benchmark.analysis.pairing import compare_family, holm, paired_difference
from pvrbench.benchmark.analysis.power import Design, detectable_difference
from pvrbench.benchmark.analysis.shrinkage import fit_prior, moderated_spreads


def outcomes(generator: np.random.Generator, shape: tuple[int, ...], seed_sd: float, rates: Array) -> Array:
    """Outcomes `contenders x tasks x seeds x states` whose training runs vary and whose states are shared."""
    states = generator.standard_normal((1, shape[1], 1, shape[3]))
    runs = seed_sd * generator.standard_normal((*shape[:3], 1))
    logits = special.logit(rates)[:, None, None, None] + runs + states
    return (generator.uniform(size=shape) < special.expit(logits)).astype(float)


def test_a_full_layout_is_left_as_it_is() -> None:
    values = np.random.default_rng(0).uniform(size=(2, 3, 5))
    assert filled(values) is values
    assert equal_trials(np.full((5, 3), 50)) == 750


def test_filled_layouts_have_the_mean_and_the_variance_of_what_was_evaluated() -> None:
    generator = np.random.default_rng(1)
    values = generator.uniform(size=(1, 1, 12))
    values[0, 0, 7:] = np.nan
    seen = values[0, 0, :7]
    spread = clustered_spread(filled(values), np.array([[7]]))
    assert filled(values).mean() == pytest.approx(seen.mean())
    assert spread.variance == pytest.approx(seen.var(ddof=1) / 7)
    assert spread.freedom == 6


def test_a_training_run_without_episodes_is_refused() -> None:
    with pytest.raises(ValueError, match="no evaluated state"):
        filled(np.array([[[np.nan, np.nan]]]))


def test_states_that_one_lacks_are_left_out_of_both() -> None:
    first, second = np.array([[[1.0, 0, 1, np.nan]]]), np.array([[[0.0, 0, np.nan, 1]]])
    assert paired_difference(first, second)[0].estimate == 0.5
    masked, _ = in_common(first, second)
    assert np.isnan(masked[0, 0, 2:]).all()


def test_weights_are_of_n_and_states_add_up_to_the_mean() -> None:
    values = np.random.default_rng(2).uniform(size=(2, 3, 2, 6))
    values[0, 1, 0, 4:] = np.nan
    score = weighted(values, [0.3, 0.7])
    assert by_state(values, [0.3, 0.7]).mean() == pytest.approx(score.mean())
    assert score.mean() == pytest.approx(0.3 * np.nanmean(values[0], axis=2).mean() + 0.7 * values[1].mean())


@pytest.mark.parametrize("kind", ["runs", "tasks"])
def test_intervals_hold_the_truth_with_ragged_counts(kind: str) -> None:
    generator = np.random.default_rng(3)
    inside, false, num_families = 0, 0, 150
    for _ in range(num_families):
        values = outcomes(generator, (3, 4, 3, 30), 0.5, np.full(3, 0.5))
        counts = generator.integers(8, 31, (3, 4, 3, 1) if kind == "runs" else (1, 4, 1, 1))
        ragged = np.where(np.arange(30) < counts, values, np.nan)
        inside += sum(interval.low <= 0.5 <= interval.high for interval in map(mean_interval, ragged))
        p_values = [item.p_value for item in compare_family(ragged[:, None], [1.0]).values()]
        false += min(holm(p_values)) < 0.05
    assert 0.92 <= inside / (3 * num_families) <= 0.99
    assert false / num_families <= 0.08


def test_the_prior_is_found_again() -> None:
    generator = np.random.default_rng(4)
    true = 0.2 * 8 / generator.chisquare(8, 20000)
    prior = fit_prior(true * generator.chisquare(6, 20000) / 6, 6.0)
    assert prior.variance == pytest.approx(0.2, rel=0.03)
    assert prior.freedom == pytest.approx(8, rel=0.1)
    alike = fit_prior(0.2 * generator.chisquare(6, 200) / 6, 6.0)
    assert alike.freedom > 50
    assert math.isinf(fit_prior(np.full(10, 0.3), 6.0).freedom)
    assert fit_prior(np.array([0.0, 0.0, 0.1]), 6.0).freedom == 0


def test_variances_move_towards_their_centre_and_gain_freedom() -> None:
    values = outcomes(np.random.default_rng(5), (8, 3, 3, 40), 0.5, np.full(8, 0.5))
    differences = np.stack([first - second for first, second in combinations(values, 2)])
    own = [clustered_spread(difference) for difference in differences]
    spreads = moderated_spreads(differences, 8)
    assert np.ptp([item.variance for item in spreads]) < np.ptp([item.variance for item in own])
    assert min(item.freedom for item in spreads) > 6


def test_a_single_pair_has_its_own_variance() -> None:
    values = outcomes(np.random.default_rng(6), (2, 3, 3, 20), 0.5, np.array([0.4, 0.7]))
    result = compare_family(values[:, None], [1.0])[0, 1]
    assert (result.difference, result.p_value) == paired_difference(*values)
    assert compare_family(values[:1, None], [1.0]) == {}


def test_false_differences_among_many_equal_contenders_stay_rare() -> None:
    generator = np.random.default_rng(7)
    false, num_families = 0, 200
    for _ in range(num_families):
        values = outcomes(generator, (8, 3, 3, 50), 0.3, np.full(8, 0.5))
        false += min(holm([item.p_value for item in compare_family(values[:, None], [1.0]).values()])) < 0.05
    assert false / num_families <= 0.065


def test_power_agrees_with_what_many_contenders_find() -> None:
    design = Design(tasks=4, seeds=3, episodes=25, contenders=6, seed_sd=0.1)
    gap = detectable_difference(design)
    generator = np.random.default_rng(8)
    found: list[bool] = []
    for _ in range(80):
        rates = (
            0.5 + gap * np.resize([-0.5, 0.5], 6)[:, None, None, None] + 0.1 * generator.standard_normal((6, 4, 3, 1))
        )
        values = (generator.uniform(size=(6, 4, 3, 25)) < rates).astype(float)
        results = compare_family(values[:, None], [1.0])
        adjusted = holm([item.p_value for item in results.values()])
        found += [p_value < 0.05 for (i, j), p_value in zip(results, adjusted, strict=True) if (i - j) % 2]
    assert 0.7 < np.mean(found) < 0.9
