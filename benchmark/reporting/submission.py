"""Runs -> folders to be committed, after a check that all records are there, unchanged and have a licence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pvrbench.benchmark.analysis.comparison import incomparable
from pvrbench.benchmark.catalog import own_name
from pvrbench.benchmark.config import BenchmarkConfig, read_config
from pvrbench.benchmark.plan import make_plan
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import PACKED_NAME, RecordStore, write_packed
from pvrbench.common.files import write_atomically

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class SubmissionError(ValueError):
    """A run cannot be submitted; the text lists everything that is wrong with it."""


class SubmittedEncoder(BaseModel):
    """What a submission says of an encoder.

    Attributes:
        licence: of the weights.
        non_commercial: whether it forbids commercial use; None where the record does not say.
        digest: of weights, preprocessing and options, as in every record.
        conformance: `kept` where the encoder with this digest passed `pvrbench check-encoder` at submission,
            `not checked` where the submitter left that out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    licence: str
    non_commercial: bool | None
    digest: str
    conformance: str


class Submission(BaseModel):
    """`submission.json`: what was committed together.

    Attributes:
        name: of the submission and its folder.
        encoders: by name.
        num_records: number of record files.
        num_episodes: evaluation episodes in them.
        records_digest: over the digests of all records.
        notes: what a reader should know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    encoders: dict[str, SubmittedEncoder]
    num_records: int
    num_episodes: int
    records_digest: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conformance:
    """What was found of an encoder that was loaded for the purpose."""

    digest: str
    problems: tuple[str, ...]


def submit(
    run_dir: Path, output_root: Path, name: str | None = None, check: Callable[[str], Conformance] | None = None
) -> Path:
    """Checks a run and copies what a pull request adds: records, configuration and `submission.json`.

    Args:
        run_dir: the run.
        output_root: the folder of submissions; a folder `name` is made in it.
        name: of the submission; the run's where None.
        check: loads and checks an encoder; None leaves that out, which the submission then says.

    Returns:
        The folder that was written.

    Raises:
        SubmissionError: the run is not sound, complete and comparable within itself, or the folder holds something
            else.
    """
    name = name or run_dir.resolve().name
    if not NAME.fullmatch(name):
        raise SubmissionError(f"{name!r} is not a valid folder name. Use letters, digits, dots and dashes: name=NAME.")
    records, refusals = RecordStore(run_dir).read()
    config = read_config(run_dir)
    problems = [f"{refusal.path.name} {refusal.reason}" for refusal in refusals]
    problems += [*incomplete(config, records), *incomparable(records)]
    references = dict(own_name(entry.removesuffix("?")) for entry in (*config.encoders, *config.baselines))
    problems += [
        f"the name of {name} publishes where your files lie; run it by a name of its own: "
        f"encoders=[{Path(name.partition('?')[0]).stem}={name}]"
        for name in dict.fromkeys(record.cell.encoder for record in records)
        if name.startswith("file:")
    ]
    encoders, unsound = _describe(records, references, check)
    problems += unsound
    if problems:
        raise SubmissionError(f"{run_dir} cannot be submitted: {'; '.join(problems)}.")
    dirty = any(record.provenance.commit.endswith("-dirty") for record in records)
    submission = Submission(
        name=name,
        encoders=encoders,
        num_records=len(records),
        num_episodes=sum(len(record.episodes) for record in records),
        records_digest=digest_of(sorted(record.digest for record in records)),
        notes=("Some records were made with uncommitted changes to the code.",) if dirty else (),
    )
    folder = output_root / name
    _refuse_other_contents(folder, submission)
    write_packed(folder / PACKED_NAME, records)
    # The paths of the run and its cache are private.
    engine = config.engine.model_copy(update={"cache_dir": None})
    shown = {
        "encoders": tuple(without_folder(entry) for entry in config.encoders),
        "baselines": tuple(without_folder(entry) for entry in config.baselines),
    }
    public = config.model_copy(update={"run_dir": None, "engine": engine, **shown})
    write_atomically(folder / "config.json", public.model_dump_json(indent=1) + "\n")
    write_atomically(folder / "submission.json", submission.model_dump_json(indent=1) + "\n")
    return folder


def incomplete(config: BenchmarkConfig, records: Sequence[CellRecord]) -> list[str]:
    """What of the plan is missing, failed, or was recorded under another protocol."""
    plan = make_plan(config)
    by_cell = {record.cell: record for record in records}
    missing = [cell.slug for cell in plan.cells if cell not in by_cell]
    failed = [record.cell.slug for record in records if record.failure is not None]
    other = [
        cell.slug
        for job in plan.jobs
        for cell in job.cells
        if cell in by_cell and by_cell[cell].settings.differences(job.settings[cell.head])
    ]
    kinds = (
        (missing, "planned but not recorded; repeat the same `pvrbench run` to continue"),
        (failed, "failed"),
        (other, "recorded under another protocol than config.json says"),
    )
    return [
        f"{len(cells)} of {len(plan.cells)} cells are {words} (such as {cells[0]})" for cells, words in kinds if cells
    ]


def without_folder(encoder: str) -> str:
    """`mine=file:x.pth?model=...` of `mine=file:/home/me/x.pth?model=...`; other names as they are."""
    name, reference = own_name(encoder)
    if name == reference or not reference.startswith("file:"):
        return encoder
    place, mark, rest = reference.removeprefix("file:").partition("?")
    return f"{name}=file:{Path(place).name}{mark}{rest}"


def _describe(
    records: Sequence[CellRecord], references: Mapping[str, str], check: Callable[[str], Conformance] | None
) -> tuple[dict[str, SubmittedEncoder], list[str]]:
    encoders: dict[str, SubmittedEncoder] = {}
    problems: list[str] = []
    for record in records:
        name, said = record.cell.encoder, record.provenance.encoder
        if name in encoders:
            continue
        licence, non_commercial = said.get("licence"), said.get("non_commercial")
        if not isinstance(licence, str) or not licence:
            problems.append(f"the licence of {name} is not recorded")
        conformance = "not checked"
        if check is not None:
            found = check(references.get(name, name))
            problems += [f"{name} breaks the contract: {problem}" for problem in found.problems]
            if found.digest != record.digests.encoder:
                problems.append(f"{name} is not what was recorded: its weights, preprocessing or options have changed")
            conformance = "kept"
        encoders[name] = SubmittedEncoder(
            licence=str(licence),
            non_commercial=non_commercial if isinstance(non_commercial, bool) else None,
            digest=record.digests.encoder,
            conformance=conformance,
        )
    return encoders, problems


def _refuse_other_contents(folder: Path, submission: Submission) -> None:
    path = folder / "submission.json"
    if not folder.exists():
        return
    try:
        there = Submission.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = None
    if there is None or there.records_digest != submission.records_digest:
        raise SubmissionError(f"{folder} already holds something else. Give another name: name=NAME.")
