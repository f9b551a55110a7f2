"""Videos of episodes on the page: one initial state in a row, its encoders side by side."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from imageio_ffmpeg import get_ffmpeg_exe
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pvrbench.benchmark.analysis.cube import told_by
from pvrbench.benchmark.analysis.statistics import Contender
from pvrbench.benchmark.records.keys import FROZEN, NOMINAL, Count
from pvrbench.benchmark.reporting.markup import render

# The page includes videos up to this size in all; it links to the others.
BUDGET_BYTES = 12 * 2**20

# Initial states whose videos are in sight; the others are folded.
OPEN_ROWS = 3

# Of the JPEG that stands where a video has not been played: 2 is best, 31 is worst.
POSTER_QUALITY = 6


class _Entry(BaseModel):
    """What a video shows, as `pvrbench.benchmark.engine.video` writes it beside the video."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: str
    camera: str
    look: str = NOMINAL
    adaptation: str = FROZEN
    text_encoder: str = ""
    conditioning: str = ""
    instruction: str = ""
    encoder: str
    readout: str
    head: str
    num_demos: Count
    seed: Count
    episode_index: Count
    success: bool
    file: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A video of one episode."""

    entry: _Entry
    path: Path

    @property
    def contender(self) -> Contender:
        """Who acts."""
        entry = self.entry
        told = told_by(entry.text_encoder, entry.conditioning)
        return Contender(entry.encoder, entry.readout, entry.head, entry.adaptation, told)

    @property
    def place(self) -> str:
        """What is the same for all clips in a row."""
        entry = self.entry
        look = "" if entry.look == NOMINAL else f", {entry.look}"
        told = f", {entry.instruction!r}" if entry.instruction else ""
        where = f"{entry.task} ({entry.camera}{look}{told}), N = {entry.num_demos}, training seed {entry.seed}"
        return f"{where}, initial state {entry.episode_index}"

    @property
    def state(self) -> tuple[str, str, int, int, int]:
        """What is the same whatever the look: an initial state is seen under all looks, one after another."""
        entry = self.entry
        return entry.task, entry.camera, entry.num_demos, entry.seed, entry.episode_index

    @property
    def label(self) -> str:
        """Who acts, and how it ends."""
        entry = self.entry
        told = f" · {self.contender.told}" if self.contender.told else ""
        return f"{entry.encoder} · {entry.readout}{told} ({entry.head}): {'solved' if entry.success else 'not solved'}"


def read_clips(folders: Iterable[Path]) -> tuple[list[Clip], list[str]]:
    """The videos that are there, and a complaint for each description that cannot be read."""
    clips: list[Clip] = []
    complaints: list[str] = []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            try:
                # Runs of earlier versions have one list of all, `index.json`.
                entries = TypeAdapter(list[_Entry] | _Entry).validate_json(path.read_bytes())
            except (OSError, ValidationError) as error:
                reason = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
                complaints.append(
                    f"Some videos of {folder.parent.name} are not shown: {path.name} cannot be read ({reason})."
                )
                continue
            for entry in entries if isinstance(entries, list) else [entries]:
                # The name alone: a description is no reason to read files elsewhere.
                video = folder / Path(entry.file).name
                if video.is_file():
                    clips.append(Clip(entry, video))
    return clips, complaints


def rows_of(clips: Iterable[Clip], order: Sequence[Contender]) -> dict[str, list[Clip]]:
    """Clips by initial state; those that some solve and others do not come first: they show the most."""
    rows: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: (clip.state, clip.place, order.index(clip.contender))):
        rows.setdefault(clip.place, []).append(clip)
    return dict(sorted(rows.items(), key=lambda row: len({clip.entry.success for clip in row[1]}) == 1))


def video_grid(
    folders: Sequence[Path], page_dir: Path, order: Sequence[Contender], budget_bytes: int = BUDGET_BYTES
) -> Markup:
    """The videos of some folders; nothing where there are none.

    Args:
        folders: each with a JSON file beside each video; those that do not exist are passed over.
        page_dir: where the page will lie.
        order: the contenders as they stand in a row; videos of others, whose records are gone, are not shown.
        budget_bytes: videos up to this size in all are included in the page, the others linked.
    """
    found, complaints = read_clips(folders)
    clips = [clip for clip in found if clip.contender in order]
    left, num_linked = budget_bytes, 0
    rows: list[dict[str, object]] = []
    for place, row in rows_of(clips, order).items():
        shown: list[dict[str, object]] = []
        for clip in row:
            size = clip.path.stat().st_size
            is_included = size <= left
            left -= size if is_included else 0
            num_linked += not is_included
            shown.append(
                {
                    "id": order.index(clip.contender),
                    "label": clip.label,
                    "mark": "✓" if clip.entry.success else "✗",
                    "source": base64.b64encode(clip.path.read_bytes()).decode() if is_included else "",
                    "poster": _poster(clip.path) if is_included else "",
                    "link": None if is_included else quote(os.path.relpath(clip.path, page_dir).replace(os.sep, "/")),
                }
            )
        rows.append({"place": place, "clips": shown})
    if not rows and not complaints:
        return Markup("")
    return render(
        "videos.html",
        complaints=complaints,
        rows=rows,
        num_open=OPEN_ROWS,
        num_linked=num_linked,
        num_clips=len(clips),
    )


def _poster(path: Path) -> str:
    """The end of an episode as a JPEG in base64, from the last tenth of a second; empty if the video cannot be read."""
    source = ["-v", "error", "-sseof", "-0.1", "-i", str(path)]
    target = ["-frames:v", "1", "-c:v", "mjpeg", "-q:v", str(POSTER_QUALITY), "-f", "image2pipe", "-"]
    result = subprocess.run([get_ffmpeg_exe(), *source, *target], capture_output=True, check=False)
    return base64.b64encode(result.stdout).decode() if result.returncode == 0 else ""
