"""Bodies of `pvrbench frames collect | info | verify`."""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

from pvrbench.benchmark.catalog import expand_tasks
from pvrbench.benchmark.commands.verb import AddVerb
from pvrbench.benchmark.composition import compose_config, preset_names
from pvrbench.benchmark.engine.hardware import num_cores
from pvrbench.envs.base import Array
from pvrbench.envs.catalog import TASK_SETS, TASKS
from pvrbench.envs.pictures.frame_set import FrameSet, FrameSetError, read_frame_set, verify_frame_set

FRAMES_HELP = """\
Frames for pretraining: experts at work on tasks that no protocol evaluates, in scenes of changing looks.

  pvrbench frames collect FOLDER --clips 2000       goes on where it was interrupted
  pvrbench frames info FOLDER --sheet sheet.png     what is in it, and a picture of some clips
  pvrbench frames verify FOLDER                     hashes every frame again"""

# Suites whose scenes can be varied.
SUITES = ("metaworld/", "robosuite/")
SUITE_SHARE = 0.2
SHEET_ROWS, SHEET_COLUMNS = 8, 8


def add_frames(verb: AddVerb) -> None:
    """Adds the verb."""
    frames: ArgumentParser = verb("frames", FRAMES_HELP.splitlines()[0], frames_command, epilog=FRAMES_HELP)
    frames.add_argument("action", choices=["collect", "info", "verify"])
    frames.add_argument("folder", type=Path)
    frames.add_argument("--clips", type=int, default=1000, help="episodes (collect); default 1000")
    frames.add_argument("--frames-per-clip", type=int, default=40, help="frames of an episode at most; default 40")
    frames.add_argument("--stride", type=int, default=3, help="control steps between kept frames; default 3")
    frames.add_argument("--px", type=int, default=112, help="side of the frames; default 112")
    frames.add_argument("--seed", type=int, default=0, help="draws states, looks, cameras and noise; default 0")
    frames.add_argument(
        "--variation",
        choices=["looks", "scenes"],
        default="scenes",
        help="looks: light, colours, camera; scenes (default): textures and foreign bodies too",
    )
    frames.add_argument(
        "--tasks",
        nargs="+",
        metavar="TASK",
        help="default: all that no protocol evaluates; named twice, a task gets twice the clips",
    )
    frames.add_argument("--workers", type=int, default=0, help="processes; default one for each core")
    frames.add_argument("--sheet", type=Path, help="picture of some clips (info)")


def evaluated_tasks() -> frozenset[str]:
    """Tasks that some shipped protocol or task set evaluates: what is trained on them must not be ranked by them."""
    of_presets = [name for preset in preset_names() for name in compose_config([f"preset={preset}"]).tasks]
    return frozenset(expand_tasks([*of_presets, *TASK_SETS]))


def pretraining_tasks() -> tuple[str, ...]:
    """All tasks of the suites that no shipped protocol evaluates."""
    evaluated = evaluated_tasks()
    return tuple(name for name in TASKS if name.startswith(SUITES) and name not in evaluated)


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


def frames_command(options: Namespace) -> int:
    """Collects, describes or verifies a set of frames."""
    if options.action == "collect":
        _collect(options)
    found = verify_frame_set(options.folder) if options.action == "verify" else read_frame_set(options.folder)
    solved = sum(clip.success for clip in found.clips)
    sys.stdout.write(
        f"{options.folder}: {len(found.images)} frames of {found.images.shape[1]} px in {len(found.clips)} clips of "
        f"{len({clip.task for clip in found.clips})} tasks, {solved} solved; content {found.digest[:16]}"
        f"{', verified' if options.action == 'verify' else ''}\n"
    )
    if options.action == "info":
        for task, count in sorted(Counter(clip.task for clip in found.clips).items()):
            sys.stdout.write(f"  {task}: {count} clips\n")
    if options.sheet is not None:
        _draw_sheet(found, options.sheet)
    return 0


def _collect(options: Namespace) -> None:
    from rich.progress import Progress

    from pvrbench.envs.pictures.frame_collection import FrameRecipe, collect_frames

    chosen = tuple(options.tasks or default_round())
    allowed = pretraining_tasks()
    for name in chosen:
        if name not in allowed:
            reason = (
                "is evaluated by a shipped protocol" if name in evaluated_tasks() else "is no task of the two suites"
            )
            raise FrameSetError(
                f"{name} {reason}; frames are collected from other tasks. `pvrbench list tasks` lists all."
            )
    if min(options.clips, options.frames_per_clip, options.stride) < 1 or not 16 <= options.px <= 1024:
        raise FrameSetError("Clips, frames in a clip and stride are at least 1, and frames have 16 to 1024 px.")
    recipe = FrameRecipe(
        tasks=chosen,
        num_clips=options.clips,
        frames_per_clip=options.frames_per_clip,
        stride=options.stride,
        image_px=options.px,
        seed=options.seed,
        variation=options.variation,
    )
    with Progress() as progress:
        bar = progress.add_task("clips", total=options.clips)
        collect_frames(
            recipe, options.folder, options.workers or num_cores(), lambda count: progress.advance(bar, count)
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
