"""Bodies of the verbs that read results: `pvrbench report | rank | power | submit | leaderboard | export`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pvrbench.benchmark.commands.verb import AddVerb, print_json
from pvrbench.benchmark.records.store import RecordStore

# Side of the pictures by which an encoder without a size of its own is identified.
DEFAULT_PX = 224

if TYPE_CHECKING:
    from pvrbench.benchmark.analysis.power import Design
    from pvrbench.benchmark.reporting.submission import Conformance


def add_results(verb: AddVerb) -> None:
    """Adds the verbs that read results."""
    report = verb("report", "Figures, tables and a page from the records of runs.", report_command)
    report.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    report.add_argument("--output", help="folder for the report; default: the first run's")
    report.add_argument("--json", action="store_true", help="print JSON for a program to read")
    report.add_argument("--look", help="look that is reported; default: the nominal one, where there are several")
    rank = verb("rank", "Rank the encoders of runs, if these are comparable.", rank_command)
    rank.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    rank.add_argument("--look", help="look that is ranked; default: the nominal one, where there are several")
    form = rank.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print all conclusions as JSON")
    form.add_argument("--csv", action="store_true", help="print the ranking as CSV")
    _add_power(verb("power", "Say what a run of some size can see, and what a wanted gap needs.", power_command))
    submit = verb("submit", "Check a run and write the files that a pull request adds.", submit_command)
    submit.add_argument("run_dir", metavar="RUN_DIR")
    submit.add_argument("--name", help="name of the submission; default: the run's")
    submit.add_argument("--output", default="results/submissions", help="folder of submissions; default: %(default)s")
    submit.add_argument("--skip-conformance", action="store_true", help="do not load the encoders; the files say so")
    board = verb("leaderboard", "Rebuild the rankings in results/README.md from all submissions.", leaderboard_command)
    board.add_argument("--results", default="results", help="the results folder; default: %(default)s")

    pack = verb("pack", "Put the records of a run into one compressed file.", pack_command)
    pack.add_argument("run_dir", metavar="RUN_DIR")

    export = verb("export", "Write results for other places; sends nothing but with wandb.", export_command)
    export.add_argument("to", choices=["model-card", "tensorboard", "wandb"])
    export.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    export.add_argument("--output", help="folder to write to; default: <run>/export")


def _add_power(power: ArgumentParser) -> None:
    power.add_argument("--tasks", type=int, default=1, help="tasks; default 1")
    power.add_argument("--seeds", type=int, default=3, help="trainings of each contender; default 3")
    power.add_argument("--episodes", type=int, default=50, help="initial states for each training; default 50")
    power.add_argument("--contenders", type=int, default=2, help="contenders, all pairs compared; default 2")
    power.add_argument("--rate", type=float, default=0.5, help="success rate about which they differ; default 0.5")
    power.add_argument("--seed-sd", type=float, default=0.0, help="spread of trainings' true rates; default 0")
    power.add_argument("--correlation", type=float, default=0.0, help="of outcomes on one state; default 0")
    power.add_argument("--power", type=float, default=0.8, help="probability of finding the gap; default 0.8")
    power.add_argument("--gap", type=float, help="a wanted gap in success rate, such as 0.05")
    power.add_argument("--json", action="store_true", help="print JSON for a program to read")


def existing_runs(texts: Sequence[str]) -> list[Path]:
    """The folders of some runs.

    Raises:
        ValueError: one holds no records.
    """
    run_dirs = [Path(text) for text in texts]
    for run_dir in run_dirs:
        if not RecordStore(run_dir).exists:
            raise ValueError(f"{run_dir} holds no records. Give the folder of a run, such as results/runs/quickstart.")
    return run_dirs


def show_report(console: Console, run_dirs: Sequence[Path], output_dir: Path, look: str | None = None) -> None:
    """Writes figures, tables and page, and prints the ranking."""
    from pvrbench.benchmark.reporting.report import write_report

    report = write_report(run_dirs, output_dir, look)
    console.print(report.table)
    console.print(f"Figures, tables and page: {output_dir}", highlight=False)


def report_command(options: Namespace) -> int:
    """Reports one or more runs."""
    run_dirs = existing_runs(options.run_dirs)
    output = Path(options.output) if options.output else run_dirs[0] / "report"
    if options.json:
        from pvrbench.benchmark.reporting.report import write_report

        print_json(write_report(run_dirs, output, options.look).summary)
        return 0
    show_report(Console(), run_dirs, output, options.look)
    return 0


def pack_command(options: Namespace) -> int:
    """Packs the records of a run."""
    store = RecordStore(existing_runs([options.run_dir])[0])
    sys.stdout.write(f"{store.pack()} records are in {store.packed_path}\n")
    return 0


def export_command(options: Namespace) -> int:
    """Writes the results of runs in another program's form."""
    from pvrbench.benchmark.analysis.comparison import load_runs
    from pvrbench.benchmark.analysis.statistics import analyse
    from pvrbench.benchmark.reporting.export import EXPORTS

    run_dirs = existing_runs(options.run_dirs)
    records, refused = load_runs(run_dirs)
    output = Path(options.output) if options.output else run_dirs[0] / "export" / options.to
    for path in EXPORTS[options.to](analyse(records), records, output):
        sys.stdout.write(f"{path} written\n")
    sys.stderr.write("".join(f"warning: {warning}\n" for warning in refused))
    return 0


