"""What stands in the sections and tables of the report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import Markup

from pvrbench.benchmark.analysis.comparison import load_runs
from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.ranking import ranking_latex
from pvrbench.benchmark.analysis.statistics import Analysis, Comparison, Contender, Ranked, analyse
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.reporting.cost import cost_rows, costs_of, measured_axes
from pvrbench.benchmark.reporting.markup import table
from pvrbench.benchmark.reporting.page import page
from pvrbench.benchmark.reporting.protocol import encoder_rows, protocol, provenance, title_of
from pvrbench.benchmark.reporting.report import markdown
from pvrbench.benchmark.reporting.section import heat, legacy, ranking, readouts

TOKEN, PATCHES = Contender("one", "class_token", "mlp"), Contender("one", "grid4", "mlp")


def ranked(who: Contender, score: float) -> Ranked:
    around = Interval(score, score - 0.1, score + 0.1)
    return Ranked(who, around, 1, 2, None, around, around)


@pytest.mark.parametrize("patches_first", [True, False])
def test_patches_are_compared_with_the_class_token_whichever_comes_first(patches_first: bool) -> None:
    pair = (PATCHES, TOKEN) if patches_first else (TOKEN, PATCHES)
    sign = 1 if patches_first else -1
    low, high = sorted((sign * 0.05, sign * 0.15))
    comparison = Comparison(*pair, Interval(sign * 0.1, low, high), 0.01, 0.02, 0.01, 0.9)
    analysis = Analysis((), (ranked(PATCHES, 0.6), ranked(TOKEN, 0.5)), (comparison,), ())
    text = readouts(analysis)
    assert '>+10.0</td><td class="number">+5.0</td><td class="number">+15.0</td><td class="number">0.02<' in text


def test_encoders_with_one_readout_each_have_no_such_section() -> None:
    other = Contender("two", "pooled", "mlp")
    assert readouts(Analysis((), (ranked(TOKEN, 0.5), ranked(other, 0.4)), (), ())) == ""


def test_the_ranking_draws_rank_sets_and_leaves_references_out(made_up_run: Path) -> None:
    analysis = analyse(load_runs([made_up_run])[0])
    text = ranking(analysis)
    rows = text.split("<tr>")[2:]
    assert len(rows) == len(analysis.ranking)
    for row, item in zip(rows, analysis.ranking, strict=True):
        assert row.count('class="bar"') == (1 if item.contender.is_reference else 2)
    assert ">head<" not in text, "one head needs no column"


def test_the_heat_map_says_what_was_not_run(made_up_run: Path) -> None:
    records, _ = load_runs([made_up_run])
    last = max(record.cell.num_demos for record in records)
    gone = [record for record in records if (record.cell.encoder, record.cell.num_demos) != ("pixels_7", last)]
    assert "not run" not in heat(analyse(records))
    assert heat(analyse(gone)).count("not run") == len({record.cell.task for record in records})


def moved(record: CellRecord, **settings: object) -> CellRecord:
    return record.model_copy(update={"settings": record.settings.model_copy(update=settings)})


def test_settings_and_versions_that_differ_are_told_with_their_owners(made_up_run: Path) -> None:
    records, _ = load_runs([made_up_run])
    first, second = sorted({record.cell.task for record in records})
    mixed = [moved(record, horizon=150 if record.cell.task == first else 200) for record in records]
    mixed = [
        record.model_copy(update={"provenance": record.provenance.model_copy(update={"device": "a GPU"})})
        if record.cell.encoder == "oracle"
        else record
        for record in mixed
    ]
    assert protocol(mixed)["horizon"] == f"150 ({first}); 200 ({second})"
    assert protocol(mixed)["image px"] == str(records[0].settings.image_px)
    assert "a GPU (oracle)" in provenance(mixed)["device"]
    text = markdown(analyse(mixed), mixed, ["said"])
    assert f"- horizon: 150 ({first}); 200 ({second})" in text
    assert "> **Warning.** said" in text


def test_reports_say_where_the_demonstrations_come_from(made_up_run: Path) -> None:
    records, _ = load_runs([made_up_run])
    first, second = sorted({record.cell.task for record in records})
    sources = {
        first: {"origin": "scripted", "source": None, "action_noise": 0.1, "end": "first_success"},
        second: {"origin": "imported", "source": "theirs.hdf5", "action_noise": None, "end": "hold_10"},
    }
    told = [
        record.model_copy(
            update={"provenance": record.provenance.model_copy(update={"demos": sources[record.cell.task]})}
        )
        for record in records
    ]
    assert provenance(told)["origin of demonstrations"] == (
        f"imported from theirs.hdf5, end hold_10 ({second}); scripted, action noise 0.1, end first_success ({first})"
    )
    assert "origin of demonstrations" not in provenance(records)


def test_what_is_recorded_of_encoders_is_told(made_up_run: Path) -> None:
    records, _ = load_runs([made_up_run])
    mark = {
        "licence": "CC BY-NC 4.0",
        "non_commercial": True,
        "paper": "none",
        "weights_sha256": 64 * "a",
        "options": {"layer": 3, "step": 200},
    }
    records[0] = records[0].model_copy(
        update={"provenance": records[0].provenance.model_copy(update={"encoder": mark})}
    )
    header, *rows = encoder_rows(records)
    assert header == ("encoder", "digest", "licence", "weights sha256", "options")
    marked = next(row for row in rows if row[0] == records[0].cell.encoder)
    assert marked[2:] == ("CC BY-NC 4.0 (non-commercial)", 16 * "a", "layer 3, step 200")


def test_costs_are_those_that_were_measured(made_up_run: Path) -> None:
    records, _ = load_runs([made_up_run])
    analysis = analyse(records)
    costs = costs_of(analysis, records)
    assert {cost.contender.encoder for cost in costs} == {"pixels_14", "pixels_7"}
    assert costs[0].values == {"tile": 1.5, "alone": None, "flops": 10**6, "frozen": 1000, "trained": 9, "peak": None}
    assert cost_rows(costs)[1][2:] == ("1.5", "1 M", "1 k", "9")
    unmeasured = [record.model_copy(update={"timing": {}}) for record in records]
    assert "tile" not in measured_axes(costs_of(analysis, unmeasured))


def test_each_head_has_its_own_trained_parameters(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    records, _ = load_runs([make_run(tmp_path / "run", "heads=[mlp,linear]")])
    sizes = {"mlp": 900, "linear": 30}
    records = [
        record.model_copy(update={"cost": record.cost.model_copy(update={"head_params": sizes[record.cell.head]})})
        for record in records
    ]
    costs = costs_of(analyse(records), records)
    assert {(cost.contender.head, cost.values["trained"]) for cost in costs} == set(sizes.items())


def test_text_is_escaped_and_markup_is_not() -> None:
    assert "<td>&lt;b&gt;</td><td><i></i></td>" in table(
        ["a", "b", "c"], [["x", "<b>", Markup("<i></i>")]], caption="", first_number=9
    )
    assert "&lt;i&gt;" in table(["<i>"], [["x"]], caption='"', first_number=1)
    assert 'aria-label="&#34;"' in table(["a"], [["x"]], caption='"', first_number=1)


def test_the_latex_table_escapes_names_and_sets_references_apart() -> None:
    odd = Contender("m_1-2:50%\\evil{$}&~^#", "mean", "mlp")
    analysis = Analysis((), (ranked(Contender("oracle", "pooled", "mlp"), 0.9), ranked(odd, 0.5)), (), ())
    text = ranking_latex(analysis)
    _, first, second, third = re.split(r"\\(?:top|mid)rule\n", text)
    assert first.startswith("rank & encoder $\\cdot$ readout")
    assert second.startswith(
        r"1--2 & m\_1-2:50\%\textbackslash{}evil\{\$\}\&\textasciitilde{}\textasciicircum{}\# $\cdot$ mean & mlp & "
    )
    assert third.startswith("ref. & oracle")
    assert all(row.count(" & ") == 5 and row.endswith(r" \\") for row in (first + second + third).splitlines()[:3])


def test_where_an_original_reports_the_best_checkpoint_the_report_says_that_it_was_not_evaluated(
    made_up_run: Path,
) -> None:
    plain = load_runs([made_up_run])[0]
    assert legacy(plain) == ""
    assert "Maximum over checkpoints" not in markdown(analyse(plain), plain, ())
    deviation = next(item for item in compose_config(["preset=r3m"]).deviations if item.of == "checkpoint")
    records = [
        record.model_copy(update={"settings": record.settings.model_copy(update={"deviations": (deviation,)})})
        for record in plain
    ]
    for text in (legacy(records), markdown(analyse(records), records, ())):
        assert "Not evaluated in these runs." in text
        assert "the original: the maximum over 20 evaluations (reads lower here, by at most 14 points" in text


def test_a_hostile_name_is_text_in_every_section(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    evil = "</script><script>window.owned=1</script><img src=x onerror='owned=1'>\"'&amp;{{ 7 * 7 }}"
    records, _ = load_runs([make_run(tmp_path / "run", "readouts=[pooled,mean]")])
    records = [
        record.model_copy(
            update={
                "cell": record.cell.model_copy(update={"train": record.cell.train.model_copy(update={"encoder": evil})})
            }
        )
        if record.cell.encoder == "pixels_7"
        else record
        for record in records
    ]
    analysis = analyse(records)
    assert evil in {item.contender.encoder for item in analysis.ranking}
    text = page(analysis, records, [evil], [], tmp_path, [evil])
    assert "<img" not in text
    assert "window.owned=1</script>" not in text
    assert "&#34;&#39;&amp;amp;{{ 7 * 7 }}" in text
    assert text.count("<script") == text.count("</script>") == 3


def test_titles_name_the_runs(made_up_run: Path) -> None:
    records, _ = load_runs([made_up_run])
    assert title_of(records, ["mine", "other"]).startswith("mine, other (quickstart): ")
    assert (
        title_of(records, ["quickstart"]) == title_of(records) == "quickstart: success against number of demonstrations"
    )


def test_one_seed_shows_no_rank_sets(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    records, _ = load_runs([make_run(tmp_path / "run", "seeds=[0]")])
    text = ranking(analyse(records))
    assert text.count("not known") == 2
    # Of the two bars of a row only the interval of the score is left.
    assert text.count('class="bar"') == 4
