"""Is it worth unfreezing? Frozen, LoRA, full fine-tuning and networks from scratch on the same demonstrations.

The study is done in blocks of one task, one number of demonstrations, one encoder and one adaptation, the most
informative first. `run` records them one after another; what is recorded is not run again, so it may be interrupted,
and what there is may be analysed. `analyse` packs the records of the blocks that are complete, writes `scores.csv`,
`contrasts.csv` and `costs.csv`, and prints them in Markdown. Run as
`python tests/performance/study_adaptation.py run|analyse [--folder FOLDER] [--blocks NAME ...] [key=value ...]`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pvrbench.benchmark.analysis.estimates import mean_interval
from pvrbench.benchmark.analysis.pairing import holm, paired_difference
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.envs.base import Array

PRETRAINED = ("zoo_mae", "zoo_clip", "zoo_dift")
UNTRAINED, CNN = "random_zoo_vit", "end_to_end_cnn_shift"
TASKS = ("metaworld/button-press-topdown-v3", "metaworld/assembly-v3", "robosuite/lift")
NUMBERS = (10, 25, 5)
SEEDS = (0, 1)
SETTINGS = {
    "baselines": "[]",
    "readouts": "[mean]",
    "seeds": f"[{','.join(map(str, SEEDS))}]",
    "num_episodes": "20",
    "horizon": "150",
    "demo_pool": "25",
    "image_px": "112",
    "train.num_updates": "500",
    "train.batch_size": "32",
    "engine.videos": "false",
}
# Products in bfloat16 halve the time of training a transformer, and do nothing for the convolutions of `zoo_dift`.
OPTIONS = {name: f"{{{name}:{{precision:bfloat16}}}}" for name in ("lora", "full", "from_scratch")}


@dataclass(frozen=True, slots=True)
class Block:
    """What one run records."""

    task: str
    num_demos: int
    encoder: str
    adaptation: str

    @property
    def name(self) -> str:
        """The folder of the block."""
        return f"{self.task.rpartition('/')[2]}_n{self.num_demos}_{self.encoder}_{self.adaptation}"


def blocks() -> Iterator[Block]:
    """All blocks of the study, the most informative first."""
    for num_demos in NUMBERS:
        for task in TASKS:
            for encoder in PRETRAINED:
                for adaptation in ("frozen", "lora", "full"):
                    yield Block(task, num_demos, encoder, adaptation)
                if encoder == PRETRAINED[0]:
                    yield Block(task, num_demos, CNN, "frozen")
                    yield Block(task, num_demos, UNTRAINED, "from_scratch")
                    yield Block(task, num_demos, UNTRAINED, "frozen")


def run(folder: Path, wanted: Sequence[Block], overrides: Sequence[str]) -> None:
    """Records what is missing of some blocks."""
    for block in wanted:
        keys: dict[str, str] = {
            **SETTINGS,
            "tasks": f"[{block.task}]",
            "encoders": f"[{block.encoder}]",
            "adaptations": f"[{block.adaptation}]",
            "num_demos": f"[{block.num_demos}]",
            "name": "adaptation",
            "run_dir": str(folder / block.name),
        }
        if block.adaptation in OPTIONS:
            keys["adaptation_options"] = OPTIONS[block.adaptation]
        if block.encoder == CNN:
            keys["readouts"] = "[cnn_shift]"
        texts = [f"{key}={value}" for key, value in keys.items()]
        subprocess.run([sys.executable, "-m", "pvrbench", "run", *texts, *overrides], check=True)


def read_blocks(folder: Path) -> dict[Block, list[CellRecord]]:
    """The records of the blocks that are complete, which are packed."""
    found: dict[Block, list[CellRecord]] = {}
    for block in blocks():
        if not (folder / block.name).is_dir():
            continue
        records, refused = RecordStore(folder / block.name).read()
        if refused or sorted(record.cell.seed for record in records) != sorted(SEEDS):
            sys.stderr.write(f"{block.name} is left out: it is not complete\n")
            continue
        RecordStore(folder / block.name).pack()
        found[block] = list(records)
    return found


def scores_of(records: Sequence[CellRecord]) -> Array:
    """Success `1 x seeds x states` of a block."""
    ordered = sorted(records, key=lambda record: record.cell.seed)
    return np.array([[[float(episode.success) for episode in record.episodes] for record in ordered]])


def references(block: Block) -> Iterator[Block]:
    """The frozen blocks that a block is compared with."""
    others = (PRETRAINED[0], UNTRAINED) if block.encoder in (CNN, UNTRAINED) else (block.encoder,)
    for encoder in others:
        reference = Block(block.task, block.num_demos, encoder, "frozen")
        if reference != block:
            yield reference


def analyse(folder: Path) -> None:
    """Writes the tables and prints them in Markdown."""
    found = read_blocks(folder)
    scores: list[dict[str, Any]] = []
    costs: list[dict[str, Any]] = []
    contrasts: list[dict[str, Any]] = []
    for block, records in found.items():
        interval = mean_interval(scores_of(records))
        place = {"task": block.task, "num_demos": block.num_demos}
        name = {"encoder": block.encoder, "adaptation": block.adaptation}
        scores.append({**place, **name, "success": interval.estimate, "low": interval.low, "high": interval.high})
        cost = records[0].cost
        costs.append(
            {
                **place,
                **name,
                "trained_params": (cost.adapted_params or 0) + (cost.readout_params or 0),
                "encoder_flops_per_frame": cost.flops_per_frame,
                "train_s_per_policy": float(np.mean([record.timing.get("train_s", 0.0) for record in records])),
            }
        )
        for reference in references(block):
            if reference in found:
                ours, theirs = scores_of(records), scores_of(found[reference])
                difference, p_value = paired_difference(ours, theirs)
                row = {"against": f"{reference.encoder} frozen", "difference": difference.estimate}
                contrasts.append({**place, **name, **row, "low": difference.low, "high": difference.high, "p": p_value})
    adjusted = holm([row["p"] for row in contrasts])
    contrasts = [{**row, "p_holm": value} for row, value in zip(contrasts, adjusted, strict=True)]
    for title, rows in (("scores", scores), ("contrasts", contrasts), ("costs", costs)):
        table = pd.DataFrame(rows).round(4)
        table.to_csv(folder / f"{title}.csv", index=False)
        sys.stdout.write(markdown(rows) + "\n\n")


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table; shares as percentages."""
    shares = ("success", "low", "high", "difference")

    def text(key: str, value: object) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{100 * value:.0f}" if key in shares else f"{value:.3g}"

    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])] if rows else []
    return "\n".join([*lines, *(f"| {' | '.join(text(key, row[key]) for key in row)} |" for row in rows)])


def main() -> None:
    """Runs or analyses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "analyse"])
    parser.add_argument("--folder", type=Path, default=Path("results/studies/adaptation"))
    parser.add_argument("--blocks", nargs="+", choices=[block.name for block in blocks()], metavar="NAME")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    wanted = [block for block in blocks() if options.blocks is None or block.name in options.blocks]
    if options.action == "run":
        run(options.folder, wanted, options.overrides)
    else:
        analyse(options.folder)


if __name__ == "__main__":
    main()
