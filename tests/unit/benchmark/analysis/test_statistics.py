"""Statistics against hand-computed values and by simulation."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate
from statsmodels.stats import proportion as untyped_proportion

from pvrbench.benchmark.analysis.comparison import ReportError, incomparable, load_runs
from pvrbench.benchmark.analysis.estimates import clustered_spread, log_weights, mean_interval, wilson
from pvrbench.benchmark.analysis.pairing import paired_difference
from pvrbench.benchmark.analysis.ranking import curves_csv, ranking_csv, text_rows
from pvrbench.benchmark.analysis.statistics import Contender, analyse
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import CellRecord, Cost, Digests, Episode, Provenance, Settings
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.benchmark.reporting.report import write_report

proportion: Any = untyped_proportion


def made_record(cell: Cell, successes: list[bool], *, image_px: int = 112, failure: str | None = None) -> CellRecord:
    """A record with known outcomes; never a result."""
    settings = Settings(
        preset="made_up",
        render="lean",
        image_px=image_px,
        preprocessing="full_frame",
        num_episodes=max(1, len(successes)),
        horizon=100,
        success_rule="any_step",
        demo_pool=25,
        history=1,
        fusion="none",
        budget_dim=None,
        head_options={},
        train={},
        deviations=(),
    )
    return CellRecord(
        cell=cell,
        settings=settings,
        digests=Digests(initial_states="s", demos="d", encoder=cell.encoder, simulator={"mujoco": "1"}),
        provenance=Provenance(
            version="0",
            commit="",
            python="3",
            packages={},
            platform="none",
            device="cpu",
            gl="",
            tile=8,
            encoder={},
        ),
        cost=Cost(encoder_params=0, readout_params=0, head_params=0, flops_per_frame=None, feature_dim=1),
        train_log={},
        failure=failure,
        episodes=tuple(
            Episode(index=index, seed=index, success=success, num_steps=1) for index, success in enumerate(successes)
        ),
        timing={},
        recorded_at="2026-01-01T00:00:00+00:00",
    ).sealed()


def made_run(rates: dict[str, float], num_seeds: int = 2, num_states: int = 40) -> list[CellRecord]:
    """Records of made-up encoders with known success rates that grow with N, on two tasks."""
    generator = np.random.default_rng(0)
    records: list[CellRecord] = []
    for task in ("suite/one", "suite/two"):
        difficulty = generator.uniform(-0.15, 0.15, num_states)
        for encoder, rate in rates.items():
            for number, factor in ((5, 0.8), (25, 1.0)):
                for seed in range(num_seeds):
                    wins = generator.uniform(size=num_states) < np.clip(rate * factor + difficulty, 0, 1)
                    cell = Cell.at(
                        task=task,
                        camera="front",
                        encoder=encoder,
                        readout="mean",
                        head="mlp",
                        num_demos=number,
                        seed=seed,
                    )
                    records.append(made_record(cell, [bool(win) for win in wins]))
    return records


def test_wilson_is_that_of_statsmodels_and_of_the_textbook() -> None:
    interval = wilson(25.0, 50.0)
    assert interval.low == pytest.approx(0.3664, abs=1e-4)
    assert interval.high == pytest.approx(0.6336, abs=1e-4)
    low, high = proportion.proportion_confint(3, 17, method="wilson")
    assert (wilson(3.0, 17.0).low, wilson(3.0, 17.0).high) == pytest.approx((low, high), abs=1e-12)


def test_weights_are_the_trapezoid_rule_over_log_n() -> None:
    assert list(log_weights([7])) == [1]
    np.testing.assert_allclose(log_weights([5, 10, 20]), [0.25, 0.5, 0.25])
    weights = log_weights([5, 10, 25])

    curve = np.array([0.2, 0.5, 0.9])
    logs = np.log([5, 10, 25])
    assert weights @ curve == pytest.approx(float(integrate.trapezoid(curve, logs)) / (logs[-1] - logs[0]))


def test_one_seed_and_independent_states_give_the_ordinary_variance() -> None:
    values = np.array([[[0.0, 1, 1, 0, 1, 0, 0, 1, 1, 1]]])
    spread = clustered_spread(values)
    assert spread.variance == pytest.approx(values.var(ddof=1) / 10)
    assert spread.freedom == 9


def test_seeds_that_repeat_each_other_add_no_certainty() -> None:
    one = np.random.default_rng(0).integers(0, 2, (1, 1, 30)).astype(float)
    tripled = np.repeat(one, 3, axis=1)
    assert mean_interval(tripled).low == pytest.approx(mean_interval(one).low, abs=0.02)


def test_seeds_that_differ_much_widen_the_interval() -> None:
    alike = np.tile([0.0, 1.0], (1, 4, 20))
    apart = np.zeros((1, 4, 40))
    apart[:, :2] = 1
    width_alike = mean_interval(alike).high - mean_interval(alike).low
    width_apart = mean_interval(apart).high - mean_interval(apart).low
    assert width_apart > 2 * width_alike


def test_identical_contenders_differ_by_exactly_nothing() -> None:
    values = np.random.default_rng(1).integers(0, 2, (2, 3, 20)).astype(float)
    difference, p_value = paired_difference(values, values.copy())
    assert (difference.estimate, difference.low, difference.high, p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("num_tasks", [1, 5])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_intervals_cover_the_true_rate(num_tasks: int, rate: float) -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        values = (generator.uniform(size=(num_tasks, 3, 20)) < rate).astype(float)
        interval = mean_interval(values)
        covered += interval.low <= rate <= interval.high
    assert covered / 400 >= 0.93


def test_equal_contenders_are_seldom_told_apart() -> None:
    generator = np.random.default_rng(3)
    false_alarms = 0
    for _ in range(400):
        difficulty = generator.uniform(0.1, 0.9, (2, 1, 25))
        first, second = ((generator.uniform(size=(2, 3, 25)) < difficulty).astype(float) for _ in range(2))
        false_alarms += paired_difference(first, second)[1] < 0.05
    assert false_alarms / 400 <= 0.06


def test_a_clear_order_is_found_and_ties_share_ranks() -> None:
    analysis = analyse(made_run({"best": 0.9, "tie_a": 0.45, "tie_b": 0.45, "worst": 0.05}, num_seeds=4, num_states=60))
    places = {item.contender.encoder: (item.best_rank, item.worst_rank) for item in analysis.ranking}
    assert places == {"best": (1, 1), "tie_a": (2, 3), "tie_b": (2, 3), "worst": (4, 4)}
    adjusted = [comparison.adjusted_p_value for comparison in analysis.comparisons]
    raw = [comparison.p_value for comparison in analysis.comparisons]
    assert all(a >= b for a, b in zip(adjusted, raw, strict=True))


def test_the_order_of_records_changes_nothing() -> None:
    records = made_run({"one": 0.7, "two": 0.4, "oracle": 0.95, "proprio": 0.1})
    order: list[int] = np.random.default_rng(4).permutation(len(records)).tolist()
    shuffled = [records[index] for index in order]
    assert analyse(records) == analyse(shuffled)


def cut(records: list[CellRecord], keep: Callable[[CellRecord], int]) -> list[CellRecord]:
    """The same records with their first episodes only."""
    return [record.model_copy(update={"episodes": record.episodes[: keep(record)]}) for record in records]


def test_pairs_are_compared_on_the_states_that_both_evaluated_and_estimates_use_all() -> None:
    records = made_run({"one": 0.7, "two": 0.4}, num_seeds=2)
    ragged = analyse(cut(records, lambda record: 25 if record.cell.encoder == "two" else 40))
    both_cut, whole = analyse(cut(records, lambda _: 25)), analyse(records)
    assert ragged.comparisons[0].difference.estimate == pytest.approx(both_cut.comparisons[0].difference.estimate)
    assert ragged.comparisons[0].p_value == pytest.approx(both_cut.comparisons[0].p_value)
    scores = {item.contender.encoder: item.score for item in ragged.ranking}
    expected = {item.contender.encoder: item.score for item in whole.ranking}
    assert scores["one"] == expected["one"]
    assert scores["two"].high - scores["two"].low > expected["two"].high - expected["two"].low
    assert {point.num_episodes for point in ragged.points if point.contender.encoder == "two"} == {50, 100}


def test_training_runs_that_stopped_at_different_episodes_are_analysed() -> None:
    records = made_run({"one": 0.9, "two": 0.4, "three": 0.4, "oracle": 1.0}, num_seeds=3)
    ragged = analyse(cut(records, lambda record: 20 + 5 * record.cell.seed + 10 * (record.cell.num_demos == 5)))
    assert {item.contender.encoder: item.best_rank for item in ragged.ranking}["one"] == 1
    # The mean over tasks is the mean of the training runs' rates, each with equal weight.
    point = next(item for item in ragged.points if item.contender.encoder == "two" and item.task == "suite/one (front)")
    rates = [
        np.mean([episode.success for episode in record.episodes[: 30 + 5 * record.cell.seed]])
        for record in records
        if (record.cell.encoder, record.cell.task, record.cell.num_demos) == ("two", "suite/one", 5)
    ]
    assert point.success.estimate == pytest.approx(np.mean(rates))
    assert point.num_episodes == 30 + 35 + 40


def test_one_seed_gives_no_ranks_and_says_so() -> None:
    analysis = analyse(made_run({"one": 0.9, "two": 0.1}, num_seeds=1))
    assert [(item.best_rank, item.worst_rank) for item in analysis.ranking] == [(None, None)] * 2
    assert analysis.groups == ()
    assert any("no ranks are given" in warning for warning in analysis.warnings)
    assert [row[0] for row in text_rows(analysis)[1:]] == ["not known", "not known"]


def test_few_training_runs_are_said_not_to_keep_the_limit() -> None:
    rates = {"one": 0.9, "two": 0.4, "three": 0.1}
    assert any("2 tasks, 2 seeds" in warning for warning in analyse(made_run(rates, num_seeds=2)).warnings)
    assert not any("training runs" in warning for warning in analyse(made_run(rates, num_seeds=4)).warnings)


def test_demonstrations_that_all_seeds_share_are_named() -> None:
    records = made_run({"one": 0.9, "two": 0.1})
    (warning,) = analyse(records).warnings
    assert warning.startswith("At N = 25 all training seeds use the same demonstrations")
    assert analyse([record for record in records if record.cell.num_demos == 5]).warnings == ()


def test_references_have_no_rank_in_the_table_for_programs() -> None:
    analysis = analyse(made_run({"one": 0.9, "two": 0.1, "oracle": 1.0, "proprio": 0.2}))
    rows = {row["encoder"]: row for row in csv.DictReader(ranking_csv(analysis).splitlines())}
    assert {name: row["best_rank"] for name, row in rows.items()} == {
        "one": "1",
        "two": "2",
        "oracle": "",
        "proprio": "",
    }


def test_a_cell_twice_is_refused() -> None:
    records = made_run({"one": 0.5})
    with pytest.raises(ReportError, match="the same contender, task, N and seed"):
        analyse([*records, records[0]])


def test_committed_records_give_the_committed_curves_and_scores() -> None:
    study = Path(__file__).parents[4] / "results" / "studies" / "zoo"
    analysis = analyse(load_runs([study])[0])
    assert curves_csv(analysis) == (study / "report" / "curves.csv").read_text()
    committed = list(csv.DictReader((study / "report" / "ranking.csv").read_text().splitlines()))
    found = list(csv.DictReader(ranking_csv(analysis).splitlines()))
    estimates = [name for name in committed[0] if name not in ("best_rank", "worst_rank")]
    assert [[row[name] for name in estimates] for row in found] == [
        [row[name] for name in estimates] for row in committed
    ]


def test_gain_puts_proprio_at_zero_and_oracle_at_one() -> None:
    analysis = analyse(made_run({"one": 0.5, "oracle": 0.95, "proprio": 0.1}))
    gains = {item.contender.encoder: item.gain for item in analysis.ranking}
    assert gains["proprio"] == 0
    assert gains["oracle"] == 1
    assert 0 < (gains["one"] or math.nan) < 1


def test_an_incomplete_contender_has_a_curve_and_no_rank() -> None:
    records = [
        record
        for record in made_run({"one": 0.5, "two": 0.4})
        if not (record.cell.encoder == "two" and record.cell.task == "suite/two")
    ]
    analysis = analyse(records)
    assert [item.contender.encoder for item in analysis.ranking] == ["one"]
    assert Contender("two", "mean", "mlp") in {point.contender for point in analysis.points}
    assert any("two · mean (mlp) lacks some cells" in warning for warning in analysis.warnings)


def _of(encoder: str, cell: Cell) -> Cell:
    return cell.model_copy(update={"train": cell.train.model_copy(update={"encoder": encoder})})


def test_failed_training_is_said() -> None:
    records = made_run({"one": 0.5})
    bad = made_record(_of("wild", records[0].cell), [], failure="training failed")
    assert any("training failed (wild)" in warning for warning in analyse([*records, bad]).warnings)


def write(run_dir: Path, records: list[CellRecord]) -> Path:
    store = RecordStore(run_dir)
    for record in records:
        store.write(record)
    return run_dir


def test_a_report_is_the_same_bytes_again(tmp_path: Path) -> None:
    run = write(tmp_path / "run", made_run({"one": 0.7, "two": 0.4, "oracle": 0.95, "proprio": 0.1}))
    write_report([run], tmp_path / "a")
    write_report([run], tmp_path / "b")
    for name in ("curves.csv", "ranking.csv", "report.md", "curves.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert "one · mean" in (tmp_path / "a" / "curves.svg").read_text()


@pytest.mark.parametrize("rates", [{"single": 0.5}, {"oracle": 1.0}])
def test_a_report_of_one_contender_works(tmp_path: Path, rates: dict[str, float]) -> None:
    run = write(tmp_path / "run", [record for record in made_run(rates) if record.cell.num_demos == 5])
    assert write_report([run], tmp_path / "out").warnings == ()


def test_runs_merge_only_if_comparable(tmp_path: Path) -> None:
    first = write(tmp_path / "first", made_run({"one": 0.5}))
    second = write(tmp_path / "second", made_run({"two": 0.5}))
    assert len(load_runs([first, second])[0]) == 16
    other = made_record(made_run({"three": 0.5})[0].cell, [True], image_px=224)
    third = write(tmp_path / "third", [other])
    with pytest.raises(ReportError, match="not comparable: image_px is 112 and 224"):
        load_runs([first, third])
    assert incomparable(made_run({"one": 0.5})) == []


def with_digests(records: list[CellRecord], **digests: str) -> list[CellRecord]:
    """The records with other content hashes."""
    return [
        record.model_copy(update={"digests": record.digests.model_copy(update=digests)}).sealed() for record in records
    ]


@pytest.mark.parametrize("part", ["readout", "head", "adaptation"])
def test_runs_with_other_code_of_the_same_part_are_not_ranked_together(tmp_path: Path, part: str) -> None:
    first = write(tmp_path / "first", with_digests(made_run({"one": 0.5}), **{part: "before"}))
    second = write(tmp_path / "second", with_digests(made_run({"two": 0.5}), **{part: "after"}))
    named = {"readout": "mean", "head": "mlp", "adaptation": "frozen"}[part]
    with pytest.raises(ReportError, match=f"not comparable: code of the {part} {named} is after and before"):
        load_runs([first, second])
    # Records of earlier versions do not say.
    third = write(tmp_path / "third", made_run({"three": 0.5}))
    assert len(load_runs([first, third])[0]) == 16


def test_runs_under_other_code_of_the_same_look_are_not_ranked_together() -> None:
    records = [
        with_digests([record.model_copy(update={"cell": shifted(record.cell)})], look=look)[0]
        for look, encoder in (("before", "one"), ("after", "two"))
        for record in made_run({encoder: 0.5})
    ]
    assert incomparable(records) == [
        f"look lighting:2 of {task} is after and before" for task in ("suite/one", "suite/two")
    ]


def test_policies_tried_elsewhere_are_not_ranked_with_those_that_were_trained_there() -> None:
    (there, *_), (elsewhere, *_) = made_run({"one": 0.5}), made_run({"two": 0.5})
    for update, told in (
        ({"trained_image_px": 224}, "trained_image_px is 224 and as evaluated"),
        ({"trained_render": "full"}, "trained_render is as evaluated and full"),
    ):
        other = elsewhere.model_copy(update={"settings": elsewhere.settings.model_copy(update=update)})
        assert incomparable([there, other]) == [told]
    train = elsewhere.cell.train.model_copy(update={"camera": "corner"})
    other = elsewhere.model_copy(update={"cell": elsewhere.cell.model_copy(update={"train": train})})
    (told,) = incomparable([there, other])
    assert told.startswith(f"training camera of {there.cell.task} ({there.cell.camera}) is ")


def shifted(cell: Cell) -> Cell:
    """The cell under another look."""
    return cell.model_copy(update={"evaluation": cell.evaluation.model_copy(update={"look": "lighting:2"})})


def test_a_reader_is_warned_where_runs_drew_their_pictures_by_other_renderers(tmp_path: Path) -> None:
    first = write(tmp_path / "first", with_digests(made_run({"one": 0.5}), renderer="llvmpipe"))
    second = write(tmp_path / "second", with_digests(made_run({"two": 0.5}), renderer="H100"))
    state = write(tmp_path / "state", made_run({"oracle": 1.0}))
    assert load_runs([first, state])[1] == ()
    (warning,) = load_runs([first, second, state])[1]
    assert warning.startswith("Several renderers drew the pictures, in slightly different pixels: H100 (two); llvmpipe")


def test_an_encoder_is_not_ranked_on_a_task_that_it_was_pretrained_on() -> None:
    seen = {"pretraining_tasks": ["suite/two", "suite/other"]}
    records = [
        record.model_copy(update={"provenance": record.provenance.model_copy(update={"encoder": seen})})
        if record.cell.encoder == "zoo"
        else record
        for record in made_run({"one": 0.9, "two": 0.2, "zoo": 0.95})
    ]
    analysis = analyse(records)
    assert [item.contender.encoder for item in analysis.ranking] == ["one", "two"]
    assert "zoo" in {point.contender.encoder for point in analysis.points}
    assert "Pretrained on pictures of suite/two: zoo. They have curves but no rank here." in analysis.warnings
    alone = analyse([record for record in records if record.cell.task == "suite/one"])
    assert {item.contender.encoder for item in alone.ranking} == {"one", "two", "zoo"}


def test_demonstrations_that_seeds_share_in_part_are_named() -> None:
    records = [
        record.model_copy(update={"settings": record.settings.model_copy(update={"demo_pool": 40})})
        for record in made_run({"one": 0.9, "two": 0.1})
    ]
    (warning,) = analyse(records).warnings
    assert warning.startswith("At N = 25 any two training seeds share 62% of their demonstrations on average")
