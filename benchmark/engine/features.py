"""Frames -> features: the single path for demonstrations and rollouts, in calls of one fixed shape."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from pvrbench.benchmark.config import Precision
from pvrbench.benchmark.engine.cache import FeatureCache
from pvrbench.benchmark.engine.processor import side_by_side, use_full_float32
from pvrbench.benchmark.engine.provenance import package_versions
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.readouts.base import compact
from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.spec import Modality
from pvrbench.envs.base import Array

FIELDS: tuple[Literal["class_token", "grid", "pooled"], ...] = ("class_token", "grid", "pooled")

# Beside torch, the distributions whose code makes features.
MAKERS = ("diffusers", "pvrbench", "timm", "torchvision")


class FeatureError(ValueError):
    """An encoder gave something that cannot be trained on; the text names the encoder and the fault."""


class NonFiniteError(FeatureError):
    """Features of some frames are NaN or infinite; those of others may be sound."""


@dataclass(frozen=True, slots=True)
class FrameFeatures:
    """Features of some frames, as readouts take them.

    Attributes:
        compact: the grid pooled to a small side; all that most readouts need, and what the cache holds.
        raw: the grid as the encoder made it; None where no readout in use asks for it.
        faults: what is wrong with single rows, whose numbers are not to be used.
    """

    compact: Features
    raw: Features | None
    faults: Mapping[int, str] = field(default_factory=dict[int, str])

    def of(self, readout: ReadoutSpec) -> Features:
        """The features that a readout reads."""
        if not readout.raw_grid:
            return self.compact
        if self.raw is None:
            raise FeatureError(f"Readout {readout.name!r} needs the raw grid, which was not kept.")
        return self.raw


class TileEncoder:
    """An encoder that is only ever called with one batch shape.

    With another batch size the last bits of the features differ; with a fixed one a frame's features
    depend on that frame alone, whatever its companions and position. Short tiles are padded with zeros.

    Args:
        encoder: the frozen encoder.
        device: where it runs.
        tile: frames in one call.
        keep_raw: whether readouts in use need the raw grid.
        precision: numbers that the encoder computes with; features are float32 in any case.
        content: digest of everything that determines the features on this machine; None takes the encoder's own.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: str,
        tile: int,
        *,
        keep_raw: bool,
        precision: Precision = "float32",
        content: str | None = None,
    ) -> None:
        self.encoder = encoder.to(device)
        self.content = content or encoder.digest
        self.device = device
        self.tile = tile
        self.keep_raw = keep_raw
        self.precision: Precision = precision
        self.modality: Modality = encoder.spec.modality
        self.reentrant = bool(getattr(encoder, "reentrant", False)) and device == "cpu"
        # It reads no picture and computes nothing.
        self.is_free = self.modality != "image" and encoder.spec.num_params == 0
        self.num_encoded = 0
        self._versions = package_versions(MAKERS)
        self._lock = Lock()

    def encode_tile(self, inputs: Array) -> FrameFeatures:
        """Encodes at most one tile of inputs; the result has `tile` rows, those beyond the inputs are padding.

        Raises:
            FeatureError: the encoder returned another number of rows.
        """
        padded = np.zeros((self.tile, *inputs.shape[1:]), inputs.dtype)
        padded[: len(inputs)] = inputs
        with nullcontext() if self.is_free else self.in_precision():
            found = self.encoder.encode(torch.from_numpy(padded).to(self.device))
        faults = self._check(found, len(inputs))
        # One memory layout for all, that of the cache: what a readout sums up depends on it in the last bits.
        raw = Features(
            **{name: None if (part := getattr(found, name)) is None else part.float().contiguous() for name in FIELDS}
        )
        with self._lock:
            self.num_encoded += len(inputs)
        return FrameFeatures(compact(raw), raw if self.keep_raw else None, faults)

    @contextmanager
    def in_precision(self) -> Generator[None]:
        """Where the encoder computes in its precision, of the thread that enters; what follows is full float32."""
        use_full_float32()
        half = torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.precision == "bfloat16")
        try:
            with half:
                yield
        finally:
            use_full_float32()  # the encoder's code may have chosen otherwise

    def encode(self, inputs: Array) -> dict[str, Tensor]:
        """Encodes any number of inputs; tensors by field, on the CPU, with `raw_grid` where it is kept.

        Raises:
            NonFiniteError: the encoder returned NaN or infinity.
            FeatureError: it returned another number of rows.
        """
        parts = [inputs[start : start + self.tile] for start in range(0, len(inputs), self.tile)]
        lanes = torch.get_num_threads() if self.reentrant else 1
        with side_by_side(lanes, torch.get_num_threads()) as executor:
            found = list(executor.map(self.encode_tile, parts))
            for fault in (fault for features in found for fault in features.faults.values()):
                raise NonFiniteError(fault)
            pieces = [
                {name: tensor[: len(part)].cpu() for name, tensor in _tensors(features).items()}
                for part, features in zip(parts, found, strict=True)
            ]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    def key(self, content: str) -> str:
        """Cache key of the features of some content: all that determines their bits."""
        # Earlier versions left TF32 on.
        kind = f"{torch.cuda.get_device_name(self.device)}, no TF32" if self.device.startswith("cuda") else "cpu"
        setting = [self.tile, kind, self.precision, self.keep_raw]
        return digest_of([self.content, content, *setting, torch.__version__, self._versions])

    def _check(self, features: Features, num_rows: int) -> dict[int, str]:
        """What is wrong with single rows; an encoder that returns another number of rows is no encoder."""
        name = self.encoder.spec.name
        faults: dict[int, str] = {}
        for part in FIELDS:
            tensor = getattr(features, part)
            if tensor is None:
                continue
            if tensor.shape[0] != self.tile:
                raise FeatureError(
                    f"Encoder {name!r} returned {tensor.shape[0]} rows of {part} for {self.tile} images. "
                    "It must return one row for each image: check its output with `pvrbench check-encoder`."
                )
            rows = tensor[:num_rows]
            # One pass for the usual case. Nothing in a sum that is finite is NaN or infinite; other sums may overflow.
            if math.isfinite(rows.sum().item()):
                continue
            finite = torch.isfinite(rows).flatten(1).all(dim=1)
            for row in cast("list[int]", (~finite).nonzero()[:, 0].tolist()):
                faults[row] = (
                    f"Encoder {name!r} returned NaN or infinity in {part}. "
                    "Check its weights and preprocessing with `pvrbench check-encoder`."
                )
        return faults


