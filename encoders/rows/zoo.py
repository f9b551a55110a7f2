"""Rows of the encoders that were pretrained here: one small network, one set of frames, one budget. Plain data.

The weights of a shipped encoder lie in the folder `encoders/zoo`. Vision transformers are timm's own; the
empty caption of V-Cond is two register tokens of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = (0.5, 0.5, 0.5)
_DIFFUSION_OPTIONS = ("vae_channels", "unet_channels", "latent_channels", "noise_seed", "block", "timestep")
# The small autoencoder folds 4 pixels to one before its own levels.
_FOLD = 4

# Objectives with weights in the folder, and the SHA-256 of each file.
_SHIPPED: Mapping[str, str] = {
    "mae": "b8afe1d4c42089024fffe6a26c2d94f18fb4107f29c94869affbe88f0d987f27",
    "vcond": "d5ee2ee867fb8cf00b4b4739a705aad8256ba8dfb927db8897fbe2f00ea29335",
    "dift": "4e28b474dceafadfb086fd5fdb3c0edd1b0318a187ceb684d06deea2edba71fa",
    "simclr": "ffd0645b225c2e966c5928942c7659d855f5d3cefc3c74c14436db07d2e671bd",
    "clip": "c5d5dabb88ffdc72b0b82a2e833268f13dc53f34de30553e4ae7a4aa8b4362e1",
    "r3m": "5952399eea887e2f17a0552cdf09362dfa813df8836c2083625a3ccf9a627abd",
    "dino": "f457a5594133738b255f6368885294b93b85f2144e8897c891eb483fc84a35f8",
}
_DATA = "88 869 rendered frames of 46 Meta-World and robosuite tasks that nothing evaluates; docs/frames.md"
# The tasks of those frames. They stay what they were when the tasks of the presets change.
_PRETRAINING_TASKS = (
    "metaworld/basketball-v3",
    "metaworld/box-close-v3",
    "metaworld/button-press-topdown-wall-v3",
    "metaworld/button-press-v3",
    "metaworld/button-press-wall-v3",
    "metaworld/coffee-button-v3",
    "metaworld/coffee-pull-v3",
    "metaworld/coffee-push-v3",
    "metaworld/dial-turn-v3",
    "metaworld/disassemble-v3",
    "metaworld/door-close-v3",
    "metaworld/door-lock-v3",
    "metaworld/door-open-v3",
    "metaworld/door-unlock-v3",
    "metaworld/drawer-close-v3",
    "metaworld/faucet-close-v3",
    "metaworld/faucet-open-v3",
    "metaworld/hand-insert-v3",
    "metaworld/handle-press-side-v3",
    "metaworld/handle-press-v3",
    "metaworld/handle-pull-side-v3",
    "metaworld/handle-pull-v3",
    "metaworld/lever-pull-v3",
    "metaworld/peg-insert-side-v3",
    "metaworld/peg-unplug-side-v3",
    "metaworld/pick-out-of-hole-v3",
    "metaworld/pick-place-v3",
    "metaworld/pick-place-wall-v3",
    "metaworld/plate-slide-back-side-v3",
    "metaworld/plate-slide-back-v3",
    "metaworld/plate-slide-side-v3",
    "metaworld/plate-slide-v3",
    "metaworld/push-back-v3",
    "metaworld/push-v3",
    "metaworld/push-wall-v3",
    "metaworld/reach-v3",
    "metaworld/reach-wall-v3",
    "metaworld/shelf-place-v3",
    "metaworld/soccer-v3",
    "metaworld/stick-pull-v3",
    "metaworld/stick-push-v3",
    "metaworld/sweep-into-v3",
    "metaworld/sweep-v3",
    "metaworld/window-close-v3",
    "metaworld/window-open-v3",
    "robosuite/stack",
)
# Parameters of the frozen networks; a register token of V-Cond is a token and its position.
_VIT, _UNET = 2_827_008, 3_142_916


def zoo_row(
    objective: ObjectiveSpec, weights: str, *, sha256: str | None = None, num_params: int = 0, data: str = "not said"
) -> EncoderSpec:
    """The catalog row of a pretrained encoder.

    Args:
        objective: what it was trained for.
        weights: URI of its quantised weights, as in `WeightsSource`.
        sha256: digest of the file.
        num_params: parameters of the frozen network.
        data: the frames that it was trained on, in words.
    """
    backbone = objective.backbone
    common = EncoderSpec(
        name=f"zoo_{objective.name}",
        entry_point=objective.encoder,
        objective=objective.description,
        outputs=objective.outputs,
        image_size=backbone.image_px,
        crop_fraction=1.0,
        num_params=num_params,
        weights=WeightsSource(
            uri=weights, sha256=sha256, converter="pvrbench.encoders.zoo.pretraining.quantisation:dequantise"
        ),
        licence="MIT",
        pretraining_data=data,
        paper=objective.paper,
    )
    return _COLUMNS[objective.encoder](common, objective)


def _transformer(common: EncoderSpec, objective: ObjectiveSpec) -> EncoderSpec:
    backbone = objective.backbone
    registers = {"reg_tokens": objective.num_registers} if objective.num_registers else {}
    return replace(
        common,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
        feature_dim=backbone.width,
        grid_side=backbone.grid_side,
        default_readout="class_token" if "class_token" in objective.outputs else "mean",
        num_prefix_tokens=1 + objective.num_registers,
        options={**backbone.architecture, **registers},
    )


def _diffusion(common: EncoderSpec, objective: ObjectiveSpec) -> EncoderSpec:
    options = objective.options
    levels = [int(part) for part in str(options["unet_channels"]).split("+")]
    side = objective.backbone.image_px // _FOLD // 2 ** str(options["vae_channels"]).count("+")
    kind, _, number = str(options["block"]).partition("_")
    last = len(levels) - 1
    # Every level but the last halves the side on the way down, and doubles it on the way up.
    if kind == "down":
        channels, halvings = levels[int(number)], min(int(number) + 1, last)
    elif kind == "mid":
        channels, halvings = levels[-1], last
    else:
        channels, halvings = levels[last - int(number)], max(0, last - int(number) - 1)
    return replace(
        common,
        interpolation="bilinear",
        mean=_HALF,
        std=_HALF,
        feature_dim=channels,
        grid_side=side // 2**halvings,
        default_readout="mean",
        options={name: options[name] for name in _DIFFUSION_OPTIONS},
    )


_COLUMNS: Mapping[str, Callable[[EncoderSpec, ObjectiveSpec], EncoderSpec]] = {
    "pvrbench.encoders.families.timm_backbone:load": _transformer,
    "pvrbench.encoders.families.small_diffusion:load": _diffusion,
}


def _shipped(name: str, sha256: str) -> EncoderSpec:
    objective = OBJECTIVES[name]
    transformer = _VIT + 2 * objective.num_registers * objective.backbone.width
    row = zoo_row(
        objective,
        f"shipped:{name}.safetensors",
        sha256=sha256,
        num_params=transformer if "class_token" in objective.outputs else _UNET,
        data=_DATA,
    )
    return replace(row, pretraining_tasks=_PRETRAINING_TASKS)


def _untrained(name: str, loader: str, like: EncoderSpec) -> EncoderSpec:
    """The network and readouts of a trained row before its first update."""
    return replace(
        like,
        name=name,
        entry_point=f"pvrbench.encoders.zoo.pretraining.untrained:{loader}",
        objective="untrained",
        weights=None,
        licence="none",
        pretraining_data="none",
        pretraining_tasks=(),
        paper="",
        options={**like.options, "seed": 0},
    )


_ROWS = (
    *(_shipped(name, sha256) for name, sha256 in _SHIPPED.items()),
    _untrained("random_zoo_vit", "load_transformer", _shipped("mae", "")),
    _untrained("random_zoo_unet", "load_diffusion", _shipped("dift", "")),
)

ZOO_ENCODERS: Mapping[str, EncoderSpec] = {row.name: row for row in _ROWS}
