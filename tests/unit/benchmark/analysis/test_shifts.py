"""Ratios of success rates, and changed looks against the nominal one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pvrbench.benchmark.analysis.estimates import Array
from pvrbench.benchmark.analysis.ratio import ratio_interval
from pvrbench.benchmark.analysis.shifts import analyse_shifts
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.plan import make_plan
from pvrbench.benchmark.records.schema import CellRecord, Cost, Digests, Episode, Provenance

NOWHERE = Provenance(
    version="0", commit="", python="3", packages={}, platform="none", device="cpu", gl="", tile=8, encoder={}
)


def test_the_interval_of_a_ratio_equals_fiellers_formula() -> None:
    rng = np.random.default_rng(0)
    # One training run with many states: the clustered variance is the variance of a paired sample.
    second = rng.uniform(0.4, 1.0, (1, 1, 60))
    first = 0.5 * second + rng.normal(0.0, 0.1, second.shape)
    found = ratio_interval(first, second)
    x, y, count = first.ravel(), second.ravel(), 60
    (vxx, vxy), (_, vyy) = np.cov(x, y) / count
    t = float(stats.t.ppf(0.975, count - 1))
    a, b, c = y.mean() ** 2 - t**2 * vyy, -2 * (x.mean() * y.mean() - t**2 * vxy), x.mean() ** 2 - t**2 * vxx
    root = math.sqrt(b**2 - 4 * a * c)
    assert found.estimate == pytest.approx(x.mean() / y.mean())
    assert found.low == pytest.approx((-b - root) / (2 * a), abs=1e-4)
    assert found.high == pytest.approx((-b + root) / (2 * a), abs=1e-4)


def draw(rng: np.random.Generator, nominal: float, shifted: float) -> tuple[Array, Array]:
    """Outcomes of 4 tasks, 3 seeds and 25 states under both looks; a state and a seed are as hard under both."""
    noise = rng.normal(0.0, 0.5, (4, 3, 1)) + rng.normal(0.0, 0.8, (4, 1, 25))
    scale = math.sqrt(1 + 0.5**2 + 0.8**2)
    return tuple(
        (rng.normal(0.0, 1.0, (4, 3, 25)) + noise < scale * stats.norm.ppf(rate)).astype(float)
        for rate in (nominal, shifted)
    )  # pyright: ignore[reportReturnType]


def test_the_interval_of_a_ratio_covers() -> None:
    rng = np.random.default_rng(1)
    covered: list[bool] = []
    for _ in range(60):
        nominal, shifted = draw(rng, 0.8, 0.4)
        found = ratio_interval(shifted, nominal)
        covered.append(found.low <= 0.5 <= found.high)
    assert np.mean(covered) >= 0.88


def test_ratios_at_the_ends_of_the_scale() -> None:
    rng = np.random.default_rng(2)
    half = (rng.uniform(size=(2, 2, 20)) < 0.5).astype(float)
    nothing, everything = np.zeros_like(half), np.ones_like(half)
    lost = ratio_interval(nothing, half)
    assert (lost.estimate, lost.low) == (0.0, 0.0)
    assert 0.05 < lost.high < 0.6
    # Whoever sees no picture does the same under both looks, exactly.
    same = ratio_interval(half, half)
    assert same.low == pytest.approx(1.0, abs=1e-5)
    assert same.high == pytest.approx(1.0, abs=1e-5)
    assert math.isnan(ratio_interval(half, nothing).estimate)
    rare = nothing.copy()
    rare[0, 0, 0] = 1.0
    assert ratio_interval(half, rare).high == math.inf
    assert ratio_interval(everything, half).estimate > 1.5


RATES = {  # nominal, light/darker@2
    "pixels_7": (0.9, 0.1),
    "pixels_14": (0.6, 0.55),
    "random_zoo_vit": (0.3, 0.28),
    "oracle": (0.95, 0.95),
}


def made_up(num_episodes: int = 40) -> dict[str, list[CellRecord]]:
    """Records of made-up outcomes under two looks; every state has a difficulty of its own."""
    config = compose_config(
        [
            *("preset=quickstart", "tasks=[metaworld/assembly-v3,metaworld/reach-v3]"),
            *(f"encoders=[{','.join(RATES)}]", "baselines=[]", "readouts=[pooled]", "num_demos=[5]"),
            *("seeds=[0,1,2]", f"num_episodes={num_episodes}", "looks=[light/darker@2]"),
        ]
    )
    found: dict[str, list[CellRecord]] = {}
    for job in make_plan(config).jobs:
        for cell in job.cells:
            look = 0 if cell.look == "nominal" else 1
            # Noise of a cell is the same under both looks, as where the policy does the same.
            rng = np.random.default_rng([cell.seed, len(cell.task), len(cell.encoder)])
            rate = RATES[cell.encoder][look]
            wins = rng.uniform(size=num_episodes) < rate
            record = CellRecord(
                cell=cell,
                settings=job.settings[cell.head],
                digests=Digests(initial_states="s", demos="d", encoder=cell.encoder, simulator={}),
                provenance=NOWHERE,
                cost=Cost(encoder_params=1, readout_params=0, head_params=1, flops_per_frame=1, feature_dim=1),
                train_log={},
                failure=None,
                episodes=tuple(
                    Episode(index=index, seed=100 + index, success=bool(win), num_steps=10)
                    for index, win in enumerate(wins)
                ),
                timing={},
                recorded_at="2026-01-01T00:00:00+00:00",
            )
            found.setdefault(cell.look, []).append(record)
    return found


def test_what_is_retained_who_loses_more_and_whether_ranks_hold() -> None:
    shifts = analyse_shifts(made_up())
    retained = {item.contender.encoder: item for item in shifts.retained}
    fragile, robust, oracle = (retained[name] for name in ("pixels_7", "pixels_14", "oracle"))
    assert fragile.ratio.high < 0.3
    assert robust.ratio.low < 0.55 / 0.6 < robust.ratio.high
    assert (oracle.ratio.estimate, oracle.difference.estimate, oracle.p_value) == (1.0, 0.0, 1.0)
    assert fragile.difference.estimate == pytest.approx(fragile.shifted.estimate - fragile.nominal.estimate)
    (pair,) = [
        item for item in shifts.interactions if {item.first.encoder, item.second.encoder} == {"pixels_7", "pixels_14"}
    ]
    loss = fragile.difference.estimate - robust.difference.estimate
    sign = 1 if pair.first.encoder == "pixels_7" else -1
    assert pair.difference.estimate == pytest.approx(sign * loss)
    assert pair.adjusted_p_value < 0.01
    assert all(not item.first.is_reference and not item.second.is_reference for item in shifts.interactions)
    agreement = shifts.agreements["light/darker@2"]
    assert agreement is not None
    # The best encoder became the worst.
    assert agreement.kendall.estimate < 0.0
    assert agreement.violation.estimate > 0.2
    assert shifts.analyses["light/darker@2"].ranking[0].contender.encoder == "oracle"


def test_states_that_one_look_lacks_are_left_aside() -> None:
    by_look = made_up()
    shorter = [record.model_copy(update={"episodes": record.episodes[:20]}) for record in by_look["light/darker@2"]]
    whole, part = analyse_shifts(by_look), analyse_shifts({**by_look, "light/darker@2": shorter})
    nominal = {item.contender: item.nominal for item in part.retained}
    assert all(item.nominal != nominal[item.contender] for item in whole.retained if item.contender.encoder != "oracle")
    assert analyse_shifts({"nominal": by_look["nominal"], "light/darker@2": []}).warnings