def rank_command(options: Namespace) -> int:
    """Ranks the contenders of one or more runs."""
    from pvrbench.benchmark.analysis.comparison import load_runs
    from pvrbench.benchmark.analysis.ranking import conclusions, ranking_csv, ranking_json, ranking_table
    from pvrbench.benchmark.analysis.statistics import analyse

    records, refused = load_runs(existing_runs(options.run_dirs), options.look)
    analysis = analyse(records)
    warnings = (*refused, *analysis.warnings)
    if options.json:
        print_json(ranking_json(analysis, warnings))
        return 0
    if options.csv:
        sys.stdout.write(ranking_csv(analysis))
        sys.stderr.write("".join(f"warning: {warning}\n" for warning in warnings))
        return 0
    console = Console()
    console.print(ranking_table(analysis))
    for line in (*conclusions(analysis), *(f"warning: {warning}" for warning in warnings)):
        console.print(line, highlight=False, markup=False)
    return 0


def power_command(options: Namespace) -> int:
    """Says what a design can detect."""
    # scipy takes a second to import, which no other verb should wait for.
    from pvrbench.benchmark.analysis.power import Design, detectable_difference, episodes_needed, seeds_needed

    design = Design(
        tasks=options.tasks,
        seeds=options.seeds,
        episodes=options.episodes,
        contenders=options.contenders,
        rate=options.rate,
        seed_sd=options.seed_sd,
        correlation=options.correlation,
        power=options.power,
    )
    difference = detectable_difference(design)
    needs: dict[str, int | None] = {}
    if options.gap is not None:
        needs = {"seeds": seeds_needed(design, options.gap), "episodes": episodes_needed(design, options.gap)}
    if options.json:
        print_json({"design": asdict(design), "detectable_difference": difference, "gap": options.gap, "needs": needs})
        return 0
    sys.stdout.write("".join(f"{line}\n" for line in power_text(design, difference, options.gap, needs)))
    return 0


def power_text(design: Design, difference: float, gap: float | None, needs: dict[str, int | None]) -> list[str]:
    """The design's power in sentences."""
    seeds, episodes = _count(design.seeds, "seed"), _count(design.episodes, "episode")
    false = "5 % false differences"
    if design.comparisons > 1:
        false += f" among the {design.comparisons} pairs of {design.contenders} contenders"
    size = f"{seeds} x {episodes} on {_count(design.tasks, 'task')}"
    seen = f"{size} can only detect a {100 * difference:.0f}-point gap"
    lines = [f"{seen} (power {100 * design.power:.0f} %, {false})."]
    if gap is not None:
        wanted = f"A {100 * gap:g}-point gap needs"
        for kind, rest in (("seeds", episodes), ("episodes", seeds)):
            number = needs[kind]
            enough = _count(number, kind.removesuffix("s")) if number else f"more {kind} than anybody runs"
            lines.append(f"{wanted} {enough} at {rest} each.")
    if design.seed_sd == 0:
        from pvrbench.benchmark.analysis.power import detectable_difference

        noisy = detectable_difference(replace(design, seed_sd=0.1, seeds=max(2, design.seeds)))
        lines.append(
            "This assumes that training runs do not vary. If their true rates vary by 10 points, "
            f"{_count(max(2, design.seeds), 'seed')} detect {100 * noisy:.0f} points (--seed-sd 0.1)."
        )
    elif design.seeds == 1:
        lines.append("One seed cannot show that training runs vary: a difference may be due to this training run.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def submit_command(options: Namespace) -> int:
    """Checks a run and writes what a pull request adds."""
    from pvrbench.benchmark.reporting.submission import submit

    run_dir = existing_runs([options.run_dir])[0]
    folder = submit(
        run_dir, Path(options.output), options.name, None if options.skip_conformance else check_conformance
    )
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


def leaderboard_command(options: Namespace) -> int:
    """Rebuilds the leaderboard from all committed submissions."""
    from pvrbench.benchmark.reporting.leaderboard import write_leaderboard

    results = Path(options.results)
    page = results / "README.md"
    if not page.is_file():
        raise ValueError(f"{page} is not there. Run this in a checkout, or give its results folder: --results DIR.")
    names = write_leaderboard(results / "submissions", page)
    sys.stdout.write(f"{page}: {_count(len(names), 'submission')}.\n")
    return 0
