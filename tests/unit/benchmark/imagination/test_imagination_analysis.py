"""Estimates from made-up records of imaginations, which are never results."""

from __future__ import annotations

import numpy as np

from pvrbench.benchmark.analysis.imagination import analyse_imaginations
from pvrbench.benchmark.records.imagination_schema import (
    ErrorCurves,
    ImaginationKey,
    ImaginationRecord,
    ImaginationSettings,
    PlanEpisode,
)
from pvrbench.benchmark.records.schema import Digests, Provenance
from pvrbench.benchmark.reporting.imagination_report import summary_of

NUM_PAIRS = 30


def made_up(
    encoder: str, rate: float, seed: int, model: str = "transformer", task: str = "suite/task", error: float = 0.38
) -> ImaginationRecord:
    rng = np.random.default_rng([seed, len(encoder), round(100 * rate)])
    curves = ErrorCurves(
        kind="expert",
        seed=1,
        latent=(0.2, 0.3, error),
        copied=(0.4, 0.6, 0.8),
        one_step=(0.2, 0.2, 0.2),
        spread=(0.0, 0.16, 0.27),
        state_cm=(1.0, 1.5, 2.0),
        encoded_cm=(0.5, 0.5, 0.5),
        compounded_cm=(0.8, 1.4, 1.9),
        copied_cm=(2.0, 4.0, 6.0),
    )
    return ImaginationRecord(
        key=ImaginationKey(task=task, camera="front", encoder=encoder, model=model, projection="", seed=seed),
        settings=ImaginationSettings(
            render="lean", image_px=32, preprocessing="full_frame", precision="float32", imagination={}
        ),
        digests=Digests(initial_states="s", demos="d", encoder=encoder, simulator={}),
        test_trajectories="t",
        pairs="p",
        provenance=Provenance(
            version="0", commit="", python="3", packages={}, platform="none", device="cpu", gl="", tile=8, encoder={}
        ),
        num_params=1,
        curves=() if model in ("simulator", "random_actions") else (curves, curves),
        episodes=tuple(
            PlanEpisode(index=index, seed=index, expert_steps=50, success=bool(win), num_steps=10)
            for index, win in enumerate(rng.uniform(size=NUM_PAIRS) < rate)
        ),
        timing={},
        recorded_at="2026-01-01T00:00:00+00:00",
    ).sealed()


def test_the_bound_holds_and_shares_are_of_no_change() -> None:
    (found,) = analyse_imaginations([made_up("good", 0.9, 0)]).curves
    np.testing.assert_allclose([item.estimate for item in found.share], [0.5, 0.5, 0.475])
    assert all(error <= bound + 1e-12 for error, bound in zip(found.latent, found.bound, strict=True))
    # L is 0.27 / 0.3, epsilon 0.2.
    np.testing.assert_allclose(found.bound, [0.2, 0.38, 0.542])
    assert found.state_cm[2].estimate == 2.0


def test_ranks_need_two_seeds_and_references_have_none() -> None:
    pairs = [("good", 0.95), ("bad", 0.1), ("oracle", 1.0)]
    records = [made_up(encoder, rate, seed) for encoder, rate in pairs for seed in (0, 1, 2)]
    success = {item.who.encoder: item for item in analyse_imaginations(records).success}
    assert (success["good"].best_rank, success["good"].worst_rank) == (1, 1)
    assert (success["bad"].best_rank, success["bad"].worst_rank) == (2, 2)
    assert success["oracle"].best_rank is None
    assert list(success) == ["good", "bad", "oracle"]
    assert "plans best" in summary_of(tuple(success.values()))
    single = analyse_imaginations([record for record in records if record.key.seed == 0])
    assert all(item.best_rank is None for item in single.success)
    assert any("one seed" in text for text in single.warnings)


def test_a_task_whose_controls_fail_is_dropped_by_name() -> None:
    records = [made_up("good", 0.5, 0), made_up("oracle", 0.3, 0, "simulator")]
    analysis = analyse_imaginations(records)
    assert "true simulator" in analysis.dropped["suite/task (front)"]
    # What was measured there is still shown.
    assert all("suite/task (front)" in item.by_task and item.overall is None for item in analysis.success)
    beside = analyse_imaginations([*records, made_up("good", 0.5, 0, task="suite/other")])
    found = next(item for item in beside.success if item.who.encoder == "good")
    assert set(found.by_task) == {"suite/task (front)", "suite/other (front)"}
    assert found.overall == found.by_task["suite/other (front)"]


def test_a_smaller_error_that_goes_with_success_is_told() -> None:
    rates = {"a": 0.1, "bb": 0.4, "ccc": 0.7, "dddd": 0.95}
    records = [made_up(encoder, rate, 0, error=0.8 - 0.5 * rate) for encoder, rate in rates.items()]
    relations = analyse_imaginations(records).relations
    # The outcomes are drawn, and two encoders happen to be equally good.
    assert relations["share"].kendall.estimate > 0.9
    # All have the same error in centimetres.
    assert set(relations) == {"share"}
    assert not analyse_imaginations(records[:3]).relations
