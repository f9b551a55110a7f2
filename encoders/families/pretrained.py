"""What `pvrbench pretrain` and `pvrbench distil` wrote, as an encoder: `pretrained:FOLDER`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pvrbench.encoders.rows.zoo import zoo_row
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.zoo.pretraining.catalog import DISTILLATION, OBJECTIVES
from pvrbench.encoders.zoo.pretraining.spec import BackboneSpec

_BACKBONE = "backbone."
_OPTION = "options."


def describe(reference: str) -> EncoderSpec:
    """The spec of a folder with `card.json` and `weights.safetensors`.

    Raises:
        ValueError: the folder holds no finished training, or one of another version.
    """
    folder = Path(reference.partition(":")[2]).expanduser().absolute()
    path = folder / "card.json"
    if not path.is_file():
        raise ValueError(
            f"{reference!r} names no finished training: there is no {path}. Name the output folder of "
            "`pvrbench pretrain` or `pvrbench distil`; an interrupted one goes on with the same command."
        )
    try:
        card: dict[str, Any] = json.loads(path.read_text())
        settings: dict[str, Any] = card["settings"]
        row = {**OBJECTIVES, DISTILLATION.name: DISTILLATION}[card["objective"]]
        row = replace(row, backbone=BackboneSpec(**_under(settings, _BACKBONE)), options=_under(settings, _OPTION))
        weights, data = card["weights"], card["data"]
        spec = zoo_row(
            row,
            f"file:{folder / weights['file']}",
            sha256=weights["sha256"],
            num_params=card["num_params"],
            data=f"{data['num_frames']} rendered frames, content {str(data['digest'])[:16]}",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no card of this version ({type(error).__name__}: {error}). Train again with this version."
        ) from error
    return replace(spec, name=reference, licence="yours")


def _under(settings: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
