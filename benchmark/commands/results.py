"""Bodies of the verbs that read results: `pvrbench report | rank | submit | pack | leaderboard | export`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from rich.console import Console

from pvrbench.benchmark.commands.verb import UserPath, Verb, VerbSettings, print_json, terminal
from pvrbench.benchmark.records.store import RecordStore

# Side of the pictures by which an encoder without a size of its own is identified.
DEFAULT_PX = 224

if TYPE_CHECKING:
    from pvrbench.benchmark.reporting.submission import Conformance


class ReadSettings(VerbSettings):
    """What the verbs that read runs have in common."""

    subjects: ClassVar[tuple[str, ...]] = ("run_dirs",)

    run_dirs: tuple[UserPath, ...]
    """Folders of runs."""


class ReportSettings(ReadSettings):
    """Settings of `pvrbench report`."""

    output: UserPath | None = None
    """Folder for the report; the first run's `report` where it is left out."""
    look: str | None = None
    """Look that is reported; where there are several and it is left out, the nominal one."""
    as_json: bool = False
    """Print JSON for a program to read."""


class RankSettings(ReadSettings):
    """Settings of `pvrbench rank`."""

    look: str | None = None
    """Look that is ranked; where there are several and it is left out, the nominal one."""
    as_json: bool = False
    """Print all conclusions as JSON."""
    as_csv: bool = False
    """Print the ranking as CSV."""


class ExportSettings(ReadSettings):
    """Settings of `pvrbench export`."""

    subjects: ClassVar[tuple[str, ...]] = ("to", "run_dirs")

    to: Literal["model-card", "tensorboard", "wandb"]
    """Where the results go."""
    output: UserPath | None = None
    """Folder to write to; the first run's `export` where it is left out."""


class PackSettings(VerbSettings):
    """Settings of `pvrbench pack`."""

    subjects: ClassVar[tuple[str, ...]] = ("run_dir",)

    run_dir: UserPath
    """Folder of a run."""


class SubmitSettings(PackSettings):
    """Settings of `pvrbench submit`."""

    name: str | None = None
    """Name of the submission; the run's where it is left out."""
    output: UserPath = Path("results/submissions")
    """Folder of submissions."""
    skip_conformance: bool = False
    """Do not load the encoders; the files say so."""


class LeaderboardSettings(VerbSettings):
    """Settings of `pvrbench leaderboard`."""

    results: UserPath = Path("results")
    """The results folder."""


def existing_runs(run_dirs: Sequence[Path]) -> list[Path]:
    """The folders of some runs, which hold records.

    Raises:
        ValueError: one holds no records.
    """
    for run_dir in run_dirs:
        if not RecordStore(run_dir).exists:
            raise ValueError(f"{run_dir} holds no records. Give the folder of a run, such as results/runs/quickstart.")
    return list(run_dirs)


def show_report(console: Console, run_dirs: Sequence[Path], output_dir: Path, look: str | None = None) -> None:
    """Writes figures, tables and page, and prints the ranking."""
    from pvrbench.benchmark.reporting.report import write_report

    report = write_report(run_dirs, output_dir, look)
    console.print(report.table)
    console.print(f"Figures, tables and page: {output_dir}")


def report_command(settings: ReportSettings) -> int:
    """Reports one or more runs."""
    run_dirs = existing_runs(settings.run_dirs)
    output = settings.output or run_dirs[0] / "report"
    if settings.as_json:
        from pvrbench.benchmark.reporting.report import write_report

        print_json(write_report(run_dirs, output, settings.look).summary)
        return 0
    show_report(terminal(), run_dirs, output, settings.look)
    return 0


def pack_command(settings: PackSettings) -> int:
    """Packs the records of a run."""
    store = RecordStore(existing_runs([settings.run_dir])[0])
    sys.stdout.write(f"{store.pack()} records are in {store.packed_path}\n")
    return 0


def export_command(settings: ExportSettings) -> int:
    """Writes the results of runs in another program's form."""
    from pvrbench.benchmark.analysis.comparison import load_runs
    from pvrbench.benchmark.analysis.statistics import analyse
    from pvrbench.benchmark.reporting.export import EXPORTS

    run_dirs = existing_runs(settings.run_dirs)
    records, refused = load_runs(run_dirs)
    output = settings.output or run_dirs[0] / "export" / settings.to
    for path in EXPORTS[settings.to](analyse(records), records, output):
        sys.stdout.write(f"{path} written\n")
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in refused))
    return 0


