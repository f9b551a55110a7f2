"""What a report says of its records' making: the protocol, its deviations, the encoders and the provenance.

Where records differ, as tasks do in their horizon, each value is given with those it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmark.records import CellRecord, Settings

OF_HEAD = ("train", "head_options")

ENCODER_FACTS = ("objective", "licence", "pretraining_data", "weights", "paper")


def told(
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
    names = [name for name in Settings.model_fields if name not in (*OF_HEAD, "deviations")]

    def setting(name: str) -> str:
        return told(records, lambda record: getattr(record.settings, name), lambda record: record.cell.task)

    rows = {name.replace("_", " "): setting(name) for name in names}
    rows["checkpoint"] = "the parameters of the last update"
    rows["cells"] = f"{len(records)}, with {sum(len(record.episodes) for record in records)} episodes in all"
    # Records that differ in the settings of one head are not reported together.
    heads = {record.cell.head: record.settings for record in records}
    for head in sorted(heads):
        rows[f"training of {head}"] = words(heads[head].train)
        if heads[head].head_options:
            rows[f"options of {head}"] = words(heads[head].head_options)
    return rows


def deviations(records: Sequence[CellRecord]) -> list[str]:
    """Where the protocol departs from the published one it is named after."""
    return list(dict.fromkeys(text for record in records for text in record.settings.deviations))


def provenance(records: Sequence[CellRecord]) -> dict[str, str]:
    """Versions, hardware and content hashes by name."""

    def from_where(value: Callable[[CellRecord], object]) -> str:
        return told(records, value, lambda record: record.cell.encoder)

    seen = [record for record in records if record.provenance.gl]
    rows = {
        "pvrbench": from_where(
            lambda record: f"{record.provenance.version}, commit {record.provenance.commit or 'unknown'}"
        ),
        "packages": from_where(lambda record: words(record.provenance.packages)),
        "platform": from_where(lambda record: f"{record.provenance.platform}, Python {record.provenance.python}"),
        "device": from_where(lambda record: record.provenance.device),
        "OpenGL": told(seen, lambda record: record.provenance.gl, lambda record: record.cell.encoder)
        if seen
        else "not used",
    }
    digests = {record.cell.task: record.digests for record in records}
    rows |= {f"initial states of {task}": digests[task].initial_states[:16] for task in sorted(digests)}
    rows |= {f"demonstrations of {task}": digests[task].demos[:16] for task in sorted(digests)}
    return rows


def encoder_rows(records: Sequence[CellRecord]) -> list[tuple[str, ...]]:
    """Header and rows: what each encoder is, under which licence, and the digest of what ran."""
    first = {record.cell.encoder: record for record in reversed(records)}
    rows: list[tuple[str, ...]] = [("encoder", *(name.replace("_", " ") for name in ENCODER_FACTS), "digest")]
    for name in sorted(first):
        facts = first[name].provenance.encoder
        cells = {key: "" if facts.get(key) in (None, "none") else str(facts[key]) for key in ENCODER_FACTS}
        if facts.get("non_commercial"):
            cells["licence"] += " (non-commercial)"
        rows.append((name, *cells.values(), first[name].digests.encoder[:16]))
    return rows


def words(values: Mapping[str, object]) -> str:
    """`learning rate 0.001, optimizer adam`."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())
