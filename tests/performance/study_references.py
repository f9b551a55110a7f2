"""What the references reach: oracle, proprioception and expert on every task, and under every preset's own settings.

`run` records what is missing, one part after another: `standard` on all tasks of the catalog, and each other preset on
its own tasks, at its largest N. Nothing is rendered, because no reference reads images. `tables` writes the rates of
the part `standard` to `envs/measured.csv`, and the table of presets into docs/tasks.md. Run as
`python tests/performance/study_references.py run|tables [PART ...] [--folder FOLDER] [--with key=value ...]`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from pvrbench.benchmark.catalog import expand_tasks
from pvrbench.benchmark.composition import compose_config, preset_names
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.spec import Measured

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "results" / "studies" / "references"
MEASURED, PAGE = ROOT / "envs" / "measured.csv", ROOT / "docs" / "tasks.md"
SECTION = re.compile(r"(<!-- references: [^\n]* -->\n).*?(<!-- end of references -->)", re.DOTALL)

NUM_STATES = 20
OF_ALL_TASKS = "standard"
HARD = 0.9
REFERENCES = ("oracle", "proprio", "expert")


def settings(preset: str) -> list[str]:
    """What a part overrides: the contenders, the largest N alone, and the number of states."""
    most = max(compose_config([f"preset={preset}"]).num_demos)
    keys = [
        *(f"preset={preset}", "encoders=[oracle]", "baselines=[proprio,expert]", "cameras=[default]"),
        *("readouts=[pooled]", f"num_demos=[{most}]", f"num_episodes={NUM_STATES}"),
        *("engine.videos=false", "engine.keep_policies=false"),
    ]
    return [*keys, f"tasks=[{','.join(TASKS)}]"] if preset == OF_ALL_TASKS else keys


def run(presets: Sequence[str], folder: Path, overrides: Sequence[str]) -> int:
    """Records what is missing of each part; returns how many parts did not come to their end."""
    failed = 0
    for preset in presets:
        keys = [*settings(preset), f"name=references-{preset}", f"run_dir={folder / preset}", *overrides]
        failed += subprocess.run([sys.executable, "-m", "pvrbench", "run", *keys], check=False).returncode != 0
    return failed


def measured(records: Sequence[CellRecord]) -> dict[str, Measured]:
    """Rates of the references by task, for the tasks on which all three are recorded."""
    found: dict[str, dict[str, list[CellRecord]]] = {}
    for record in records:
        found.setdefault(record.cell.task, {}).setdefault(record.cell.encoder, []).append(record)
    return {
        task: Measured(
            num_demos=of["oracle"][0].cell.num_demos,
            num_states=min(len(record.episodes) for record in of["oracle"]),
            num_seeds=len({record.cell.seed for record in of["oracle"]}),
            **{name: _rate(of[name]) for name in REFERENCES},
        )
        for task, of in sorted(found.items())
        if of.keys() >= {*REFERENCES}
    }


def _rate(records: Sequence[CellRecord]) -> float:
    outcomes = [episode.success for record in records for episode in record.episodes]
    return round(sum(outcomes) / len(outcomes), 4)


def measured_table(records: Sequence[CellRecord]) -> str:
    """The content of `envs/measured.csv`."""
    rows = [
        {"task": task, **{key: getattr(row, key) for key in Measured.__slots__}}
        for task, row in measured(records).items()
    ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def page_section(parts: Mapping[str, Sequence[CellRecord]]) -> str:
    """The generated section of docs/tasks.md: presets by task, then the tasks that can hardly rank encoders."""
    lines = ["| preset | task | N | updates | states, seeds | oracle, % | proprioception, % | expert, % |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for preset, records in parts.items():
        config = compose_config([f"preset={preset}"])
        updates = max(str(record.settings.train["num_updates"]) for record in records)
        for task, row in measured(records).items():
            if task in expand_tasks(config.tasks):
                number = _against(str(row.num_demos), max(config.num_demos))
                size = f"{number} | {_against(updates, config.train.num_updates)}"
                rates = " | ".join(f"{100 * getattr(row, name):.0f}" for name in REFERENCES)
                lines.append(f"| `{preset}` | {task} | {size} | {row.num_states}, {row.num_seeds} | {rates} |")
    every = measured(parts[OF_ALL_TASKS])
    weak = {task: row for task, row in every.items() if not row.can_rank}
    lines += ["", f"{len(weak)} of the {len(every)} measured tasks can hardly rank encoders at N = 25:", ""]
    lines += ["| task | oracle, % | proprioception, % | expert, % |", "|---|---|---|---|"]
    lines += [f"| {task} | {' | '.join(str(row).split(' / '))} |" for task, row in weak.items()]
    lines += ["", f"With the oracle below 90 %: {_listed(task for task, row in every.items() if row.oracle < HARD)}."]
    lines += ["", f"Not measured yet: {_listed(task for task in TASKS if task not in every)}."]
    return "\n".join(lines) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name.removeprefix("metaworld/").removesuffix("-v3") for name in names) or "none"


def _against(number: str, of_preset: int) -> str:
    return number if number == str(of_preset) else f"{number} (preset: {of_preset})"


def read_parts(folder: Path) -> dict[str, list[CellRecord]]:
    """The records of each part that has some, by preset."""
    stores = {preset: RecordStore(folder / preset) for preset in preset_names()}
    return {preset: store.read()[0] for preset, store in stores.items() if store.exists}


def write_tables(folder: Path) -> None:
    """Writes `envs/measured.csv` and the section of docs/tasks.md."""
    parts = read_parts(folder)
    MEASURED.write_text(measured_table(parts[OF_ALL_TASKS]), encoding="utf-8")
    section = page_section(parts)
    PAGE.write_text(SECTION.sub(lambda found: f"{found[1]}\n{section}\n{found[2]}", PAGE.read_text()), encoding="utf-8")


def main() -> int:
    """Records the parts that are named, or all; or writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "tables"))
    parser.add_argument("parts", nargs="*", choices=("all", *preset_names()), default="all", metavar="PART")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--with", dest="overrides", nargs="*", default=(), metavar="key=value")
    options = parser.parse_args()
    if options.action == "tables":
        write_tables(options.folder)
        return 0
    return run(preset_names() if "all" in options.parts else options.parts, options.folder, options.overrides)


if __name__ == "__main__":
    sys.exit(main())
