"""Sheets of example pictures: what the encoders were shown under each look, one sheet for each task."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, ValidationError

from pvrbench.benchmark.records.keys import NOMINAL
from pvrbench.envs.spec import Look

# Side of a picture on the sheet, height of a line of text and gap, pixels.
SIDE_PX, TEXT_PX, GAP_PX = 168, 14, 6


class LookPicture(BaseModel):
    """What a picture shows, as `pvrbench.benchmark.engine.look_pictures` writes it beside the picture."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: str
    camera: str
    look: str
    file: str


def write_sheets(folders: Sequence[Path], output_dir: Path) -> dict[str, Path]:
    """Writes a sheet for each task and camera of which there are pictures: axes in rows, levels in columns.

    Args:
        folders: with a JSON file beside each picture; those that do not exist are passed over.
        output_dir: where the sheets go.

    Returns:
        The sheets by task and camera.
    """
    found: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            try:
                about = LookPicture.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue  # a sheet is no result; the records are whole without it
            picture = folder / Path(about.file).name
            if picture.is_file():
                found.setdefault(f"{about.task} ({about.camera})", {})[about.look] = picture
    sheets: dict[str, Path] = {}
    for place, pictures in sorted(found.items()):
        if {*pictures} - {NOMINAL}:
            path = output_dir / f"looks-{re.sub(r'[^A-Za-z0-9_.]+', '_', place).strip('_')}.png"
            _draw(pictures).save(path)
            sheets[place] = path
    return sheets


def _draw(pictures: dict[str, Path]) -> Image.Image:
    looks = sorted(((look, Look.parse(look)) for look in pictures if look != NOMINAL), key=lambda item: str(item[1]))
    axes = list(dict.fromkeys((look.axis, look.seed) for _, look in looks))
    columns = 1 + max(look.level for _, look in looks)
    step = SIDE_PX + GAP_PX
    sheet = Image.new("RGB", (columns * step - GAP_PX, len(axes) * (step + TEXT_PX) - GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for row in range(len(axes) if NOMINAL in pictures else 0):
        _put(sheet, draw, pictures[NOMINAL], NOMINAL, 0, row)
    for name, look in looks:
        _put(sheet, draw, pictures[name], name, look.level, axes.index((look.axis, look.seed)))
    return sheet


def _put(sheet: Image.Image, draw: ImageDraw.ImageDraw, path: Path, name: str, column: int, row: int) -> None:
    x, y = column * (SIDE_PX + GAP_PX), row * (SIDE_PX + GAP_PX + TEXT_PX)
    draw.text((x, y), name, fill="black")
    with Image.open(path) as picture:
        sheet.paste(picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST), (x, y + TEXT_PX))
