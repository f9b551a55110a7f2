"""Videos of evaluation episodes, as the encoder saw them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from jaxtyping import UInt8

from pvrbench.benchmark.records.schema import Cell, Episode
from pvrbench.benchmark.records.store import write_atomically
from pvrbench.envs.base import Array

MIN_SIDE_PX = 224


class VideoWriter:
    """Writes MP4 files and an index of them.

    Args:
        folder: where the files and `index.json` go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index_path = folder / "index.json"

    def write(self, cell: Cell, episode: Episode, frames: Sequence[UInt8[Array, "H W 3"]], frames_per_s: int) -> Path:
        """Writes one episode and enters it in the index."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{cell.slug}-e{episode.index}.mp4"
        # Small frames are enlarged by whole pixels, so that a player shows what the encoder saw; the
        # sides are even, as the codec wants them.
        scale = -(-MIN_SIDE_PX // frames[0].shape[0])
        clip = np.stack(frames).repeat(scale, axis=1).repeat(scale, axis=2)
        clip = clip[:, : clip.shape[1] // 2 * 2, : clip.shape[2] // 2 * 2]
        iio.imwrite(path, clip, fps=frames_per_s, codec="libx264", macro_block_size=2)
        entry: dict[str, object] = {
            **cell.model_dump(),
            "episode_index": episode.index,
            "success": episode.success,
            "file": path.name,
        }
        entries = [old for old in self._entries() if old["file"] != path.name]
        entries.append(entry)
        entries.sort(key=lambda item: str(item["file"]))
        write_atomically(self.index_path, json.dumps(entries, indent=1) + "\n")
        return path

    def _entries(self) -> list[dict[str, object]]:
        return json.loads(self.index_path.read_text()) if self.index_path.exists() else []
