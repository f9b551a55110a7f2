"""The choice of DIFT: which block of a diffusion U-Net at which timestep has the best features for a task.

Source: Tang et al. 2023, DIFT, arXiv:2306.03881, whose timestep and block were chosen on SPair-71k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from pvrbench.benchmark.probes.base import Findings, ProbeError, Subject
from pvrbench.benchmark.probes.correspondence import check_grid, grids_of, score_pairs
from pvrbench.benchmark.probes.drawing import draw_heat
from pvrbench.benchmark.probes.linear import fit_linear, score_of
from pvrbench.benchmark.probes.regression import HELD_OUT
from pvrbench.benchmark.probes.scenes import Shot, pairs_of, shots_of
from pvrbench.benchmark.probes.spec import Option, ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure
from pvrbench.common.options import parse_options
from pvrbench.envs.pictures.geometry import ROBOT, STATIC

Numbers = Annotated[str, Field(pattern=r"^\d+(\+\d+)*$")]

# Side to which grids are pooled before the linear probe.
POOLED_SIDE = 4


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Options of `DiftSweep`.

    Attributes:
        timesteps: timesteps, joined by `+`.
        blocks: blocks of the U-Net, joined by `+`.
        ensembles: numbers of noises that are averaged, joined by `+`; others than 1 need an encoder with that option.
        num_episodes: episodes of the expert, whose pictures the linear probe reads.
        num_instants: instants of each.
        num_pair_episodes: episodes whose pictures make pairs.
        num_points: points in a pair on objects, and as many on the robot.
        within_px: distance that counts as right, in pixels.
    """

    timesteps: Numbers
    blocks: Annotated[str, Field(pattern=r"^[a-z0-9_]+(\+[a-z0-9_]+)*$")]
    ensembles: Numbers
    num_episodes: Annotated[int, Field(ge=5)]
    num_instants: Annotated[int, Field(ge=2)]
    num_pair_episodes: PositiveInt
    num_points: PositiveInt
    within_px: Annotated[float, Field(gt=0)]


class DiftSweep:
    """PCK, and R² of the object's position, for each block, timestep and number of noises.

    Args:
        spec: the catalog row.
    """

    def __init__(self, spec: ProbeSpec) -> None:
        self.spec = spec
        self.options = parse_options(SweepOptions, spec.options, f"Probe {spec.name!r}")

    def run(self, subject: Subject) -> Findings:
        """Measures of every choice, and heat maps.

        Raises:
            ProbeError: the task has no object that can move, the camera sees none, or the object does not move.
        """
        check_grid(subject)
        options = self.options
        timesteps = [int(part) for part in options.timesteps.split("+")]
        ensembles = [int(part) for part in options.ensembles.split("+")]
        blocks = options.blocks.split("+")
        chosen, notes = _usable(subject, ensembles)
        pairs = pairs_of(subject, options.num_pair_episodes, options.num_instants, options.num_points, ())
        if not pairs:
            raise ProbeError(f"No other camera of {subject.task.spec.name} sees its object, and nothing in it moves.")
        shots = shots_of(subject, options.num_episodes, options.num_instants)
        measures: list[Measure] = []
        for ensemble in chosen:
            for block in blocks:
                for timestep in timesteps:
                    one = subject.with_options(_choice(subject, block, timestep, ensemble))
                    name = f"block={block} t={timestep} ensemble={ensemble}"
                    scores, _ = score_pairs(pairs, grids_of(one, pairs), options.within_px)
                    measures += [
                        item.model_copy(update={"of": name})
                        for item in scores
                        if (item.of, item.on) == ("all", "object")
                    ]
                    measures.append(_position(one, shots, name))
        pictures = [
            draw_heat(
                f"{name}, {ensemble} noise{'s' if ensemble > 1 else ''}",
                [[_value(measures, name, f"block={b} t={t} ensemble={ensemble}") for t in timesteps] for b in blocks],
                blocks,
                [str(t) for t in timesteps],
            )
            for name in ("pck_0.10", f"pck_{options.within_px:g}px", "r2")
            for ensemble in chosen
        ]
        return Findings(tuple(measures), notes, tuple(pictures))


def _usable(subject: Subject, ensembles: list[int]) -> tuple[list[int], tuple[str, ...]]:
    if "ensemble" in subject.encoder.options:
        return ensembles, ()
    left_out = [str(number) for number in ensembles if number != 1]
    if len(left_out) == len(ensembles):
        raise ProbeError(f"{subject.encoder.name} has one fixed noise. Set probe_options.dift_sweep.ensembles=1.")
    notes = (f"it has one fixed noise, so ensembles of {', '.join(left_out)} are left out",) if left_out else ()
    return [1], notes


def _choice(subject: Subject, block: str, timestep: int, ensemble: int) -> Mapping[str, Option]:
    own = subject.encoder.options
    found: dict[str, Option] = {"timestep": timestep, "block" if "block" in own else "blocks": block}
    return {**found, "ensemble": ensemble} if "ensemble" in own else found


def _position(subject: Subject, shots: list[list[Shot]], name: str) -> Measure:
    """R² of the position of the object that is seen first, by a linear probe on held-out episodes."""
    grid = subject.encode(np.stack([shot.image for part in shots for shot in part])).grid
    if grid is None:
        raise ProbeError(f"{subject.encoder.name} gives no patch grid. Leave it out of this probe.")
    rows = functional.adaptive_avg_pool2d(grid.float(), POOLED_SIDE).flatten(1)
    kinds = shots[0][0].geometry.kinds
    body = int(np.flatnonzero((kinds != STATIC) & (kinds != ROBOT))[0])
    targets = torch.tensor(np.array([shot.geometry.body_pos[body] for part in shots for shot in part]))
    episodes = torch.arange(len(shots)).repeat_interleave(len(shots[0]))
    is_test: Tensor = episodes >= len(shots) - max(1, round(HELD_OUT * len(shots)))
    probe = fit_linear(rows[~is_test], targets[~is_test], episodes[~is_test], {"object": slice(0, 3)})
    score = score_of(probe(rows[is_test]), targets[is_test], probe.offset)
    if score is None:
        raise ProbeError(f"The object of {subject.task.spec.name} never moves, so its position cannot be regressed.")
    return Measure(name="r2", of=name, on="object", value=score.r2, reference=0.0, count=int(is_test.sum()))


def _value(measures: list[Measure], name: str, of: str) -> float:
    return next(item.value for item in measures if (item.name, item.of) == (name, of))
