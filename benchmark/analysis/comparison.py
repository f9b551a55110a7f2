"""Which results may be compared: reading several runs, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pvrbench.benchmark.records.keys import NOMINAL, Cell
from pvrbench.benchmark.records.parts import UNFINISHED, PartStore, joined
from pvrbench.benchmark.records.schema import CellRecord, Settings
from pvrbench.benchmark.records.store import RecordStore, Refusal

# Settings that belong to the task, the head and the adaptation. All others must agree in all records. The deviations
# are an exception: they say in words what other settings hold.
OF_TASK = ("horizon",)
OF_HEAD = ("variant_of", "train", "head_options")
OF_ADAPTATION = ("adaptation_options",)
OF_POLICY_PICTURES = ("trained_render", "trained_image_px")

# What instructions can be, in the order in which a report prefers them.
_WORDINGS = ("", "paraphrase", "swapped", "given")

# Up to so many files that were refused for the same reason are named; more are counted.
MANY_FILES = 3


class ReportError(ValueError):
    """A report cannot be made; the text says why."""


def load_runs(run_dirs: Sequence[Path], look: str | None = None) -> tuple[list[CellRecord], tuple[str, ...]]:
    """The sound records of some runs under one look, and a warning for each file that was refused.

    Args:
        run_dirs: the runs.
        look: the look whose records are wanted; None takes the nominal one where there are several.

    Raises:
        ReportError: there are no sound records, or the runs differ in something that changes numbers.
    """
    records, warnings = _read(run_dirs)
    records, other_looks = _of_look(records, look)
    records, other_wordings = _of_training(records)
    return _comparable(records), (*warnings, *other_looks, *other_wordings, *_renderers(records))


def load_looks(run_dirs: Sequence[Path]) -> dict[str, list[CellRecord]]:
    """The sound records of some runs by look, the nominal one first; empty where there is none beside it.

    Args:
        run_dirs: the runs.

    Raises:
        ReportError: there are no sound records, or the runs differ in something that changes numbers.
    """
    records, _ = _read(run_dirs)
    looks = sorted({record.cell.look for record in records} - {NOMINAL})
    if not looks or all(record.cell.look != NOMINAL for record in records):
        return {}
    comparable = _comparable(_of_training(records)[0], across_looks=True)
    return {look: [record for record in comparable if record.cell.look == look] for look in (NOMINAL, *looks)}


def _read(run_dirs: Sequence[Path]) -> tuple[list[CellRecord], list[str]]:
    records: list[CellRecord] = []
    warnings: list[str] = []
    for run_dir in run_dirs:
        found, refusals = RecordStore(run_dir).read()
        going_on = unfinished(run_dir, found)
        records += [*found, *going_on]
        warnings += _complaints(refusals)
        if going_on:
            warnings.append(
                f"{run_dir} goes on: {len(going_on)} cells are shown with the episodes that they have so far."
            )
    if not records:
        reasons = " ".join(warnings) or "Nothing is recorded there yet. Start with `pvrbench run`."
        raise ReportError(f"There is nothing to report in {', '.join(str(path) for path in run_dirs)}. {reasons}")
    return records, warnings


def _comparable(records: Sequence[CellRecord], *, across_looks: bool = False) -> list[CellRecord]:
    """Each cell once.

    Raises:
        ReportError: the records differ in something that changes numbers.
    """
    differing = incomparable(records, but=("look",) if across_looks else ())
    if differing:
        raise ReportError(
            f"These results are not comparable: {'; '.join(differing)}. Report them separately, or run them with "
            "the same settings."
        )
    return without_repeats(records)


def unfinished(run_dir: Path, recorded: Sequence[CellRecord]) -> list[CellRecord]:
    """What there is so far of the cells of a sequential evaluation that have no record yet."""
    cells = dict.fromkeys(record.cell for record in recorded)
    parts = PartStore(run_dir).read()
    return [joined(found, UNFINISHED) for cell, found in parts.items() if cell not in cells]


def _of_look(records: Sequence[CellRecord], look: str | None) -> tuple[list[CellRecord], list[str]]:
    """The records under one look, and a line about the others where nobody asked for one.

    Raises:
        ReportError: there are none under that look.
    """
    found = sorted({record.cell.look for record in records})
    wanted = look or (NOMINAL if NOMINAL in found else found[0])
    chosen = [record for record in records if record.cell.look == wanted]
    if not chosen:
        raise ReportError(f"There are no results under the look {wanted!r}; there are some under {', '.join(found)}.")
    others = [name for name in found if name != wanted]
    if look is not None or not others:
        return chosen, []
    return chosen, [
        f"Only results under the look {wanted} are shown. There are others: {', '.join(others)} (look=LOOK)."
    ]


def _renderers(records: Sequence[CellRecord]) -> list[str]:
    """A line where pictures were drawn by several renderers."""
    encoders: dict[str, set[str]] = {}
    for record in records:
        if record.digests.renderer:
            encoders.setdefault(record.digests.renderer, set()).add(record.cell.encoder)
    if len(encoders) <= 1:
        return []
    shown = "; ".join(f"{name} ({', '.join(sorted(encoders[name]))})" for name in sorted(encoders))
    return [f"Several renderers drew the pictures, in slightly different pixels: {shown}. Compare encoders on one."]


def _of_training(records: Sequence[CellRecord]) -> tuple[list[CellRecord], list[str]]:
    """The records under the instructions of the training, else under one other instruction for each task.

    Returns:
        The records, and a line about the others.
    """
    kinds = sorted({record.cell.wording for record in records}, key=_WORDINGS.index)
    of_kind = [record for record in records if record.cell.wording == kinds[0]] if kinds else []
    told = {task: min(texts) for task, texts in _instructions(of_kind).items()}
    chosen = [record for record in of_kind if record.cell.evaluation.instruction == told[record.cell.task]]
    if len(chosen) == len(records):
        return chosen, []
    names = {record.cell.slug for record in chosen}
    left = {record.cell.wording or "trained" for record in records if record.cell.slug not in names}
    others = ", ".join(sorted(left))
    shown = "of the training" if not kinds[0] else "; ".join(f"{text!r}" for text in sorted(set(told.values())))
    return chosen, [
        f"Only results under the wordings {shown} are shown. There are others ({others}), which read_records returns."
    ]


def _instructions(records: Sequence[CellRecord]) -> Mapping[str, set[str]]:
    """What policies were told, by task."""
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(record.cell.task, set()).add(record.cell.evaluation.instruction)
    return found


def _complaints(refusals: Sequence[Refusal]) -> list[str]:
    """A line for each refused file, or for all that share a reason where these are many."""
    by_reason: dict[str, list[str]] = {}
    for refusal in refusals:
        by_reason.setdefault(refusal.reason, []).append(refusal.path.name)
    lines: list[str] = []
    for reason, names in by_reason.items():
        if len(names) > MANY_FILES:
            lines.append(f"{len(names)} files were refused, such as {names[0]}: each {reason}.")
        else:
            lines += [f"{name} was refused: it {reason}." for name in names]
    return lines


def without_repeats(records: Iterable[CellRecord]) -> list[CellRecord]:
    """One record of each cell: runs that are merged often share their references.

    Raises:
        ReportError: two records of a cell disagree about an episode.
    """
    kept: dict[Cell, CellRecord] = {}
    for record in records:
        other = kept.setdefault(record.cell, record)
        if other.episodes != record.episodes:
            raise ReportError(
                f"Two of these runs hold different results of {record.cell.slug}. Report them separately, and find out "
                "why."
            )
    return list(kept.values())


def incomparable(records: Iterable[CellRecord], but: Sequence[str] = ()) -> list[str]:
    """What differs between records but has to be the same: protocol, initial states, simulator, encoder.

    Args:
        records: the records.
        but: facts that may differ.
    """
    values: dict[str, set[str]] = {}
    for record in records:
        for name, value in facts(record).items():
            if name not in but:
                values.setdefault(name, set()).add(value)
    return [f"{name} is {' and '.join(sorted(found))}" for name, found in sorted(values.items()) if len(found) > 1]


def protocol_facts(settings: Settings, cell: Cell) -> dict[str, str]:
    """The settings that must agree wherever two cells both have them, under names that say whose they are."""
    found = {
        key: str(getattr(settings, key))
        for key in type(settings).model_fields
        if key not in (*OF_TASK, *OF_HEAD, *OF_ADAPTATION, "deviations")
    }
    # Policies that were trained on these pictures are not compared with those that come from others.
    found |= {key: str(getattr(settings, key) or "as evaluated") for key in OF_POLICY_PICTURES}
    found |= {"split": cell.split}
    found |= {f"{key} of {cell.task}": str(getattr(settings, key)) for key in OF_TASK}
    if settings.variant_of:
        found[f"variant_of of {cell.head}"] = settings.variant_of
    found |= {f"train.{key} of {cell.head}": str(value) for key, value in settings.train.items()}
    found |= {f"head_options.{key} of {cell.head}": str(value) for key, value in settings.head_options.items()}
    found |= {
        f"adaptation_options.{key} of {cell.adaptation}": str(value)
        for key, value in settings.adaptation_options.items()
    }
    return found


def facts(record: CellRecord) -> dict[str, str]:
    """Everything that must agree wherever two records both have it, under names that say whose it is."""
    return facts_of_place(record) | facts_of_contender(record)


def facts_of_contender(record: CellRecord) -> dict[str, str]:
    """The content of the parts that contenders bring; one that was not recorded is left out."""
    cell, digests = record.cell, record.digests
    found = {f"digest of {cell.encoder}": digests.encoder[:16]}
    for part in ("readout", "head", "adaptation"):
        if digest := getattr(digests, part):
            found[f"code of the {part} {getattr(cell, part)}"] = digest[:16]
    return found


def facts_of_place(record: CellRecord) -> dict[str, str]:
    """The protocol, and the content of what contenders share: task, demonstrations, look."""
    cell, digests = record.cell, record.digests
    found = protocol_facts(record.settings, cell) | {"look": cell.look}
    if digests.look:
        found[f"look {cell.look} of {cell.task}"] = digests.look[:16]
    found[f"training camera of {cell.task} ({cell.camera})"] = cell.train.camera
    found[f"initial_states of {cell.task}"] = digests.initial_states[:16]
    found[f"demos of {cell.task}"] = digests.demos[:16]
    found[f"simulator of {cell.task}"] = " ".join(
        f"{name}={version}" for name, version in sorted(digests.simulator.items())
    )
    return found
