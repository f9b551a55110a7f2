"""All committed submissions -> the rankings in results/README.md; one table for each set of comparable submissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pvrbench.benchmark.analysis.comparison import ReportError, facts_of_place, incomparable, without_repeats
from pvrbench.benchmark.analysis.ranking import conclusions, text_rows
from pvrbench.benchmark.analysis.statistics import analyse
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.benchmark.reporting.protocol import variants
from pvrbench.common.files import write_atomically

BEGIN = "<!-- leaderboard: written by `pvrbench leaderboard`; do not edit -->"
END = "<!-- end of leaderboard -->"


def write_leaderboard(submissions_dir: Path, page: Path) -> list[str]:
    """Rewrites the leaderboard's section of a page from all submissions.

    Args:
        submissions_dir: holds one folder for each submission.
        page: Markdown file with the two marks around the leaderboard.

    Returns:
        Names of the submissions that are shown.

    Raises:
        ReportError: the page lacks the marks, or a submission holds an unsound record.
    """
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReportError(f"{page} has no place for the leaderboard. Put the lines {BEGIN!r} and {END!r} into it.")
    submissions = read_submissions(submissions_dir)
    before, after = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    write_atomically(page, f"{before}{BEGIN}\n\n{leaderboard(submissions)}\n{END}{after}")
    return sorted(submissions)


def read_submissions(submissions_dir: Path) -> dict[str, list[CellRecord]]:
    """Records of each submission, by its name.

    Raises:
        ReportError: one of them holds an unsound record, or results that are not comparable.
    """
    submissions: dict[str, list[CellRecord]] = {}
    for folder in sorted(path for path in submissions_dir.glob("*") if RecordStore(path).exists):
        records, refusals = RecordStore(folder).read()
        problems = [f"{refusal.path.name} {refusal.reason}" for refusal in refusals] + incomparable(records)
        if problems or not records:
            raise ReportError(f"{folder} is not a submission: {'; '.join(problems) or 'it holds no records'}.")
        submissions[folder.name] = records
    return submissions


def leaderboard(submissions: Mapping[str, Sequence[CellRecord]]) -> str:
    """One section for each protocol, as Markdown; submissions of one protocol share its table."""
    if not submissions:
        return "Nothing is submitted yet.\n"
    by_protocol: dict[str, list[str]] = {}
    for name, records in sorted(submissions.items()):
        by_protocol.setdefault(protocol_digest(records), []).append(name)
    return "\n".join(
        _section(digest, together, submissions)
        for digest, names in sorted(by_protocol.items(), key=lambda item: item[1])
        for together in _compatible(names, submissions)
    )


def protocol_digest(records: Sequence[CellRecord]) -> str:
    """Hash over all that contenders of one table must share: the facts of their place, and the cells' axes."""
    shared = {item for record in records for item in facts_of_place(record).items()}
    axes = {(record.cell.task, record.cell.camera, record.cell.num_demos, record.cell.seed) for record in records}
    return digest_of([sorted(shared), sorted(axes)])[:12]


def _compatible(names: Sequence[str], submissions: Mapping[str, Sequence[CellRecord]]) -> list[list[str]]:
    """Splits submissions of one protocol where they disagree about an encoder's weights or a cell's outcome."""
    tables: list[list[str]] = []
    for name in names:
        for table in tables:
            joint = [record for member in (*table, name) for record in submissions[member]]
            if not incomparable(joint) and _agree(joint):
                table.append(name)
                break
        else:
            tables.append([name])
    return tables


def _agree(records: Sequence[CellRecord]) -> bool:
    try:
        without_repeats(records)
    except ReportError:
        return False
    return True


def _section(digest: str, names: Sequence[str], submissions: Mapping[str, Sequence[CellRecord]]) -> str:
    records = without_repeats(record for name in names for record in submissions[name])
    analysis, first = analyse(records), records[0].settings
    header, *rows = text_rows(analysis)
    tasks = sorted({f"{record.cell.task} ({record.cell.camera})" for record in records})
    numbers = sorted({record.cell.num_demos for record in records})
    protocol = (
        ", ".join(tasks),
        f"N = {', '.join(str(number) for number in numbers)}",
        f"{len({record.cell.seed for record in records})} seeds",
        f"{first.num_episodes} {records[0].cell.split} episodes for each training run",
        f"{first.image_px} px, {first.render} rendering",
        f"success at {first.success_rule.replace('_', ' ')}",
    )
    lines = [
        f"### {first.preset}, protocol {digest}",
        "",
        f"{'; '.join(protocol)}.",
        "",
        *(_row(row) for row in (header, ["---"] * len(header), *rows)),
        "",
        *(f"- {line}" for line in (*conclusions(analysis), *analysis.warnings, *variants(records))),
        f"- Submissions: {', '.join(f'[{name}](submissions/{name})' for name in names)}.",
        "",
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