def rank_command(settings: RankSettings) -> int:
    """Ranks the contenders of one or more runs."""
    from pvrbench.benchmark.analysis.comparison import load_runs
    from pvrbench.benchmark.analysis.ranking import conclusions, ranking_csv, ranking_json, ranking_table
    from pvrbench.benchmark.analysis.statistics import analyse

    if settings.as_json and settings.as_csv:
        raise ValueError("--json and --csv are two forms of one output. Give one of them.")
    records, refused = load_runs(existing_runs(settings.run_dirs), settings.look)
    analysis = analyse(records)
    warnings = (*refused, *analysis.warnings)
    if settings.as_json:
        print_json(ranking_json(analysis, warnings))
        return 0
    if settings.as_csv:
        sys.stdout.write(ranking_csv(analysis))
        sys.stderr.write("".join(f"warning: {warning}\n" for warning in warnings))
        return 0
    console = terminal()
    console.print(ranking_table(analysis))
    for line in (*conclusions(analysis), *(f"warning: {warning}" for warning in warnings)):
        console.print(line)
    return 0


def submit_command(settings: SubmitSettings) -> int:
    """Checks a run and writes what a pull request adds."""
    from pvrbench.benchmark.reporting.submission import submit

    run_dir = existing_runs([settings.run_dir])[0]
    folder = submit(run_dir, settings.output, settings.name, None if settings.skip_conformance else check_conformance)
    sys.stdout.write(
        f"{folder} is ready. Add it in a pull request, with results/README.md after `pvrbench leaderboard`.\n"
    )
    return 0


def check_conformance(name: str) -> Conformance:
    """Loads an encoder and checks it against the contract."""
    from pvrbench.benchmark.catalog import encoders
    from pvrbench.benchmark.engine.encoder_pool import load_encoder
    from pvrbench.benchmark.engine.identity import encoder_digest
    from pvrbench.benchmark.reporting.submission import Conformance
    from pvrbench.encoders.checks import check_encoder
    from pvrbench.encoders.identity import identify

    spec = encoders()[name]
    encoder = load_encoder(spec)
    # The contract is about pictures; the references read none.
    verdicts = check_encoder(encoder) if spec.modality == "image" else []
    # The digest holds weights, preprocessing and code, whatever the size of the pictures.
    digest = encoder_digest(identify(encoder, spec.image_size or DEFAULT_PX))
    return Conformance(digest, tuple(f"{item.name}: {item.problem}" for item in verdicts if item.problem))


def leaderboard_command(settings: LeaderboardSettings) -> int:
    """Rebuilds the leaderboard from all committed submissions."""
    from pvrbench.benchmark.reporting.leaderboard import write_leaderboard

    results = settings.results
    page = results / "README.md"
    if not page.is_file():
        raise ValueError(f"{page} is not there. Run this in a checkout, or give its results folder: results=DIR.")
    names = write_leaderboard(results / "submissions", page)
    sys.stdout.write(f"{page}: {len(names)} {'submission' if len(names) == 1 else 'submissions'}.\n")
    return 0


REPORT = Verb(
    name="report",
    summary="Figures, tables and a page from the records of runs.",
    settings=ReportSettings,
    body=report_command,
)
RANK = Verb(
    name="rank",
    summary="Rank the encoders of runs, if these are comparable.",
    settings=RankSettings,
    body=rank_command,
)
SUBMIT = Verb(
    name="submit",
    summary="Check a run and write the files that a pull request adds.",
    settings=SubmitSettings,
    body=submit_command,
)
LEADERBOARD = Verb(
    name="leaderboard",
    summary="Rebuild the rankings in results/README.md from all submissions.",
    settings=LeaderboardSettings,
    body=leaderboard_command,
)
PACK = Verb(
    name="pack",
    summary="Put the records of a run into one compressed file.",
    settings=PackSettings,
    body=pack_command,
)
EXPORT = Verb(
    name="export",
    summary="Write results for other places; sends nothing but with wandb.",
    settings=ExportSettings,
    body=export_command,
)
