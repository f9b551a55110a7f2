"""Sets of frames for pretraining: a folder of plain arrays, read without a simulator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float32, UInt8

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

SCHEMA = 1
FRAMES, POSITIONS, PIXELS, CLIPS = "frames.npy", "objects.npy", "objects_in_image.npy", "clips.json"
POINTS = ("hand", "object", "goal")


class FrameSetError(ValueError):
    """A frame set cannot be made, read or trusted; the text names the folder and the remedy."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one episode, in the order of time.

    Attributes:
        start: index of its first frame in the set.
        length: number of frames.
        task: catalog name.
        instruction: what is done, in English.
        seed: reset seed, beyond those of every evaluation and demonstration.
        camera: where it is seen from, before the jitter.
        noise: standard deviation of the noise of the executed actions.
        success: whether the task was solved.
    """

    start: int
    length: int
    task: str
    instruction: str
    seed: int
    camera: str
    noise: float
    success: bool


@dataclass(frozen=True, slots=True)
class FrameSet:
    """A set in memory; the arrays are memory maps.

    Attributes:
        images: upright RGB; the frames of a clip lie together.
        object_positions: hand, object and goal in the world, metres; NaN where a task has none.
        object_pixels: where they are in the picture, x from the left and y from the top in 0..1; NaN outside it.
        clips: in the order of their frames.
        digest: hash of images and clips.
        provenance: versions of the simulators, and what was asked for.
    """

    images: UInt8[Array, "N H W 3"]
    object_positions: Float32[Array, "N K 3"]
    object_pixels: Float32[Array, "N K 2"]
    clips: tuple[Clip, ...]
    digest: str
    provenance: Mapping[str, object]


def digest_of(images: UInt8[Array, "N H W 3"], clips: tuple[Clip, ...]) -> str:
    """Hash of the frames and of the table of clips."""
    content = hashlib.sha256(json.dumps([asdict(clip) for clip in clips]).encode())
    for start in range(0, len(images), 1024):
        content.update(np.ascontiguousarray(images[start : start + 1024]).tobytes())
    return content.hexdigest()


def read_frame_set(folder: Path) -> FrameSet:
    """Opens a set; its frames are not hashed again, see `verify_frame_set`.

    Raises:
        FrameSetError: there is none, or its files do not fit together.
    """
    try:
        table: dict[str, Any] = json.loads((folder / CLIPS).read_text())
        images, positions, pixels = (np.load(folder / name, mmap_mode="r") for name in (FRAMES, POSITIONS, PIXELS))
    except FileNotFoundError as error:
        raise FrameSetError(
            f"{folder} is no finished frame set: {Path(str(error.filename)).name} is missing. "
            f"Make one with `pvrbench frames collect {folder}`; the same command finishes one that was interrupted."
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise FrameSetError(f"{folder} cannot be read ({error}). Collect it anew.") from error
    if table.get("schema") != SCHEMA:
        raise FrameSetError(f"{folder} has schema {table.get('schema')!r}, here it is {SCHEMA}. Collect it anew.")
    try:
        clips = tuple(Clip(**clip) for clip in cast("list[dict[str, Any]]", table["clips"]))
        digest, provenance = str(table["digest"]), cast("dict[str, object]", table["provenance"])
    except (KeyError, TypeError) as error:
        raise FrameSetError(f"{folder / CLIPS} is not as it was written ({error}). Collect it anew.") from error
    if not clips:
        raise FrameSetError(f"{folder} holds no clips. Collect some with `pvrbench frames collect`.")
    ends = [clip.start + clip.length for clip in clips]
    follow = [clip.start for clip in clips] == [0, *ends[:-1]]
    whole = len(images) == len(positions) == len(pixels) == ends[-1]
    if not follow or not whole or images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise FrameSetError(
            f"The arrays of {folder} do not fit its clips: {images.shape} {images.dtype} for {ends[-1]} square frames. "
            "Collect it anew."
        )
    return FrameSet(images, positions, pixels, clips, digest, provenance)


def verify_frame_set(folder: Path) -> FrameSet:
    """Opens a set and hashes its frames.

    Raises:
        FrameSetError: they are not those that were written.
    """
    found = read_frame_set(folder)
    if digest_of(found.images, found.clips) != found.digest:
        raise FrameSetError(f"The frames of {folder} are not those that were written. Collect it anew.")
    return found
