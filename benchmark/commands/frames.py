"""Bodies of `pvrbench frames collect | info | verify`."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pvrbench.benchmark.catalog import expand_tasks
from pvrbench.benchmark.commands.verb import UserPath, Verb, VerbSettings
from pvrbench.benchmark.composition import compose_config, preset_names
from pvrbench.benchmark.engine.hardware import num_cores
from pvrbench.envs.base import Array
from pvrbench.envs.catalog import TASK_SETS, TASKS
from pvrbench.envs.pictures.frame_set import FrameSet, FrameSetError, read_frame_set, verify_frame_set

FRAMES_HELP = """\
  pvrbench frames collect FOLDER clips=2000         goes on where it was interrupted
  pvrbench frames info FOLDER sheet=sheet.png       what is in it, and a picture of some clips
  pvrbench frames verify FOLDER                     hashes every frame again"""

# Suites whose scenes can be varied.
SUITES = ("metaworld/", "robosuite/")
# Sets on which one policy learns several tasks. Encoders that were pretrained on such tasks are not ranked there.
MULTI_TASK_SETS = ("mt10",)
SUITE_SHARE = 0.2
SHEET_ROWS, SHEET_COLUMNS = 8, 8


Count = Annotated[int, Field(ge=1)]


class FramesSettings(VerbSettings):
    """Settings of `pvrbench frames`."""

    subjects: ClassVar[tuple[str, ...]] = ("action", "folder")

    action: Literal["collect", "info", "verify"]
    """What is done with the frame set."""
    folder: UserPath
    """Folder of the frame set."""
    clips: Count = 1000
    """Episodes (collect)."""
    frames_per_clip: Count = 40
    """Frames of an episode at most."""
    stride: Count = 3
    """Control steps between kept frames."""
    px: Annotated[int, Field(ge=16, le=1024)] = 112
    """Side of the frames."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws states, looks, cameras and noise."""
    variation: Literal["looks", "scenes"] = "scenes"
    """`looks`: light, colours, camera; `scenes`: textures and foreign bodies too."""
    tasks: tuple[str, ...] | None = None
    """Tasks; all that no protocol evaluates where it is left out. Named twice, a task gets twice the clips."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes; 0 takes one for each core."""
    sheet: UserPath | None = None
    """Picture of some clips to write."""


def evaluated_tasks() -> frozenset[str]:
    """Tasks that a shipped protocol or a set of single tasks evaluates; what was trained on one is not ranked by it."""
    of_presets = [name for preset in preset_names() for name in compose_config([f"preset={preset}"]).tasks]
    return frozenset(expand_tasks([*of_presets, *(name for name in TASK_SETS if name not in MULTI_TASK_SETS)]))


def pretraining_tasks() -> tuple[str, ...]:
    """All tasks of the suites whose environments no shipped protocol evaluates, under whatever name."""
    evaluated = {_environment(name) for name in evaluated_tasks()}
    return tuple(name for name in TASKS if name.startswith(SUITES) and _environment(name) not in evaluated)


def _environment(name: str) -> tuple[str, object]:
    spec = TASKS[name]
    return spec.entry_point, spec.options.get("environment", name)


def default_round() -> tuple[str, ...]:
    """The tasks of one round: all that may be shown, those of a small suite so often that it has its share."""
    tasks = pretraining_tasks()
    places: list[tuple[float, str]] = []
    for suite in SUITES:
        names = [name for name in tasks if name.startswith(suite)]
        fewest = (len(tasks) - len(names)) * SUITE_SHARE / (1 - SUITE_SHARE)
        often = max(1, math.ceil(fewest / len(names)))
        # Spread over the round, so that a set of few clips too has its share of every suite.
        spots = [name for _ in range(often) for name in names]
        places += [((spot + 0.5) / len(spots), name) for spot, name in enumerate(spots)]
    return tuple(name for _, name in sorted(places))


def frames_command(settings: FramesSettings) -> int:
    """Collects, describes or verifies a set of frames."""
    if settings.action == "collect":
        _collect(settings)
    found = verify_frame_set(settings.folder) if settings.action == "verify" else read_frame_set(settings.folder)
    solved = sum(clip.success for clip in found.clips)
    sys.stdout.write(
        f"{settings.folder}: {len(found.images)} frames of {found.images.shape[1]} px in {len(found.clips)} clips of "
        f"{len({clip.task for clip in found.clips})} tasks, {solved} solved; content {found.digest[:16]}"
        f"{', verified' if settings.action == 'verify' else ''}\n"
    )
    if settings.action == "info":
        for task, count in sorted(Counter(clip.task for clip in found.clips).items()):
            sys.stdout.write(f"  {task}: {count} clips\n")
    if settings.sheet is not None:
        _draw_sheet(found, settings.sheet)
    return 0


def _collect(settings: FramesSettings) -> None:
    from rich.progress import Progress

    from pvrbench.envs.pictures.frame_collection import FrameRecipe, collect_frames

    chosen = tuple(settings.tasks or default_round())
    allowed = pretraining_tasks()
    for name in chosen:
        if name not in allowed:
            reason = (
                "is evaluated by a shipped protocol" if name in evaluated_tasks() else "is no task of the two suites"
            )
            raise FrameSetError(
                f"{name} {reason}; frames are collected from other tasks. `pvrbench list tasks` lists all."
            )
    recipe = FrameRecipe(
        tasks=chosen,
        num_clips=settings.clips,
        frames_per_clip=settings.frames_per_clip,
        stride=settings.stride,
        image_px=settings.px,
        seed=settings.seed,
        variation=settings.variation,
    )
    with Progress() as progress:
        bar = progress.add_task("clips", total=settings.clips)
        collect_frames(
            recipe, settings.folder, settings.workers or num_cores(), lambda count: progress.advance(bar, count)
        )


def _draw_sheet(found: FrameSet, path: Path) -> None:
    """Evenly spaced clips as rows, evenly spaced frames of each as columns."""
    import imageio.v3 as imageio
    import numpy as np

    rows: list[int] = np.linspace(0, len(found.clips) - 1, min(SHEET_ROWS, len(found.clips))).astype(int).tolist()
    pictures: list[Array] = []
    for clip in (found.clips[row] for row in rows):
        columns = np.linspace(0, clip.length - 1, SHEET_COLUMNS).astype(int)
        pictures.append(np.concatenate(list(found.images[clip.start + columns]), axis=1))
    try:
        imageio.imwrite(path, np.concatenate(pictures))
    except (OSError, ValueError) as error:
        raise FrameSetError(
            f"Cannot write the sheet {path} ({error}). Name a .png file in a folder that exists."
        ) from error


FRAMES = Verb(
    name="frames",
    summary="Frames for pretraining: experts at work on tasks that no protocol evaluates, in scenes of changing looks.",
    settings=FramesSettings,
    body=frames_command,
    details=FRAMES_HELP,
)
