"""The networks of the zoo as their pretraining finds them: what training adds is measured against these."""

from __future__ import annotations

import torch

from pvrbench.encoders.base import Encoder
from pvrbench.encoders.families.small_diffusion import SmallDiffusion, SmallDiffusionEncoder
from pvrbench.encoders.families.timm_backbone import TimmEncoder
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.zoo.pretraining.backbone import build_backbone
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES


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
