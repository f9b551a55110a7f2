"""Records of imaginations -> one page with tables, curves and pictures, and CSV tables. Works from records alone."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pvrbench.benchmark.analysis.estimates import Interval
from pvrbench.benchmark.analysis.imagination import (
    Curves,
    ImaginationAnalysis,
    Imaginer,
    Success,
    analyse_imaginations,
)
from pvrbench.benchmark.analysis.prediction import Prediction
from pvrbench.benchmark.records.imagination_schema import ImaginationRecord
from pvrbench.benchmark.records.imagination_store import ImaginationStore
from pvrbench.benchmark.records.store import RecordError
from pvrbench.benchmark.reporting.markup import render, table
from pvrbench.benchmark.reporting.style import COLOURS, GREY, MARKERS
from pvrbench.common.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Horizons in the tables of the page, in blocks.
SHOWN = (1, 3, 5, 10)
CURVE_COLUMNS = (
    *("task", "imaginer", "horizon", "share", "share_low", "share_high", "state_cm", "state_cm_low", "state_cm_high"),
    *("encoded_cm", "compounded_cm", "copied_cm", "latent", "bound"),
)
SUCCESS_COLUMNS = ("task", "encoder", "model", "projection", "seed", "index", "state_seed", "success", "num_steps")


def write_imagination_report(run_dir: Path, output_dir: Path) -> None:
    """Writes `imagination.html`, `curves.csv` and `plans.csv`.

    Args:
        run_dir: the folder of the imaginations.
        output_dir: where the files go.

    Raises:
        RecordError: there are no sound records.
    """
    records, refusals = ImaginationStore(run_dir).read()
    if not records:
        raise RecordError(f"{run_dir} holds no records of imaginations. `pvrbench imagine` makes some.")
    analysis = analyse_imaginations(records)
    output_dir.mkdir(parents=True, exist_ok=True)
    warnings = [f"{refusal.path.name} was refused: it {refusal.reason}." for refusal in refusals]
    write_atomically(output_dir / "curves.csv", _csv(CURVE_COLUMNS, _curve_rows(analysis.curves)))
    write_atomically(output_dir / "plans.csv", _csv(SUCCESS_COLUMNS, _plan_rows(records)))
    page = imagination_page(records, analysis, warnings, run_dir.resolve().name)
    write_atomically(output_dir / "imagination.html", page)


def imagination_page(
    records: Sequence[ImaginationRecord], analysis: ImaginationAnalysis, warnings: Sequence[str], name: str
) -> str:
    """The whole page.

    Args:
        records: sound records.
        analysis: their estimates.
        warnings: for the reader, shown at the top.
        name: of the run, for the title.
    """
    tasks = list(dict.fromkeys(item.task for item in analysis.curves))
    template = files("pvrbench.benchmark.reporting") / "template"
    keys = [record.key for record in records]
    counts = {"task": len({key.task for key in keys}), "encoder": len({key.encoder for key in keys})}
    counts["seed"] = len({key.seed for key in keys})
    return render(
        "imagination.html",
        title=f"Imagination: {name}",
        lead=" · ".join(f"{count} {part}{'' if count == 1 else 's'}" for part, count in counts.items()),
        style=(template / "report.css").read_text(),
        warnings=[*warnings, *analysis.warnings],
        summary=summary_of(analysis.success),
        dropped=[
            f"{task} counts neither in the mean nor in the ranks: {reason}."
            for task, reason in analysis.dropped.items()
        ],
        success=_success_table(analysis.success),
        relations=_relations_table(analysis.relations),
        sections=[_section(task, analysis, records) for task in tasks],
        protocol=_protocol(records),
        version=records[0].provenance.version,
    )


def summary_of(success: Sequence[Success]) -> str:
    """What planning says, in plain words; empty where nothing was planned."""
    competing = [(item, item.overall) for item in success if not item.who.is_reference and item.overall is not None]
    if not competing:
        return ""
    best, overall = competing[0]
    text = f"{best.who.label} plans best: it solves {_percent(overall)} % of the pairs of start and goal."
    if len(competing) == 1:
        return text
    if best.worst_rank is None:
        return f"{text} No ranks are given; the warnings say why."
    if best.worst_rank == len(competing):
        return f"{text} It is not significantly better than any of the {len(competing) - 1} others."
    return f"{text} It is significantly better than {len(competing) - best.worst_rank} of {len(competing) - 1} others."


def _percent(interval: Interval) -> str:
    return f"{100 * interval.estimate:.0f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _success_table(success: Sequence[Success]) -> Markup | str:
    if not success:
        return ""
    tasks = sorted({task for item in success for task in item.by_task})
    rows = [
        (
            item.who.label,
            "" if item.best_rank is None else f"{item.best_rank} to {item.worst_rank}",
            "" if item.overall is None else _percent(item.overall),
            *(_percent(item.by_task[task]) if task in item.by_task else "" for task in tasks),
        )
        for item in success
    ]
    header = ("encoder · model", "rank", "success, %", *tasks)
    return table(header, rows, caption="Planning success with 95 % intervals", first_number=1)


def _relations_table(relations: Mapping[str, Prediction]) -> Markup | str:
    if not relations:
        return ""
    rows = [
        (
            kind,
            _number(found.kendall),
            _number(found.pearson),
            f"{100 * found.violation.estimate:.0f}",
            str(found.num_contenders),
        )
        for kind, found in relations.items()
    ]
    header = ("error", "Kendall", "Pearson", "MMRV, points", "contenders")
    return table(header, rows, caption="Error and planning success", first_number=1)


def _section(task: str, analysis: ImaginationAnalysis, records: Sequence[ImaginationRecord]) -> dict[str, object]:
    curves = sorted((item for item in analysis.curves if item.task == task), key=lambda item: item.share[-1].estimate)
    shown = [step for step in SHOWN if step <= len(curves[0].share)]
    header = ("encoder · model", *(f"h = {step}" for step in shown))
    shares = [
        (item.who.label, *(f"{_number(item.share[step - 1])}" for step in shown)) for item in curves
    ]  # fmt: skip
    centimetres = [
        (item.who.label, *(_number(item.state_cm[step - 1]) for step in shown)) for item in curves if item.state_cm
    ]
    last = len(curves[0].share) - 1
    parts = [
        (
            item.who.label,
            *(f"{value:.2f}" for value in (item.encoded_cm[last], item.compounded_cm[last], item.copied_cm[last])),
            *(f"{value:.2f}" for value in (item.epsilon, item.lipschitz, item.latent[last], item.bound[last])),
        )
        for item in curves
    ]
    split = (
        *("encoder · model", "encoding, cm", "compounding, cm", "no change, cm"),
        *("one step ε", "L", "latent error", "bound"),
    )
    return {
        "name": task,
        "id": task.replace("/", "-").replace(" ", "-").replace("(", "").replace(")", ""),
        "figure": _figure(curves),
        "shares": table(header, shares, caption="Error as a share of that of no change", first_number=1),
        "centimetres": table(header, centimetres, caption="Error in centimetres", first_number=1)
        if centimetres
        else "",
        "split": table(split, parts, caption=f"Parts of the error at h = {last + 1}", first_number=1),
        "shots": [
            {
                "title": shot.title,
                "place": Imaginer(record.key.encoder, record.key.model, record.key.projection).label
                + f", seed {record.key.seed}",
                "jpeg": shot.jpeg,
            }
            for record in records
            if f"{record.key.task} ({record.key.camera})" == task
            for shot in record.pictures
        ],
    }


def _number(interval: Interval) -> str:
    return f"{interval.estimate:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _figure(curves: Sequence[Curves]) -> str:
    """Error curves of one task as a PNG in base64: shares, centimetres, and the bound beside the measured error."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pyplot: Any = plt
    with mpl.rc_context({"font.size": 8}):
        figure, grid = pyplot.subplots(1, 3, figsize=(11, 3.4))
        axes: list[Axes] = list(grid.flat)
        number = 0
        for item in sorted(curves, key=lambda each: each.who):
            colour, marker = GREY, "."
            if not item.who.is_reference:
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                number += 1
            dash = ":" if item.who.encoder == "proprio" else "--" if item.who.is_reference else "-"
            line: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "markerfacecolor": "white" if item.who.model == "linear" else colour,
                "linestyle": dash,
                "markersize": 3.5,
                "linewidth": 1.2,
            }
            steps = range(1, len(item.share) + 1)
            axes[0].plot(steps, [each.estimate for each in item.share], label=item.who.label, **line)
            axes[0].fill_between(
                steps, [each.low for each in item.share], [each.high for each in item.share], color=colour, alpha=0.15
            )
            if item.state_cm:
                axes[1].plot(steps, [each.estimate for each in item.state_cm], **line)
                low, high = [each.low for each in item.state_cm], [each.high for each in item.state_cm]
                axes[1].fill_between(steps, low, high, color=colour, alpha=0.15)
            axes[2].plot(steps, item.latent, **line)
            axes[2].plot(steps, item.bound, color=colour, linestyle="-.", linewidth=0.8, alpha=0.7)
        titles = ("error / error of no change", "positions read off the latent, cm", "latent error, and its bound (-·)")
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title, fontsize=8)
            axis.set_xlabel("horizon, blocks")
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].axhline(1.0, color="#444444", linewidth=0.8)
        axes[1].set_ylim(bottom=0)
        largest = max((max(item.latent) for item in curves), default=1.0)
        axes[2].set_ylim(0, 3 * largest)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncol=4, frameon=False, fontsize=7)
        figure.tight_layout(rect=(0, 0.06 * (1 + len(curves) // 4), 1, 1))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
        pyplot.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def _protocol(records: Sequence[ImaginationRecord]) -> Markup:
    settings = records[0].settings
    values = settings.model_dump(mode="json", exclude={"imagination"}) | dict(settings.imagination)
    values["processor"] = records[0].provenance.device
    rows = [(key, str(value)) for key, value in values.items()]
    return table(("setting", "value"), rows, caption="Settings", first_number=99)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _curve_rows(curves: Sequence[Curves]) -> Iterable[Sequence[object]]:
    for item in curves:
        for place, share in enumerate(item.share):
            state = item.state_cm[place] if item.state_cm else None
            of_state = ("", "", "") if state is None else (state.estimate, state.low, state.high)
            numbers = (
                *(share.estimate, share.low, share.high, *of_state),
                *(item.encoded_cm[place], item.compounded_cm[place], item.copied_cm[place]),
                *(item.latent[place], item.bound[place]),
            )
            texts = [number if isinstance(number, str) else f"{number:.5g}" for number in numbers]
            yield (item.task, item.who.label, place + 1, *texts)


def _plan_rows(records: Sequence[ImaginationRecord]) -> Iterable[Sequence[object]]:
    for record in records:
        key = record.key
        for each in record.episodes:
            place = (key.task, key.encoder, key.model, key.projection, key.seed)
            yield (*place, each.index, each.seed, int(each.success), each.num_steps)
