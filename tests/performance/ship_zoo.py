"""Makes the shipped zoo of finished pretrainings: weights and cards, figures, and the table of docs/zoo.md.

Run as `python tests/performance/ship_zoo.py FOLDER`, with an output folder of `pvrbench pretrain` for each objective in
FOLDER. Prints the table and the digests that belong into `encoders/rows/zoo.py`; nothing is trained or measured.
What policies say of the encoders is put onto the cards by `study_zoo.py cards`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from pvrbench.benchmark.engine.forecast import duration
from pvrbench.encoders.weights.location import SHIPPED
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES

mpl.use("Agg")

FIGURES = Path("docs/figures/zoo")


def draw_losses(cards: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """A panel for each objective: training loss, held-out loss, and the trivial answer."""
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(2, 4, figsize=(11, 4.6), layout="constrained")
    axes = list(grid.flat)
    for axis, (name, card) in zip(axes, cards.items(), strict=False):
        axis.plot(*zip(*card["loss_curve"], strict=True), color="#0072B2", lw=1, label="training")
        points = [*card["held_out_curve"], [card["num_steps"], card["held_out"]["loss"]]]
        axis.plot(*zip(*points, strict=True), color="#D55E00", marker="o", ms=3, lw=1, label="held-out clips")
        axis.axhline(card["trivial"]["loss"], color="#777777", ls=":", label="trivial answer")
        axis.set_title(name, fontsize=10)
        axis.set_ylim(0, 1.15 * card["trivial"]["loss"])
        axis.tick_params(labelsize=8)
    for axis in axes[len(cards) :]:
        axis.axis("off")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center")
    figure.supxlabel("update", fontsize=9)
    figure.savefig(path, dpi=110)


def table(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """What was spent and what was learnt, in Markdown."""
    lines = [
        "| encoder | held-out loss | trivial | TFLOP | minutes | class token | mean of patches | patch grid |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, card in cards.items():
        probes = [
            " | ".join(
                f"{trained[field]['r2']:.2f} ({untrained[field]['r2']:.2f})" if field in trained else "-"
                for field in ("class_token", "mean", "grid")
            )
            for trained, untrained in [(card["probe"]["trained"], card["probe"]["untrained"])]
        ]
        lines.append(
            f"| `zoo_{name}` | {card['held_out']['loss']:.3f} | {card['trivial']['loss']:.3f} | "
            f"{card['flops'] / 1e12:.0f} | {card['wall_clock_s'] / 60:.0f} | {probes[0]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Copies, draws, prints."""
    source = Path(sys.argv[1])
    cards: dict[str, Mapping[str, Any]] = {}
    SHIPPED.mkdir(exist_ok=True)
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in OBJECTIVES:
        picture = FIGURES / f"{name}.jpg"
        cards[name] = {**json.loads((source / name / "card.json").read_text()), "picture": str(picture)}
        shutil.copyfile(source / name / "weights.safetensors", SHIPPED / f"{name}.safetensors")
        (SHIPPED / f"{name}.json").write_text(json.dumps(cards[name], indent=1) + "\n")
        Image.open(source / name / "picture.png").convert("RGB").save(picture, quality=85)
    draw_losses(cards, FIGURES / "losses.png")
    sys.stdout.write(table(cards))
    total = sum(card["wall_clock_s"] for card in cards.values())
    sys.stdout.write(f"\n{duration(total)} in all\n\n")
    for name, card in cards.items():
        sys.stdout.write(f'    "{name}": "{card["weights"]["sha256"]}",\n')


if __name__ == "__main__":
    main()