def demo_features(
    encoder: TileEncoder,
    cache: FeatureCache,
    inputs: Sequence[Array],
    on_progress: Callable[[int], None] = lambda _count: None,
) -> list[FrameFeatures | NonFiniteError]:
    """Features of every demonstration, from the cache where they are there, or why they cannot be trained on.

    Args:
        encoder: the encoder.
        cache: where features are kept. Only features of images are: others cost nothing to make.
        inputs: for each demonstration its T images, states or empty vectors.
        on_progress: called with the number of frames done.
    """
    result: list[FrameFeatures | NonFiniteError] = []
    for array in inputs:
        key = encoder.key(hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() + str(array.shape))
        tensors = cache.get(key) if encoder.modality == "image" else None
        if tensors is None:
            try:
                tensors = encoder.encode(array)
            except NonFiniteError as error:
                result.append(error)
                on_progress(len(array))
                continue
            if encoder.modality == "image":
                cache.put(key, tensors)
                # As the cache holds them: mapped, so that memory does not grow with the demonstrations.
                tensors = cache.get(key) or tensors
        result.append(_features(tensors))
        on_progress(len(array))
    return result


def _tensors(features: FrameFeatures) -> dict[str, Tensor]:
    found = {field: getattr(features.compact, field) for field in FIELDS}
    if features.raw is not None:
        found["raw_grid"] = features.raw.grid
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _features(tensors: dict[str, Tensor]) -> FrameFeatures:
    small = Features(**{field: tensors.get(field) for field in FIELDS})
    if "raw_grid" not in tensors:
        return FrameFeatures(small, None)
    return FrameFeatures(small, Features(small.class_token, tensors["raw_grid"], small.pooled))
