"""Segmentation without training: clusters of patch features, and attention of the class token, against exact masks.

Source: k-means of patch features with Hungarian matching as in unsupervised semantic segmentation (Cho et al. 2021,
arXiv:2103.17070); thresholded attention and Jaccard index of Caron et al. 2021, arXiv:2104.14294, as used by Burns et
al. 2023, arXiv:2312.12444.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field, PositiveInt
from scipy import optimize
from torch import Tensor
from torch.nn import functional

from pvrbench.benchmark.probes.base import Findings, ProbeError, Subject
from pvrbench.benchmark.probes.correspondence import check_grid
from pvrbench.benchmark.probes.drawing import draw_row
from pvrbench.benchmark.probes.scenes import shots_of
from pvrbench.benchmark.probes.spec import ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure, Picture
from pvrbench.common.options import parse_options
from pvrbench.encoders.attention import class_token_attention
from pvrbench.envs.base import Array
from pvrbench.envs.pictures.geometry import ROBOT, STATIC

CLASSES = ("background", "robot", "object")
COLOURS = np.array([[90, 90, 90], [70, 130, 220], [240, 170, 40]], np.uint8)
NUM_STARTS, NUM_STEPS = 4, 30
# Pictures in one call of an encoder for attention.
BATCH = 8


@dataclass(frozen=True, slots=True)
class SegmentationOptions:
    """Options of `Segmentation`.

    Attributes:
        num_episodes: episodes of the expert.
        num_instants: instants of each, at least two.
        num_clusters: clusters of patch features, at least one for each class.
        attention_mass: share of the attention that is kept.
    """

    num_episodes: PositiveInt
    num_instants: Annotated[int, Field(ge=2)]
    num_clusters: Annotated[int, Field(ge=len(CLASSES), le=256)]
    attention_mass: Annotated[float, Field(gt=0, lt=1)]


class Segmentation:
    """Mean IoU of clusters with background, robot and object; Jaccard index of attention with the object.

    Args:
        spec: the catalog row.
    """

    def __init__(self, spec: ProbeSpec) -> None:
        self.spec = spec
        self.options = parse_options(SegmentationOptions, spec.options, f"Probe {spec.name!r}")

    def run(self, subject: Subject) -> Findings:
        """Scores of clusters, and of attention where the encoder has a class token.

        Raises:
            ProbeError: the task has no object that can move, the camera sees none, or the encoder gives no grid of the
                whole picture.
        """
        check_grid(subject)
        options = self.options
        shots = [shot for part in shots_of(subject, options.num_episodes, options.num_instants) for shot in part]
        images = np.stack([shot.image for shot in shots])
        masks = np.stack([classes_of(shot.geometry.seen) for shot in shots])
        grid = subject.encode(images).grid
        if grid is None:
            raise ProbeError(f"{subject.encoder.name} gives no patch grid. Leave it out of this probe.")
        clusters = cluster(grid, options.num_clusters, masks.shape[-1])
        found = assigned(clusters, masks, options.num_clusters)
        blind = assigned(cluster(_places(grid), options.num_clusters, masks.shape[-1]), masks, options.num_clusters)
        measures = _ious(found, masks, blind)
        shown = int(np.argmax((masks == CLASSES.index("object")).sum(axis=(1, 2))))
        pictures = [
            draw_row(
                "Segmentation: picture, truth, clusters", [images[shown], COLOURS[masks[shown]], COLOURS[found[shown]]]
            )
        ]
        attention = _attention(subject, images)
        if attention is None:
            return Findings(tuple(measures), ("there is no class token whose attention can be read",), tuple(pictures))
        scores, picture = _score_attention(attention, images, masks, options.attention_mass, shown)
        return Findings((*measures, *scores), (), (*pictures, picture))


def classes_of(seen: Int[Array, "H W"]) -> Int[Array, "H W"]:
    """The class of each pixel, an index into `CLASSES`, from kinds of bodies."""
    return np.where(seen == ROBOT, 1, np.where(seen == STATIC, 0, 2))


def cluster(grid: Float[Tensor, "N D h w"], num_clusters: int, side: int) -> Int[Array, "N S S"]:
    """Clusters of all patches of all pictures by cosine similarity, upsampled to the pictures.

    k-means on features of length one; of several starts the one with the smallest distances is taken.

    Args:
        grid: patch features.
        num_clusters: clusters.
        side: side of the pictures.
    """
    patches = functional.normalize(grid.float(), dim=1)
    rows = patches.permute(0, 2, 3, 1).flatten(0, 2)
    centres = min((_k_means(rows, num_clusters, seed) for seed in range(NUM_STARTS)), key=lambda found: found[1])[0]
    similarity = torch.einsum("ndhw,kd->nkhw", patches, centres)
    size = centres.square().sum(dim=1)[:, None, None]
    nearest = functional.interpolate(2 * similarity - size, (side, side), mode="bilinear", align_corners=False)
    return cast("Array", nearest.argmax(dim=1).numpy())


def _k_means(rows: Float[Tensor, "R D"], num_clusters: int, seed: int) -> tuple[Float[Tensor, "K D"], float]:
    """Centres by k-means++ and Lloyd's algorithm, and the mean squared distance to them."""
    generator = torch.Generator().manual_seed(seed)
    chosen = rows[torch.randint(len(rows), (1,), generator=generator)]
    while len(chosen) < num_clusters:
        distances = torch.cdist(rows, chosen).amin(dim=1).square().clamp(min=1e-12)
        chosen = torch.cat([chosen, rows[torch.multinomial(distances, 1, generator=generator)]])
    for _ in range(NUM_STEPS):
        owners = torch.cdist(rows, chosen).argmin(dim=1)
        members = functional.one_hot(owners, num_clusters).float()
        sizes = members.sum(dim=0)
        centres = torch.where((sizes > 0)[:, None], members.T @ rows / sizes.clamp(min=1)[:, None], chosen)
        if torch.equal(centres, chosen):
            break
        chosen = centres
    return chosen, float(torch.cdist(rows, chosen).amin(dim=1).square().mean())


def assigned(clusters: Int[Array, "N S S"], masks: Int[Array, "N S S"], num_clusters: int) -> Int[Array, "N S S"]:
    """The class of each pixel: one cluster for each class by Hungarian matching of IoU, the others are background."""
    counts = np.zeros((len(CLASSES), num_clusters))
    np.add.at(counts, (masks.ravel(), clusters.ravel()), 1)
    unions = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True) - counts
    solve = cast("Callable[[Array], tuple[Array, Array]]", cast("Any", optimize).linear_sum_assignment)
    classes, chosen = solve(-counts / np.maximum(unions, 1))
    of_cluster = np.zeros(num_clusters, np.int64)
    of_cluster[chosen] = classes
    return of_cluster[clusters]


def _ious(found: Array, masks: Array, blind: Array) -> list[Measure]:
    values = {name: (_iou(found == k, masks == k), _iou(blind == k, masks == k)) for k, name in enumerate(CLASSES)}
    values["all"] = cast("tuple[float, float]", tuple(np.mean(list(values.values()), axis=0).tolist()))
    return [
        Measure(name="miou" if name == "all" else "iou", of=name, value=value, reference=reference, count=len(masks))
        for name, (value, reference) in values.items()
    ]


def _iou(found: Bool[Array, ...], truth: Bool[Array, ...]) -> float:
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def _places(grid: Float[Tensor, "N D h w"]) -> Float[Tensor, "N 4 h w"]:
    """Features that know nothing but the place in the picture."""
    height, width = grid.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    angles = torch.stack([x, y]) * (torch.pi / 2)
    return torch.cat([angles.sin(), angles.cos()])[None].expand(len(grid), -1, -1, -1)


def _attention(subject: Subject, images: UInt8[Array, "N H W 3"]) -> Float[Tensor, "N heads h w"] | None:
    encoder = subject.load()
    maps: list[Tensor] = []
    for start in range(0, len(images), BATCH):
        found = class_token_attention(encoder, torch.from_numpy(images[start : start + BATCH]))
        if found is None:
            return None
        maps.append(found)
    return torch.cat(maps)


def kept(attention: Float[Tensor, "... h w"], mass: float) -> Bool[Tensor, "... h w"]:
    """The fewest patches that hold a share of the attention."""
    flat = attention.flatten(-2)
    sorted_, order = cast("Any", flat.sort(dim=-1, descending=True))
    before = sorted_.cumsum(dim=-1) - sorted_
    chosen = before < mass * sorted_.sum(dim=-1, keepdim=True)
    return torch.zeros_like(flat, dtype=torch.bool).scatter(-1, order, chosen).reshape(attention.shape)


def _score_attention(
    attention: Float[Tensor, "N heads h w"], images: Array, masks: Array, mass: float, shown: int
) -> tuple[Sequence[Measure], Picture]:
    """Jaccard index with the object: of the mean over heads, and of the head that is best over all pictures.

    The reference is that of a map of the same size at random places.
    """
    side = masks.shape[-1]
    truth = masks == CLASSES.index("object")
    maps = torch.cat([attention.mean(dim=1, keepdim=True), attention], dim=1)
    upsampled = functional.interpolate(kept(maps, mass).float(), (side, side), mode="nearest").bool()
    chosen = cast("Array", upsampled.numpy())
    visible = np.flatnonzero(truth.any(axis=(1, 2)))
    scores = np.array(
        [[_iou(chosen[number, head], truth[number]) for head in range(maps.shape[1])] for number in visible]
    ).mean(axis=0)
    shares = chosen[visible].mean(axis=(2, 3)), truth[visible].mean(axis=(1, 2))[:, None]
    chance = (shares[0] * shares[1] / (shares[0] + shares[1] - shares[0] * shares[1])).mean(axis=0)
    best = 1 + int(scores[1:].argmax())
    measures = [
        Measure(
            name="jaccard",
            of=name,
            on="object",
            value=float(scores[head]),
            reference=float(chance[head]),
            count=len(visible),
        )
        for name, head in (("attention_mean", 0), ("attention_best_head", best))
    ]
    overlay = images[shown].copy()
    overlay[~chosen[shown, best]] //= 4
    return measures, draw_row("Attention of the class token, best head", [images[shown], overlay])
