"""The networks of the zoo as their pretraining finds them: what training adds is measured against these."""

from __future__ import annotations

import torch

from encoders.base import Encoder
from encoders.pretraining.backbone import build_backbone
from encoders.pretraining.catalog import OBJECTIVES
from encoders.small_diffusion import SmallDiffusion, SmallDiffusionEncoder
from encoders.spec import EncoderSpec
from encoders.timm_backbone import TimmEncoder


def load_transformer(spec: EncoderSpec) -> Encoder:
    """The vision transformer that all objectives but `dift` start from, drawn from `options["seed"]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(spec.options["seed"]))
        return TimmEncoder(spec, build_backbone(OBJECTIVES["mae"].backbone))


def load_diffusion(spec: EncoderSpec) -> Encoder:
    """Autoencoder and U-Net that `dift` starts from, drawn from `options["seed"]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(spec.options["seed"]))
        return SmallDiffusionEncoder(spec, SmallDiffusion(spec.options, spec.image_size))
