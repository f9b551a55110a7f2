"""Tiles of frames that are encoded while environments simulate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress

from pvrbench.benchmark.engine.features import FrameFeatures, TileEncoder
from pvrbench.benchmark.engine.processor import side_by_side
from pvrbench.envs.base import Array


class EncoderLanes:
    """Tiles go in without waiting, and come out when they are done. Use as a context manager.

    Args:
        encoder: the encoder.
        num_lanes: tiles that may be encoded at the same time; one where the encoder is not reentrant.
        num_threads: processor threads of all lanes together.

    Attributes:
        signal: a file descriptor that is readable when a tile is done.
    """

    def __init__(self, encoder: TileEncoder, num_lanes: int, num_threads: int) -> None:
        self.encoder = encoder
        lanes = max(1, min(num_lanes, num_threads)) if encoder.reentrant else 1
        self.signal, self._bell = os.pipe()
        os.set_blocking(self.signal, False)
        self._tiles: dict[Future[FrameFeatures], Sequence[int]] = {}
        self._open = ExitStack()
        self._open.callback(os.close, self.signal)
        self._open.callback(os.close, self._bell)
        self._executor = self._open.enter_context(side_by_side(lanes, num_threads))

    def __enter__(self) -> EncoderLanes:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def submit(self, slots: Sequence[int], inputs: Array) -> None:
        """Hands in the frames of some slots."""
        future = self._executor.submit(self.encoder.encode_tile, inputs)
        self._tiles[future] = slots
        future.add_done_callback(lambda _: os.write(self._bell, b"\0"))

    def done(self) -> list[tuple[Sequence[int], FrameFeatures]]:
        """The tiles that are done, with their slots; an encoder's error is raised here."""
        with suppress(BlockingIOError):
            os.read(self.signal, 4096)
        finished = [future for future in self._tiles if future.done()]
        return [(self._tiles.pop(future), future.result()) for future in finished]
