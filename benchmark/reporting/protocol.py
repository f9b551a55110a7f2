"""How the records of a report were made: the protocol, its deviations, the encoders and the provenance.

Where records differ, as tasks do in their horizon, each value is given with its owners.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pvrbench.benchmark.analysis.comparison import OF_ADAPTATION, OF_HEAD
from pvrbench.benchmark.records.schema import CellRecord, Deviation, Settings

# Characters of a content hash that are shown.
HASH_LENGTH = 16


def title_of(records: Sequence[CellRecord], run_names: Sequence[str] = ()) -> str:
    """`my_run (standard): success against number of demonstrations`; the preset alone where it is the run's name."""
    preset = records[0].settings.preset
    runs = ", ".join(dict.fromkeys(run_names))
    return f"{f'{runs} ({preset})' if runs not in ('', preset) else preset}: success against number of demonstrations"


def with_owners(
    records: Sequence[CellRecord], value: Callable[[CellRecord], object], owner: Callable[[CellRecord], str]
) -> str:
    """The one value of all records, or each value with its owners: `150 (lift, push); 200 (stack)`."""
    owners: dict[str, set[str]] = {}
    for record in records:
        owners.setdefault(str(value(record)), set()).add(owner(record))
    if len(owners) == 1:
        return next(iter(owners))
    return "; ".join(f"{text} ({', '.join(sorted(names))})" for text, names in sorted(owners.items()))


def protocol(records: Sequence[CellRecord]) -> dict[str, str]:
    """The settings by name, and how each head was trained."""
    names = [name for name in Settings.model_fields if name not in (*OF_HEAD, *OF_ADAPTATION, "deviations")]

    def setting(name: str) -> str:
        return with_owners(records, lambda record: getattr(record.settings, name), lambda record: record.cell.task)

    rows = {name.replace("_", " "): setting(name) for name in names}
    rows["checkpoint"] = "the last update"
    rows["cells"] = f"{len(records)}, with {sum(len(record.episodes) for record in records)} episodes in total"
    # Records that differ in the settings of one head are not reported together.
    heads = {record.cell.head: record.settings for record in records}
    for head in sorted(heads):
        if heads[head].variant_of:
            rows[head] = f"a variant of {heads[head].variant_of}"
        rows[f"training of {head}"] = words(heads[head].train)
        if heads[head].head_options:
            rows[f"options of {head}"] = words(heads[head].head_options)
    adapted = {record.cell.adaptation: record.settings.adaptation_options for record in records}
    rows |= {f"options of {name}": words(options) for name, options in sorted(adapted.items()) if options}
    return rows


def variants(records: Sequence[CellRecord]) -> list[str]:
    """A line for each head that is not in the catalog: what it is a variant of, and its settings."""
    heads = {record.cell.head: record.settings for record in records}
    return [
        f"{head} is a variant of {heads[head].variant_of}: {words(heads[head].head_options)}; trained with "
        f"{words(heads[head].train)}."
        for head in sorted(heads)
        if heads[head].variant_of
    ]


def deviations(records: Sequence[CellRecord]) -> list[Deviation]:
    """How the protocol deviates from the published one it is named after, and the runs from the protocol."""
    return list(dict.fromkeys(item for record in records for item in record.settings.deviations))


def provenance(records: Sequence[CellRecord]) -> dict[str, str]:
    """Versions, hardware and content hashes by name."""

    def from_where(value: Callable[[CellRecord], object]) -> str:
        return with_owners(records, value, lambda record: record.cell.encoder)

    seen = [record for record in records if record.provenance.gl]
    rows = {
        "pvrbench": from_where(
            lambda record: f"{record.provenance.version}, commit {record.provenance.commit or 'unknown'}"
        ),
        "packages": from_where(lambda record: words(record.provenance.packages)),
        "platform": from_where(lambda record: f"{record.provenance.platform}, Python {record.provenance.python}"),
        "device": from_where(lambda record: record.provenance.device),
        "frames in an encoder call": from_where(lambda record: record.provenance.tile),
        "precision of encoders": from_where(lambda record: record.provenance.encoder.get("precision", "float32")),
        "OpenGL": with_owners(seen, lambda record: record.provenance.gl, lambda record: record.cell.encoder)
        if seen
        else "not used",
    }
    digests = {record.cell.task: record.digests for record in records}
    rows |= {f"initial states of {task}": digests[task].initial_states[:HASH_LENGTH] for task in sorted(digests)}
    rows |= {f"demonstrations of {task}": digests[task].demos[:HASH_LENGTH] for task in sorted(digests)}
    collected = [record for record in records if record.provenance.demos]
    if collected:
        rows["origin of demonstrations"] = with_owners(
            collected, lambda record: _origin(record.provenance.demos), lambda record: record.cell.task
        )
    return rows


def _origin(demos: Mapping[str, object]) -> str:
    """`scripted, action noise 0.1, end first_success`, or what they were imported from."""
    origin = f"imported from {demos['source']}" if demos.get("source") else str(demos.get("origin", "unknown"))
    return f"{origin}, {words({key: demos[key] for key in ('action_noise', 'end') if demos.get(key) is not None})}"


def encoder_rows(records: Sequence[CellRecord]) -> list[tuple[str, ...]]:
    """Header and rows: what is recorded of each encoder, and the digest of what ran; empty columns are left out."""
    facts = {record.cell.encoder: _facts(record) for record in reversed(records)}
    names = dict.fromkeys(key for found in facts.values() for key in found)
    shown = [name for name in names if any(found.get(name) for found in facts.values())]
    header = ("encoder", *(name.replace("_", " ") for name in shown))
    return [header, *((who, *(facts[who].get(name, "") for name in shown)) for who in sorted(facts))]


def _facts(record: CellRecord) -> dict[str, str]:
    found = {"digest": record.digests.encoder[:HASH_LENGTH]}
    for key, value in record.provenance.encoder.items():
        match key, value:
            case "non_commercial" | "pretraining_tasks", _:
                continue
            case "licence", str() if record.provenance.encoder.get("non_commercial"):
                found[key] = f"{value} (non-commercial)"
            case "weights_sha256", str():
                found[key] = value[:HASH_LENGTH]
            case _, dict():
                found[key] = words(value)
            case _, None | "none":
                found[key] = ""
            case _:
                found[key] = str(value)
    return found


def words(values: Mapping[str, object]) -> str:
    """`learning rate 0.001, optimizer adam`."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
