"""One picture of each look of a run, so that a reader sees what the encoders were shown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import imageio.v3 as iio
from jaxtyping import UInt8

from pvrbench.benchmark.records.keys import EvalKey
from pvrbench.common.files import write_atomically
from pvrbench.envs.base import Array

PICTURES_NAME = "looks"
"""Folder of the pictures in that of a run."""


def copy_picture(source: Path, target: Path, place: EvalKey) -> None:
    """Copies a picture and its description to another folder, if it is there."""
    path = picture_path(source, place)
    if path.exists():
        target.mkdir(parents=True, exist_ok=True)
        for found in (path, path.with_suffix(".json")):
            shutil.copyfile(found, target / found.name)


def picture_path(folder: Path, place: EvalKey) -> Path:
    """Where the picture of a task, camera and look lies."""
    name = "-".join((place.task, place.camera, place.look))
    return folder / (re.sub(r"[^A-Za-z0-9_.]+", "_", name) + ".png")


def write_picture(folder: Path, place: EvalKey, frame: UInt8[Array, "H W 3"]) -> None:
    """Writes the first picture of an episode, with a JSON file beside it that says what it shows."""
    path = picture_path(folder, place)
    folder.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, frame)
    about = {"task": place.task, "camera": place.camera, "look": place.look, "file": path.name}
    write_atomically(path.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
