"""Correspondence: is the most similar feature of another picture at the same surface point?

Protocol of DIFT: feature grids are upsampled to the picture; each point takes the place of greatest cosine similarity.

Source: Tang et al. 2023, arXiv:2306.03881; PCK of Yang and Ramanan 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from pvrbench.benchmark.probes.base import Findings, ProbeError, Subject
from pvrbench.benchmark.probes.drawing import draw_matches
from pvrbench.benchmark.probes.scenes import Pair, pairs_of
from pvrbench.benchmark.probes.spec import ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure
from pvrbench.common.options import parse_options
from pvrbench.envs.base import Array
from pvrbench.envs.pictures.geometry import ROBOT

SHARES = (0.05, 0.10)
KINDS = ("camera", "later", "look")


@dataclass(frozen=True, slots=True)
class CorrespondenceOptions:
    """Options of `Correspondence`.

    Attributes:
        num_episodes: episodes of the expert.
        num_instants: instants of each, at least two.
        num_points: points in a pair on objects, and as many on the robot.
        within_px: distance that counts as right, in pixels.
        looks: other looks, joined by `+`.
    """

    num_episodes: PositiveInt
    num_instants: Annotated[int, Field(ge=2)]
    num_points: PositiveInt
    within_px: Annotated[float, Field(gt=0)]
    looks: str


class Correspondence:
    """Percentage of correct keypoints between pictures of one scene, on objects and on the robot.

    Args:
        spec: the catalog row.
    """

    def __init__(self, spec: ProbeSpec) -> None:
        self.spec = spec
        self.options = parse_options(CorrespondenceOptions, spec.options, f"Probe {spec.name!r}")

    def run(self, subject: Subject) -> Findings:
        """PCK and error in pixels, by kind of pair.

        Raises:
            ProbeError: the task has no object that can move, the camera sees none, or the encoder gives no grid of the
                whole picture.
        """
        check_grid(subject)
        options = self.options
        pairs = pairs_of(
            subject, options.num_episodes, options.num_instants, options.num_points, options.looks.split("+")
        )
        measures, predicted = score_pairs(pairs, grids_of(subject, pairs), options.within_px)
        missing = [kind for kind in KINDS if not any(item.of == kind for item in measures)]
        notes = tuple(f"no point was seen in both pictures of a pair of kind {kind}" for kind in missing)
        shown = next((number for number, pair in enumerate(pairs) if (pair.owners != ROBOT).sum() >= 3), 0)
        return Findings(measures, notes, (draw_matches(pairs[shown], predicted[shown]),))


def check_grid(subject: Subject) -> None:
    """Refuses encoders whose grid shows a part of the picture.

    Raises:
        ProbeError: it does.
    """
    if subject.encoder.options.get("preprocessing") == "official":
        raise ProbeError(
            f"{subject.encoder.name} crops the picture under preprocessing=official, so its grid shows a part of it. "
            "Set preprocessing=full_frame."
        )


def grids_of(subject: Subject, pairs: Sequence[Pair]) -> list[tuple[Float[Tensor, "D h w"], Float[Tensor, "D h w"]]]:
    """The feature grids of both pictures of each pair; pictures that occur twice are encoded once."""
    images: dict[int, Array] = {}
    for pair in pairs:
        for shot in (pair.source, pair.target):
            images.setdefault(id(shot), shot.image)
    grid = subject.encode(np.stack(list(images.values()))).grid
    if grid is None:
        raise ProbeError(f"{subject.encoder.name} gives no patch grid. Leave it out of this probe.")
    place = {name: number for number, name in enumerate(images)}
    return [(grid[place[id(pair.source)]], grid[place[id(pair.target)]]) for pair in pairs]


def match(
    source: Float[Tensor, "D h w"], target: Float[Tensor, "D h w"], places: Float[Array, "K 2"], size: tuple[int, int]
) -> Float[Array, "K 2"]:
    """The places in the second picture whose features are most similar to those at places of the first, in pixels.

    Args:
        source: feature grid of the first picture.
        target: feature grid of the second picture.
        places: `x y` in the first picture, each 0..1.
        size: height and width of the second picture.
    """
    grid = torch.from_numpy(2.0 * places - 1.0).to(source.dtype)
    # The value that the grid has at a place when it is upsampled to the picture.
    wanted = functional.grid_sample(
        source[None], grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )[0, :, 0]
    offered = functional.interpolate(target[None], size, mode="bilinear", align_corners=False)[0].flatten(1)
    similarity = functional.normalize(wanted, dim=0).T @ functional.normalize(offered, dim=0)
    best = similarity.argmax(dim=1)
    return cast("Array", torch.stack([best % size[1], best // size[1]], dim=1).numpy()) + 0.5


def score_pairs(
    pairs: Sequence[Pair],
    grids: Sequence[tuple[Float[Tensor, "D h w"], Float[Tensor, "D h w"]]],
    within_px: float,
) -> tuple[tuple[Measure, ...], list[Float[Array, "K 2"]]]:
    """Measures by kind of pair and by what points are on, and the predicted places of each pair.

    The reference of PCK is chance: the share of the picture that would count as right.
    """
    side = len(pairs[0].source.image)
    predicted = [match(*grid, pair.points / side, (side, side)) for pair, grid in zip(pairs, grids, strict=True)]
    rows: dict[tuple[str, str], list[Array]] = {}
    for pair, found in zip(pairs, predicted, strict=True):
        table = _table(pair, found, within_px)
        for group, chosen in (("object", pair.owners != ROBOT), ("robot", pair.owners == ROBOT)):
            rows.setdefault((pair.kind, group), []).append(table[:, chosen])
    measures: list[Measure] = []
    names = (*(f"pck_{share:.2f}" for share in SHARES), f"pck_{within_px:g}px", "error_px")
    means: dict[str, list[tuple[float, float]]] = {}
    for (kind, group), tables in rows.items():
        table = np.concatenate(tables, axis=1)
        count = table.shape[1]
        if count == 0:
            continue
        values = table.mean(axis=1)
        for number, name in enumerate(names):
            value, reference = float(values[2 * number]), float(values[2 * number + 1])
            measures.append(Measure(name=name, of=kind, on=group, value=value, reference=reference, count=count))
            if group == "object":
                means.setdefault(name, []).append((value, reference))
    num_points = sum(int((pair.owners != ROBOT).sum()) for pair in pairs)
    # Each kind of pair counts once.
    for name, values in means.items():
        value, reference = np.mean(values, axis=0)
        measures.append(
            Measure(name=name, of="all", on="object", value=value, reference=reference, count=max(num_points, 1))
        )
    return tuple(measures), predicted


def _table(pair: Pair, predicted: Array, within_px: float) -> Float[Array, "R K"]:
    """For each point: hits at the shares of the box, at a distance, and the distance; each with that of chance."""
    side = len(pair.source.image)
    distances = np.linalg.norm(predicted - pair.counterparts, axis=1)
    centres = np.arange(side) + 0.5
    everywhere = np.hypot(
        (centres[None] - pair.counterparts[:, :1])[:, :, None], (centres[None] - pair.counterparts[:, 1:])[:, None, :]
    ).reshape(len(distances), -1)
    rows: list[Array] = []
    for limit in (*(share * pair.boxes for share in SHARES), np.full(len(distances), within_px)):
        rows += [distances <= limit, (everywhere <= limit[:, None]).mean(axis=1)]
    return np.array([*rows, distances, everywhere.mean(axis=1)], np.float64)
