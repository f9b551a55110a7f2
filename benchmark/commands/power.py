"""Body of `pvrbench power`: which difference a run can see, and what a wanted one needs."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from pvrbench.benchmark.commands.verb import Verb, VerbSettings, print_json

if TYPE_CHECKING:
    from pvrbench.benchmark.analysis.power import Design


class PowerSettings(VerbSettings):
    """Settings of `pvrbench power`, see `pvrbench.benchmark.analysis.power.Design`, which checks them."""

    tasks: int = 1
    """Tasks."""
    seeds: int = 3
    """Training runs of each contender."""
    episodes: int = 50
    """Initial states for each training run."""
    contenders: int = 2
    """Contenders; all pairs are compared."""
    rate: float = 0.5
    """Success rate about which they differ."""
    seed_sd: float = 0.0
    """Standard deviation of the true success rates of training runs."""
    correlation: float = 0.0
    """Correlation of the outcomes of two contenders on one initial state."""
    power: float = 0.8
    """Probability of finding the gap."""
    gap: float | None = None
    """A wanted gap in success rate, such as 0.05."""
    as_json: bool = False
    """Print JSON for a program to read."""


def power_command(settings: PowerSettings) -> int:
    """Says what a design can detect."""
    # scipy takes a second to import, which no other verb should wait for.
    from pvrbench.benchmark.analysis.power import Design, detectable_difference, episodes_needed, seeds_needed

    design = Design(**settings.model_dump(exclude={"gap", "as_json"}))
    difference = detectable_difference(design)
    needs: dict[str, int | None] = {}
    if settings.gap is not None:
        needs = {"seeds": seeds_needed(design, settings.gap), "episodes": episodes_needed(design, settings.gap)}
    if settings.as_json:
        print_json({"design": asdict(design), "detectable_difference": difference, "gap": settings.gap, "needs": needs})
        return 0
    sys.stdout.write("".join(f"{line}\n" for line in power_text(design, difference, settings.gap, needs)))
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
            f"{_count(max(2, design.seeds), 'seed')} detect {100 * noisy:.0f} points (seed_sd=0.1)."
        )
    elif design.seeds == 1:
        lines.append("One seed cannot show that training runs vary: a difference may be due to this training run.")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


POWER = Verb(
    name="power",
    summary="Say what a run of some size can see, and what a wanted gap needs.",
    settings=PowerSettings,
    body=power_command,
    details="  pvrbench power seeds=3 episodes=25 tasks=5 gap=0.05",
)
