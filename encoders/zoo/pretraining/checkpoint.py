"""What an interrupted training goes on from: written whole or not at all, and only under the same settings."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from pvrbench.encoders.zoo.pretraining.spec import PretrainingError

_CHECKPOINT = "checkpoint.pt"
_LOG = "log.jsonl"


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name first, so that the old one stays until the new one is complete.

    Raises:
        PretrainingError: the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise PretrainingError(
                f"The disk of {path.parent} is full: {path.name} ({len(content) / 2**20:.0f} MiB) could not be "
                "written. What was written before is kept; make room and give the same command again."
            ) from error
        raise


class RunFolder:
    """The folder of one training: its last checkpoint and its log.

    Args:
        folder: where it is; it is made.
        settings: everything that determines the result, by name.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.folder = folder
        self._settings = json.loads(json.dumps(settings))
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Replaces the checkpoint.

        Raises:
            PretrainingError: the disk is full; the checkpoint before stays.
        """
        buffer = io.BytesIO()
        torch.save({"step": step, "settings": self._settings, **state}, buffer)
        write_whole(self.folder / _CHECKPOINT, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The checkpoint, None where there is none.

        Raises:
            PretrainingError: it was made with other settings, or is damaged.
        """
        path = self.folder / _CHECKPOINT
        if not path.is_file():
            return None
        try:
            state = cast("dict[str, Any]", torch.load(path, map_location="cpu", weights_only=True))
            found = cast("dict[str, object]", state["settings"])
        except Exception as error:
            # Bytes that are no checkpoint make torch's unpickler stumble in any way.
            raise PretrainingError(f"{path} is damaged ({type(error).__name__}). Remove it to start anew.") from error
        for name in sorted(found.keys() | self._settings.keys()):
            if found.get(name) != self._settings.get(name):
                raise PretrainingError(
                    f"The training in {self.folder} was begun with {name}={_short(found.get(name))}, and "
                    f"{name}={_short(self._settings.get(name))} is asked now. Give the same settings, or another "
                    "output folder."
                )
        return state

    def cut_log(self, step: int) -> list[dict[str, Any]]:
        """Drops the lines after an update, which will be written again; gives the others."""
        kept = [line for line in self.log() if line["step"] <= step]
        write_whole(self.folder / _LOG, "".join(json.dumps(line) + "\n" for line in kept).encode())
        return kept

    def log(self) -> list[dict[str, Any]]:
        """The lines of the log; one that was cut off by an interruption is left out."""
        path = self.folder / _LOG
        if not path.is_file():
            return []
        lines: list[dict[str, Any]] = []
        for text in path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines

    def write(self, line: Mapping[str, object]) -> None:
        """Adds a line to the log.

        Raises:
            PretrainingError: the disk is full.
        """
        try:
            with (self.folder / _LOG).open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise PretrainingError(
                f"The disk of {self.folder} is full: the log could not be written. The last checkpoint is kept; make "
                "room and give the same command again."
            ) from error


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
