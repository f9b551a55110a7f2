"""What a checkpoint URI may set: preprocessing and arguments of the architecture; and what stands beside a file."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pvrbench.encoders.families.timm_backbone import build
from pvrbench.encoders.spec import EncoderSpec

# Mean and deviation by the name that people know them by.
NORMS: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "clip": {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
    "half": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "none": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
}
# Options of ours that a URI may set, beside the arguments of the architecture.
_OWN = ("key", "norm_eps", "rope_periods")
_IMAGES = ("mean", "std", "norm", "interpolation", "crop")
_REFUSED = {
    "seed": "draws an untrained network; the rows random_* are untrained networks",
    "preprocessing": "is a setting of the run: preprocessing=official",
    "pretrained": "is what the URI says itself: its weights are loaded",
    "checkpoint_path": "is what the URI says itself: file:<path>",
}


def images_given(uri: str, options: dict[str, Any]) -> dict[str, Any]:
    """Takes out of the options of a URI how images are prepared, in the words of timm's configs.

    Raises:
        ValueError: a value is none that it can have.
    """
    given = {name: options.pop(name) for name in _IMAGES if name in options}
    found: dict[str, Any] = {}
    if "norm" in given:
        name = given.pop("norm")
        if name not in NORMS:
            raise ValueError(f"norm={name} in {uri!r} is not among {', '.join(NORMS)}.")
        found |= NORMS[name]
    for name in ("mean", "std"):
        if name in given:
            found[name] = _colours(uri, name, str(given[name]))
    if "interpolation" in given:
        if given["interpolation"] not in {"bicubic", "bilinear"}:
            raise ValueError(f"interpolation={given['interpolation']} in {uri!r} is neither bicubic nor bilinear.")
        found["interpolation"] = given["interpolation"]
    if "crop" in given:
        if isinstance(given["crop"], str | bool) or not 0 < given["crop"] <= 1:
            raise ValueError(f"crop={given['crop']} in {uri!r} is no share of the frame: a number above 0, at most 1.")
        found["crop_pct"] = float(given["crop"])
    return found


def _colours(uri: str, name: str, text: str) -> tuple[float, ...]:
    if text in NORMS:
        return NORMS[text][name]
    try:
        values = [float(part) for part in text.replace("+", ",").split(",")]
    except ValueError:
        values = []
    values = values * 3 if len(values) == 1 else values
    is_sound = len(values) == 3 and all((0 if name == "mean" else 1e-3) <= value <= 1 for value in values)
    if not is_sound:
        raise ValueError(
            f"{name}={text} in {uri!r} is not one or three numbers for pixels in [0, 1]. Write for instance "
            f"{name}={','.join(map(str, NORMS['imagenet'][name]))} or {name}=imagenet."
        )
    return tuple(values)


def check_arguments(spec: EncoderSpec) -> None:
    """Refuses options that the architecture has no argument for, whatever it would do with them.

    Raises:
        TypeError: there is one; the text names what was probably meant.
    """
    given = set(spec.options) - {"model", *_OWN}
    for name, reason in _REFUSED.items():
        if name in given:
            raise TypeError(f"{name}= {reason}")
    own = {name: value for name, value in spec.options.items() if name in {"model", "img_size"}}
    try:
        kind: type[Any] = type(build(replace(spec, options=own)))
    except TypeError:
        kind = type(build(replace(spec, options={"model": spec.options["model"]})))
    known = {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters} - {
        "self", "args", "kwargs", "cfg"
    }  # fmt: skip
    for name in given - known:
        near = difflib.get_close_matches(name, [*known, *_OWN, *_IMAGES], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"unexpected keyword argument {name!r}{hint}")


def config_beside(path: Path) -> dict[str, Any]:
    """What stands beside a file in the layout of timm or of transformers: size, mean, std, interpolation."""
    found: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "config.json"):
        try:
            config = cast("dict[str, Any]", json.loads((path.parent / name).read_text()))
        except (OSError, ValueError):
            continue
        config = cast("dict[str, Any]", config.get("pretrained_cfg", config))
        renamed = {"image_mean": "mean", "image_std": "std"}
        found |= {
            renamed.get(key, key): value
            for key, value in config.items()
            if key in {"mean", "std", "image_mean", "image_std", "interpolation", "crop_pct", "crop_mode", "license"}
        }
    return found
