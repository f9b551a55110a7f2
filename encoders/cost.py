"""What an encoder costs: parameters, operations, time and memory for a frame."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pvrbench.encoders.base import Encoder
from pvrbench.encoders.input_probe import accepted_px, device_of, network_of

_ENOUGH_S = 1.0
_MAX_CALLS = 10


@dataclass(frozen=True, slots=True)
class EncoderCost:
    """Time and memory of an encoder on this machine, preprocessing included.

    Attributes:
        ms_alone: milliseconds for one frame alone.
        ms_in_tile: milliseconds for a frame in a full tile.
        peak_bytes: most memory that parameters and intermediate results of a tile take at once. On a GPU it is what
            torch allocates; on the CPU the tensors that operators return, without their inner work space.
    """

    ms_alone: float
    ms_in_tile: float
    peak_bytes: int


def num_params(encoder: Encoder) -> int:
    """Parameters of the frozen network; what the row says where the network is hidden."""
    network = network_of(encoder)
    return encoder.spec.num_params if network is None else sum(weight.numel() for weight in network.parameters())


def flops_per_frame(encoder: Encoder, image_px: int | None = None) -> int | None:
    """Floating-point operations for one frame, multiplications and additions counted apart.

    Counted by torch on one call with one frame; None where the encoder reads no image.

    Args:
        encoder: the encoder.
        image_px: side of the frame in pixels; without it the encoder's own input size, or one that it takes.
    """
    if encoder.spec.modality != "image":
        return None
    with FlopCounterMode(display=False) as counter:
        encoder.encode(_frames(encoder, 1, image_px))
    return counter.get_total_flops()


def measure(encoder: Encoder, tile: int, image_px: int | None = None) -> EncoderCost | None:
    """Measures an encoder where it is; None where it reads no image.

    Args:
        encoder: the encoder.
        tile: frames in one call of a run.
        image_px: side of the frames in pixels; without it the encoder's own input size, or one that it takes.
    """
    if encoder.spec.modality != "image":
        return None
    alone, full = _frames(encoder, 1, image_px), _frames(encoder, tile, image_px)
    peak_bytes = _peak_bytes(encoder, full)
    return EncoderCost(_ms(encoder, alone), _ms(encoder, full) / tile, peak_bytes)


def training_bytes(module: nn.Module, frame: Tensor) -> int:
    """Memory that the intermediate results of one frame take until gradients are computed, on the CPU.

    Args:
        module: what is trained.
        frame: one row that it reads.
    """
    with torch.enable_grad(), _LiveTensors() as live:
        module(frame)
    return live.peak_bytes


def _frames(encoder: Encoder, count: int, image_px: int | None) -> Tensor:
    side = image_px or encoder.spec.image_size or accepted_px(encoder)
    return torch.zeros(count, side, side, 3, dtype=torch.uint8, device=device_of(encoder))


def _ms(encoder: Encoder, frames: Tensor) -> float:
    """Median time of a call; calls are repeated while that costs little."""
    wait: Callable[[], object] = torch.cuda.synchronize if frames.is_cuda else lambda: None
    times: list[float] = []
    while not times or (len(times) < _MAX_CALLS and sum(times) < _ENOUGH_S):
        started = time.perf_counter()
        encoder.encode(frames)
        wait()
        times.append(time.perf_counter() - started)
    # The first call of a shape chooses algorithms; a single slow one is long enough for that not to matter.
    return 1000 * median(times[1:] or times)


def _peak_bytes(encoder: Encoder, frames: Tensor) -> int:
    if frames.is_cuda:
        torch.cuda.reset_peak_memory_stats(frames.device)
        encoder.encode(frames)
        return torch.cuda.max_memory_allocated(frames.device)
    network = network_of(encoder)
    held = [] if network is None else [*network.parameters(), *network.buffers()]
    with _LiveTensors() as live:
        encoder.encode(frames)
    return live.peak_bytes + sum(tensor.numel() * tensor.element_size() for tensor in held)


class _LiveTensors(TorchDispatchMode):
    """Adds up the memory of the tensors that operators return, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak_bytes = 0
        self._bytes = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        output = func(*args, **(kwargs or {}))
        taken = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and id(leaf.untyped_storage()) not in taken | self._known:
                self._add(leaf.untyped_storage())
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        self._known.add(key)
        self._bytes += size
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._bytes -= size
