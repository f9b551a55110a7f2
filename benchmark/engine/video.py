"""Videos of evaluation episodes, as the encoder saw them. They never stand in the way of a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8

from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import Episode
from pvrbench.common.files import write_atomically
from pvrbench.envs.base import Array

MIN_SIDE_PX = 224


class VideoWriter:
    """Writes MP4 files, each with a JSON file of the same name that says what it shows.

    Args:
        folder: where the files go.
        say: hears, once, why videos cannot be written.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self._has_failed = False

    def write(
        self, cell: Cell, episode: Episode, frames: Sequence[UInt8[Array, "H W 3"]], frames_per_s: float
    ) -> Path | None:
        """Writes one episode; None where that failed, which is said once and stops nothing."""
        path = self.folder / f"{cell.slug}-e{episode.index}.mp4"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            iio.imwrite(path, _clip(frames), fps=frames_per_s, codec="libx264", macro_block_size=2)
            about = {**cell.flat, "episode_index": episode.index, "success": episode.success, "file": path.name}
            write_atomically(path.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
        except Exception as error:  # noqa: BLE001 - whatever an encoder of videos raises, results go on
            if not self._has_failed:
                self._say(f"warning: videos are left out: {path} cannot be written ({error}).")
            self._has_failed = True
            with suppress(OSError):
                path.unlink(missing_ok=True)  # a part of it
            return None
        return path


def _clip(frames: Sequence[UInt8[Array, "H W 3"]]) -> UInt8[Array, "T H W 3"]:
    """Frames enlarged by whole pixels, so that a player shows what the encoder saw; even sides, for the codec."""
    scale = -(-MIN_SIDE_PX // frames[0].shape[0])
    clip = np.stack(frames).repeat(scale, axis=1).repeat(scale, axis=2)
    return clip[:, : clip.shape[1] // 2 * 2, : clip.shape[2] // 2 * 2]
