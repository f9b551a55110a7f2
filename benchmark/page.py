"""Statistics -> one self-contained HTML page: figures to hover and toggle, tables, videos, protocol, provenance.

The page carries its data as JSON; `template/report.js` draws them with Plotly. Nothing is requested from anywhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from benchmark.legacy import inflations
from benchmark.ranking import conclusions, text_rows
from benchmark.records import CellRecord
from benchmark.statistics import Analysis, Contender
from benchmark.style import COLOURS, PLOTLY_SYMBOLS, styles_of

# Videos are carried within the page up to this size in all; the rest is named.
VIDEO_BUDGET_BYTES = 12 * 2**20

COST_AXES: Mapping[str, str] = {
    "ms": "encoder time, ms a frame in a full tile",
    "flops": "encoder operations a frame",
    "params": "frozen parameters",
}

Json = Mapping[str, object]


def page(analysis: Analysis, records: Sequence[CellRecord], warnings: Sequence[str], video_dirs: Sequence[Path]) -> str:
    """The whole page.

    Args:
        analysis: of the records.
        records: sound and comparable ones.
        warnings: what the reader must know.
        video_dirs: folders with videos and their `index.json`; those that do not exist are passed over.
    """
    sections = [
        ("results", "Success against demonstrations", _curves(analysis)),
        ("ranking", "Ranking", _ranking(analysis)),
        ("readouts", "Class token or patches", _readouts(analysis)),
        ("tasks", "By task", _heat(analysis)),
        ("cost", "Success against cost", _cost()),
        ("pairs", "Paired differences", _pairs(analysis)),
        ("checkpoints", "Maximum over checkpoints (legacy)", _legacy(records)),
        ("videos", "Episodes", _videos(video_dirs)),
        ("protocol", "Protocol", _protocol(records)),
        ("provenance", "Provenance", _provenance(records)),
    ]
    shown = [(name, title, body) for name, title, body in sections if body]
    template = files("benchmark") / "template"
    title = f"{records[0].settings.preset}: success against number of demonstrations"
    return Template((template / "report.html").read_text()).substitute(
        title=escape(title),
        style=(template / "report.css").read_text(),
        navigation=" ".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in shown),
        warnings="\n".join(f'<p class="warning" role="note">{escape(text)}</p>' for text in warnings),
        sections="\n".join(
            f'<section id="{name}" aria-labelledby="{name}-heading"><h2 id="{name}-heading">{escape(heading)}</h2>'
            f"{body}</section>"
            for name, heading, body in shown
        ),
        version=escape(records[0].provenance.version),
        # `<` could end the script element or begin a comment in it.
        data=json.dumps(_data(analysis, records), allow_nan=False).replace("<", "\\u003c"),
        plotly=_plotly(),
        script=(template / "report.js").read_text(),
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # pyright: ignore[reportUnknownVariableType]

    return get_plotlyjs()


def _data(analysis: Analysis, records: Sequence[CellRecord]) -> Json:
    """What the figures show."""
    styles = styles_of(analysis)
    number = {who: index for index, who in enumerate(styles)}
    several_heads = len({who.head for who in styles}) > 1
    labels = {who: f"{who.label} ({who.head})" if several_heads else who.label for who in styles}
    points = [
        {
            "id": number[point.contender],
            "task": point.task,
            "num_demos": point.num_demos,
            "success": point.success.estimate,
            "low": point.success.low,
            "high": point.success.high,
            "num_episodes": point.num_episodes,
        }
        for point in sorted(analysis.points, key=lambda point: (number[point.contender], point.num_demos))
    ]
    ranked = [item for item in analysis.ranking if not item.contender.is_reference]
    return {
        "colours": COLOURS,
        "symbols": PLOTLY_SYMBOLS,
        "contenders": [
            {
                "id": number[who],
                "label": labels[who],
                "colour": style.colour,
                "dash": style.plotly_dash,
                "symbol": style.plotly_symbol,
            }
            for who, style in styles.items()
        ],
        "points": points,
        "readouts": [
            {
                "id": number[item.contender],
                "encoder": item.contender.encoder,
                "readout": f"{item.contender.readout} ({item.contender.head})"
                if several_heads
                else item.contender.readout,
                "score": item.score.estimate,
                "low": item.score.low,
                "high": item.score.high,
            }
            for item in ranked
        ],
        "costs": [
            {"id": number[item.contender], "label": labels[item.contender], "score": item.score.estimate}
            | _cost_of(item.contender, records)
            for item in ranked
        ],
        "heat": _heat_data(analysis, number, labels),
    }


def _cost_of(who: Contender, records: Sequence[CellRecord]) -> dict[str, float | None]:
    record = next(item for item in records if (item.cell.encoder, item.cell.readout) == (who.encoder, who.readout))
    return {
        "ms": record.timing.get("encoder_ms_in_tile"),
        "flops": record.cost.flops_per_frame,
        "params": record.cost.encoder_params,
    }


def _heat_data(analysis: Analysis, number: Mapping[Contender, int], labels: Mapping[Contender, str]) -> Json:
    most = max((point.num_demos for point in analysis.points), default=0)
    rates = {
        (point.contender, point.task): point.success.estimate for point in analysis.points if point.num_demos == most
    }
    tasks = sorted({point.task for point in analysis.points if point.task is not None})
    return {
        "tasks": tasks,
        "rows": [
            {"id": index, "label": labels[who], "values": [rates.get((who, task)) for task in tasks]}
            for who, index in number.items()
        ],
    }


def _curves(analysis: Analysis) -> str:
    tasks: list[str | None] = [*sorted({point.task for point in analysis.points if point.task is not None})]
    if len(tasks) > 1 and any(point.task is None for point in analysis.points):
        tasks.insert(0, None)
    boxes = "".join(
        f'<label><input type="checkbox" value="{index}" checked><span class="swatch"></span>{escape(who.label)}'
        f"{f' ({escape(who.head)})' if len({item.head for item in styles_of(analysis)}) > 1 else ''}</label>"
        for index, who in enumerate(styles_of(analysis))
    )
    plots = "".join(
        f'<div class="plot" data-kind="curves" data-task="{escape(task or "")}" role="img" '
        f'aria-label="Success against number of demonstrations, {escape(task or "mean over tasks")}; '
        'the numbers stand in the table below"></div>'
        for task in tasks
    )
    rows = [
        (
            point.contender.label,
            point.contender.head,
            point.task or "mean over tasks",
            str(point.num_demos),
            *(f"{100 * value:.1f}" for value in (point.success.estimate, point.success.low, point.success.high)),
            str(point.num_episodes),
        )
        for point in analysis.points
    ]
    header = ("encoder · readout", "head", "task", "N", "success, %", "low", "high", "episodes")
    return (
        f'<div id="controls"><fieldset><legend>Shown</legend>{boxes}</fieldset></div>'
        f'<div class="plots">{plots}</div><p class="faint">Bands are 95 % intervals.</p>'
        f"<details><summary>The numbers</summary>{_table(header, rows, first_number=3)}</details>"
    )


def _ranking(analysis: Analysis) -> str:
    header, *rows = text_rows(analysis)
    if not rows:
        return ""
    said = "".join(f"<p>{escape(line)}</p>" for line in conclusions(analysis))
    return (
        f"{_table(header, rows, first_number=3)}{said}"
        '<p class="faint">The score is the area under success against log N, averaged over tasks. A set of ranks says '
        "that no more can be concluded. The gain puts proprio at 0 and oracle at 100.</p>"
    )


def _readouts(analysis: Analysis) -> str:
    readouts: dict[str, set[str]] = {}
    for item in analysis.ranking:
        if not item.contender.is_reference:
            readouts.setdefault(item.contender.encoder, set()).add(item.contender.readout)
    if not any(len(found) > 1 for found in readouts.values()):
        return ""
    return _plot("readouts", "Score of each readout of each encoder") + (
        '<p class="faint">Readouts of one encoder in one row: what its class token, mean and patches let a robot '
        "learn.</p>"
    )


def _heat(analysis: Analysis) -> str:
    return _plot("heat", "Success on each task at the largest N") if analysis.points else ""


def _cost() -> str:
    options = "".join(f'<option value="{name}">{escape(text)}</option>' for name, text in COST_AXES.items())
    return (
        f'<label>Cost: <select id="cost-axis">{options}</select></label>'
        + _plot("cost", "Score against cost of the encoder, with the Pareto front")
        + '<p class="faint">Times are those of the machine that ran the cells; encoders without an image cost '
        "nothing.</p>"
    )


def _plot(kind: str, label: str) -> str:
    return f'<div class="plot wide" data-kind="{kind}" role="img" aria-label="{escape(label)}"></div>'


def _pairs(analysis: Analysis) -> str:
    rows = [
        (
            f"{item.first.label} - {item.second.label}",
            f"{100 * item.difference.estimate:.1f} [{100 * item.difference.low:.1f}, {100 * item.difference.high:.1f}]",
            f"{item.adjusted_p_value:.3g}",
            f"{100 * item.probability_of_improvement:.0f}",
        )
        for item in analysis.comparisons
    ]
    header = ("pair", "difference, points [95 %]", "p, Holm", "probability of improvement, %")
    return _table(header, rows, first_number=1) if rows else ""


def _legacy(records: Sequence[CellRecord]) -> str:
    rows = [
        (
            f"{item.encoder} · {item.readout}",
            item.head,
            str(item.num_demos),
            f"{100 * item.last:.1f}",
            f"{100 * item.maximum:.1f}",
            f"{100 * (item.maximum - item.last):.1f}",
        )
        for item in inflations(records)
    ]
    header = ("encoder · readout", "head", "N", "last update, %", "maximum, %", "inflation, points")
    note = "<p>Older protocols report the best of several evaluations; it reads too high and is never ranked here.</p>"
    return note + _table(header, rows, first_number=2) if rows else ""


def _videos(folders: Sequence[Path]) -> str:
    found: list[tuple[str, str]] = []
    left, left_out = VIDEO_BUDGET_BYTES, 0
    for folder in folders:
        index = folder / "index.json"
        entries: list[dict[str, object]] = json.loads(index.read_text()) if index.exists() else []
        # One initial state after the other, its encoders side by side.
        entries.sort(key=lambda entry: (str(entry["task"]), str(entry["episode_index"]), str(entry["encoder"])))
        for entry in entries:
            path = folder / Path(str(entry["file"])).name
            size = path.stat().st_size if path.is_file() else left + 1
            if size > left:
                left_out += 1
                continue
            left -= size
            words = f"{entry['encoder']} · {entry['readout']}, N = {entry['num_demos']}: " + (
                "solved" if entry["success"] else "not solved"
            )
            place = f"{entry['task']} ({entry['camera']}), initial state {entry['episode_index']}"
            source = base64.b64encode(path.read_bytes()).decode()
            video = (
                f'<video controls muted loop playsinline preload="metadata" aria-label="{escape(f"{place}: {words}")}" '
                f'src="data:video/mp4;base64,{source}"></video>'
            )
            found.append((place, f"<figure>{video}<figcaption>{escape(words)}</figcaption></figure>"))
    text = ""
    for place in dict.fromkeys(place for place, _ in found):
        clips = "".join(clip for where, clip in found if where == place)
        text += f'<h3>{escape(place)}</h3><div class="videos">{clips}</div>'
    if left_out:
        text += f'<p class="faint">{left_out} videos are left out of the page for its size; they lie beside it.</p>'
    return text


def _protocol(records: Sequence[CellRecord]) -> str:
    settings = records[0].settings.model_dump(mode="json", exclude={"deviations", "train"})
    heads = {record.cell.head: record.settings.train for record in records}
    rows = {key.replace("_", " "): value for key, value in settings.items()}
    rows["checkpoint"] = "the parameters of the last update"
    rows |= {f"training of {head}": _words(train) for head, train in sorted(heads.items())}
    deviations = list(dict.fromkeys(text for record in records for text in record.settings.deviations))
    listed = "".join(f"<li>{escape(text)}</li>" for text in deviations)
    return _definitions(rows) + (f"<h3>Where it departs from its original</h3><ul>{listed}</ul>" if listed else "")


def _provenance(records: Sequence[CellRecord]) -> str:
    first = records[0].provenance
    rows: dict[str, object] = {
        "pvrbench": f"{first.version}, commit {first.commit or 'unknown'}",
        "packages": _words(first.packages),
        "platform": f"{first.platform}, Python {first.python}",
        "device": " / ".join(sorted({record.provenance.device for record in records})),
        "OpenGL": " / ".join(sorted({record.provenance.gl for record in records} - {""})) or "not used",
        "records": f"{len(records)} cells, {sum(len(record.episodes) for record in records)} episodes",
    }
    rows |= {f"initial states of {record.cell.task}": record.digests.initial_states[:16] for record in records}
    rows |= {f"demonstrations of {record.cell.task}": record.digests.demos[:16] for record in records}
    rows |= {f"encoder {record.cell.encoder}": _encoder_words(record) for record in records}
    return _definitions(rows)


def _encoder_words(record: CellRecord) -> str:
    facts = {key: value for key, value in record.provenance.encoder.items() if value not in ("", "none", None)}
    return f"{record.digests.encoder[:16]}{'; ' if facts else ''}{_words(facts)}"


def _words(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())


def _definitions(rows: Mapping[str, object]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>' for key, value in rows.items())}</dl>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], first_number: int) -> str:
    """A table whose columns from `first_number` on hold numbers."""

    def kind(column: int) -> str:
        return ' class="number"' if column >= first_number else ""

    head = "".join(f'<th scope="col"{kind(column)}>{escape(text)}</th>' for column, text in enumerate(header))
    body = "".join(
        f"<tr>{''.join(f'<td{kind(column)}>{escape(text)}</td>' for column, text in enumerate(row))}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table, scrolls sideways"><table><thead><tr>{head}'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )
