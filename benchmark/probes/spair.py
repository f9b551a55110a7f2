"""SPair-71k from a local folder, with the protocol of DIFT: semantic correspondence between pictures of the world.

The folder is the published one: `PairAnnotation/<split>/*.json` and `JPEGImages/<category>/*.jpg`.

Source: Min et al. 2019, arXiv:1908.10543; `eval_spair.py` of DIFT (Tang et al. 2023, arXiv:2306.03881): features are
upsampled to each picture's own size, and a point is right within 0.1 of the longer side of the target's box.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pvrbench.benchmark.probes.correspondence import match
from pvrbench.encoders.base import Encoder
from pvrbench.envs.base import Array


class SpairError(ValueError):
    """The folder is not SPair-71k, or the encoder cannot be scored on it."""


@dataclass(frozen=True, slots=True)
class SpairPair:
    """Two pictures of objects of one category with corresponding points.

    Attributes:
        category: of the objects.
        source: file of the first picture.
        target: file of the second picture.
        source_points: places in the first picture, pixels.
        target_points: places in the second picture, pixels.
        box_px: longer side of the target's box.
    """

    category: str
    source: Path
    target: Path
    source_points: Float[Array, "K 2"]
    target_points: Float[Array, "K 2"]
    box_px: float


@dataclass(frozen=True, slots=True)
class SpairScore:
    """PCK of a category.

    Attributes:
        category: the category; `all` for the whole split.
        per_image: mean over pairs of the share of points that are right.
        per_point: share of all points that are right.
        num_pairs: pairs.
        num_points: points.
    """

    category: str
    per_image: float
    per_point: float
    num_pairs: int
    num_points: int


def read_spair(folder: Path, split: str, num_pairs: int | None = None) -> list[SpairPair]:
    """The pairs of a split, in the order of their file names.

    Args:
        folder: the folder of the data set.
        split: `trn`, `val` or `test`.
        num_pairs: evenly spread pairs to take; None takes all.

    Raises:
        SpairError: the folder or a file is not as published.
    """
    paths = sorted((folder / "PairAnnotation" / split).glob("*.json"))
    if not paths:
        raise SpairError(
            f"{folder} holds no PairAnnotation/{split}/*.json. Give the unpacked folder SPair-71k with folder=..."
        )
    if num_pairs is not None and num_pairs < len(paths):
        paths = [paths[index * len(paths) // num_pairs] for index in range(num_pairs)]
    return [_read_pair(folder, path) for path in paths]


def _read_pair(folder: Path, path: Path) -> SpairPair:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        category = str(found["category"])
        source, target = (folder / "JPEGImages" / category / str(found[key]) for key in ("src_imname", "trg_imname"))
        points = [np.array(found[key], np.float64).reshape(-1, 2) for key in ("src_kps", "trg_kps")]
        left, top, right, bottom = (float(number) for number in found["trg_bndbox"])
    except (ValueError, KeyError, TypeError) as error:
        raise SpairError(f"{path} is not an annotation of SPair-71k ({error!r}).") from error
    if len(points[0]) != len(points[1]) or not len(points[0]):
        raise SpairError(f"{path} has {len(points[0])} points in the source and {len(points[1])} in the target.")
    for picture in (source, target):
        if not picture.is_file():
            raise SpairError(f"{path} names {picture}, which is not there. Unpack the pictures of SPair-71k too.")
    return SpairPair(category, source, target, points[0], points[1], max(right - left, bottom - top))


def score_spair(encoder: Encoder, pairs: Sequence[SpairPair], share: float = 0.1) -> list[SpairScore]:
    """PCK of an encoder by category, then of all.

    Args:
        encoder: it must give a grid of the whole picture.
        pairs: the pairs.
        share: share of the target's box within which a point is right.

    Raises:
        SpairError: the encoder gives no grid, or one that is not finite.
    """
    grids: dict[Path, tuple[Float[Tensor, "D h w"], tuple[int, int]]] = {}
    last_use = {path: number for number, pair in enumerate(pairs) for path in (pair.source, pair.target)}
    hits: dict[str, list[Array]] = {}
    for number, pair in enumerate(pairs):
        for path in (pair.source, pair.target):
            if path not in grids:
                grids[path] = _grid(encoder, path)
        (source, (height, width)), (target, size) = grids[pair.source], grids[pair.target]
        # Annotated places are pixels; their centres lie half a pixel further.
        places = (pair.source_points + 0.5) / (width, height)
        found = match(source, target, places, size) - 0.5
        is_right = np.linalg.norm(found - pair.target_points, axis=1) <= share * pair.box_px
        hits.setdefault(pair.category, []).append(is_right)
        for path in (pair.source, pair.target):
            if last_use[path] == number:
                grids.pop(path, None)
    scores = [_score(category, found) for category, found in sorted(hits.items())]
    return [*scores, _score("all", [found for part in hits.values() for found in part])]


def _score(category: str, hits: Iterable[Array]) -> SpairScore:
    pairs = list(hits)
    every = np.concatenate(pairs)
    per_image = float(np.mean([found.mean() for found in pairs]))
    return SpairScore(category, per_image, float(every.mean()), len(pairs), len(every))


def _grid(encoder: Encoder, path: Path) -> tuple[Float[Tensor, "D h w"], tuple[int, int]]:
    with Image.open(path) as picture:
        image = np.array(picture.convert("RGB"))
    grid = encoder.encode(torch.from_numpy(image)[None]).grid
    if grid is None:
        raise SpairError(f"{encoder.spec.name} gives no patch grid. Choose an encoder that does.")
    if not torch.isfinite(grid).all():
        raise SpairError(f"{encoder.spec.name} gives NaN or infinity for {path}. `pvrbench check-encoder` says more.")
    return grid[0].float().cpu(), (image.shape[0], image.shape[1])
