"""Records of probes -> one page with tables and pictures, and a CSV table. Works from records alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from pvrbench.benchmark.catalog import probes
from pvrbench.benchmark.probes.spec import ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure, ProbeRecord
from pvrbench.benchmark.records.probe_store import ProbeStore
from pvrbench.benchmark.records.store import RecordError
from pvrbench.benchmark.reporting.markup import render, table
from pvrbench.common.files import write_atomically

COLUMNS = ("task", "camera", "encoder", "probe", "measure", "of", "readout", "on", "value", "reference", "count")
PARTS = ("encoder", "task")
# Name of the row that shows answers which do not look at the picture.
REFERENCE = "(reference)"


def write_probe_report(run_dir: Path, output_dir: Path) -> None:
    """Writes `probes.html` and `probes.csv`.

    Args:
        run_dir: the folder of the probes.
        output_dir: where the files go.

    Raises:
        RecordError: there are no sound records of probes.
    """
    records, refusals = ProbeStore(run_dir).read()
    if not records:
        raise RecordError(f"{run_dir} holds no records of probes. `pvrbench probe` makes some.")
    output_dir.mkdir(parents=True, exist_ok=True)
    warnings = [f"{refusal.path.name} was refused: it {refusal.reason}." for refusal in refusals]
    write_atomically(output_dir / "probes.csv", measures_csv(records))
    write_atomically(output_dir / "probes.html", probe_page(records, warnings, run_dir.resolve().name))


def measures_csv(records: Sequence[ProbeRecord]) -> str:
    """All measures, a row for each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        for item in record.measures:
            reference = "" if item.reference is None else f"{item.reference:.5g}"
            place = (record.key.task, record.key.camera, record.key.encoder, record.key.probe)
            kind = (item.name, item.of, item.readout, item.on)
            writer.writerow((*place, *kind, f"{item.value:.5g}", reference, item.count))
    return text.getvalue()


def probe_page(records: Sequence[ProbeRecord], warnings: Sequence[str], name: str) -> str:
    """The whole page.

    Args:
        records: sound records.
        warnings: for the reader, shown at the top.
        name: of the run, for the title.
    """
    names = list(dict.fromkeys(record.key.probe for record in records))
    known = [probe for probe in probes() if probe in names]
    counts = {"probe": len(names)} | {part: len({getattr(item.key, part) for item in records}) for part in PARTS}
    template = files("pvrbench.benchmark.reporting") / "template"
    return render(
        "probes.html",
        title=f"Probes: {name}",
        lead=" · ".join(f"{count} {part}{'' if count == 1 else 's'}" for part, count in counts.items()),
        style=(template / "report.css").read_text(),
        warnings=warnings,
        sections=[
            _section(probe, [record for record in records if record.key.probe == probe])
            for probe in (*known, *(probe for probe in names if probe not in known))
        ],
        protocol=_protocol(records),
        version=records[0].provenance.version,
    )


def _section(probe: str, records: Sequence[ProbeRecord]) -> dict[str, object]:
    spec = probes().usable()[0].get(probe)
    header = [name for name in COLUMNS if name != "probe"]
    rows = [
        (record.key.task, record.key.camera, record.key.encoder, *_texts(item))
        for record in records
        for item in record.measures
    ]
    notes = {f"{record.key.encoder}: {note}" for record in records for note in record.notes}
    return {
        "name": probe,
        "description": "" if spec is None else f"{spec.description[0].upper()}{spec.description[1:]}.",
        "tables": _headlines(spec, records),
        "shots": [
            {"title": shot.title, "place": f"{record.key.encoder}, {record.key.task}", "jpeg": shot.jpeg}
            for record in records
            for shot in record.pictures
        ],
        "num_measures": len(rows),
        "measures": table(header, rows, caption=f"All measures of {probe}", first_number=7, heading=2),
        "notes": sorted(notes),
    }


def _texts(item: Measure) -> tuple[str, ...]:
    reference = "" if item.reference is None else f"{item.reference:.3f}"
    return item.name, item.of, item.readout, item.on, f"{item.value:.3f}", reference, str(item.count)


def _headlines(spec: ProbeSpec | None, records: Sequence[ProbeRecord]) -> list[dict[str, object]]:
    """The measure that stands for the probe: a table for each kind of frames, encoders by tasks, best mean first."""
    first = records[0].measures[0]
    name, of = (first.name, first.of) if spec is None or not spec.headline[0] else spec.headline
    kinds = dict.fromkeys(
        item.on for record in records for item in record.measures if (item.name, item.of) == (name, of)
    )
    return [
        {"heading": " · ".join(part for part in (name, of, on) if part), "table": _headline(records, (name, of, on))}
        for on in kinds
    ]


def _headline(records: Sequence[ProbeRecord], kind: tuple[str, str, str]) -> Markup:
    tasks = sorted({record.key.task for record in records})
    values: dict[str, dict[str, float]] = {}
    references: dict[str, list[float]] = {}
    for record in records:
        for item in record.measures:
            if (item.name, item.of, item.on) == kind:
                label = " · ".join(part for part in (record.key.encoder, item.readout) if part)
                values.setdefault(label, {})[record.key.task] = item.value
                if item.reference is not None:
                    references.setdefault(record.key.task, []).append(item.reference)
    means = {label: sum(found.values()) / len(found) for label, found in values.items() if len(found) == len(tasks)}
    rows = [
        (label, *(f"{found[task]:.3f}" if task in found else "" for task in tasks), _mean(means.get(label)))
        for label, found in sorted(values.items(), key=lambda item: -means.get(item[0], -1e9))
    ]
    if references:
        # Those of different encoders differ where they depend on the grid.
        middle = {task: sum(found) / len(found) for task, found in references.items()}
        rows.append((REFERENCE, *(f"{middle[task]:.3f}" if task in middle else "" for task in tasks), ""))
    return table(("encoder · readout", *tasks, "mean"), rows, caption=" ".join(kind), first_number=1)


def _mean(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _protocol(records: Sequence[ProbeRecord]) -> Markup:
    """What was fixed, by probe: settings that are the same for all records of it."""
    rows: list[tuple[str, str, str]] = []
    for probe in dict.fromkeys(record.key.probe for record in records):
        settings = [record.settings.model_dump() for record in records if record.key.probe == probe]
        for key, value in settings[0].items():
            values = list(dict.fromkeys(str(each[key]) for each in settings))
            rows.append(
                (probe, key, " or ".join(values) if len(values) < 4 else f"{len(values)} values, such as {value}")
            )
    return table(("probe", "setting", "value"), rows, caption="Settings of the probes", first_number=99)
