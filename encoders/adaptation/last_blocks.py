"""The last blocks of a vision transformer are trained; what comes before them is frozen and computed once."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pvrbench.common.options import parse_options
from pvrbench.encoders.adaptation.base import AdaptationError
from pvrbench.encoders.adaptation.network import NetworkRest, own_copy, train_parameters
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.families.timm_backbone import TimmEncoder
from pvrbench.encoders.preprocessing import check_images, preprocess


class _FirstBlocks:
    """The frozen part: tokens before the trained blocks, as a grid `B D N 1`."""

    reentrant = True

    def __init__(self, encoder: TimmEncoder, num_trained: int) -> None:
        self._source = encoder.spec
        self.spec = replace(encoder.spec, outputs=("grid",), grid_side=1, weights=None)
        self.digest = hashlib.sha256(f"{encoder.digest} all but {num_trained} blocks".encode()).hexdigest()
        self.network = cast("VisionTransformer", encoder.network)
        self._num_blocks = len(self.network.blocks) - num_trained
        self._device = "cpu"

    @torch.no_grad()
    def encode(self, inputs: UInt8[Tensor, "B H W 3"]) -> Features:
        check_images(inputs, self.spec.name)
        network = cast("Any", self.network)
        tokens = network.patch_embed(preprocess(inputs.to(self._device), self._source))
        tokens = network.norm_pre(network.patch_drop(network._pos_embed(tokens)))
        for block in network.blocks[: self._num_blocks]:
            tokens = block(tokens)
        return Features(grid=tokens.transpose(1, 2)[..., None].contiguous())

    def to(self, device: str) -> _FirstBlocks:
        self.network.to(device)
        self._device = device
        return self


class _LastBlocks:
    """The trained part: blocks and final normalisation, then features as the encoder arranges them."""

    def __init__(self, encoder: TimmEncoder, num_trained: int) -> None:
        whole = cast("Any", encoder.network)
        self.network: nn.Module = nn.Sequential(*whole.blocks[len(whole.blocks) - num_trained :], whole.norm)
        self._encoder = encoder

    def features(self, pixels: Float[Tensor, "B D N 1"], /) -> Features:
        return self._encoder.arrange(self.network(pixels[..., 0].transpose(1, 2)))


class LastBlocks:
    """Trains the last blocks of a vision transformer of timm, and its final normalisation.

    Args:
        spec: the catalog row; option `num_blocks`.

    Raises:
        OptionError: an option is unknown or not valid.
    """

    def __init__(self, spec: AdaptationSpec) -> None:
        self.spec = spec
        self.options: Any = parse_options(spec.options_type, spec.options, f"Adaptation {spec.name!r}")
        self.digest = f"{type(self).__name__} {self.options.num_blocks}"

    def prepare(self, encoder: Encoder) -> Encoder:
        """Patch embedding and the blocks before those that are trained."""
        return _FirstBlocks(self._transformer(encoder), self.options.num_blocks)

    def rest(self, encoder: Encoder, seed: int) -> NetworkRest:
        """The blocks that are trained; nothing is drawn."""
        del seed
        own = cast("TimmEncoder", own_copy(self._transformer(encoder)))
        last = _LastBlocks(own, self.options.num_blocks)
        return NetworkRest(last, train_parameters(last.network))

    def _transformer(self, encoder: Encoder) -> TimmEncoder:
        network = getattr(encoder, "network", None)
        if not isinstance(encoder, TimmEncoder) or not isinstance(network, VisionTransformer):
            raise AdaptationError(
                f"Adaptation {self.spec.name!r} trains blocks of timm's vision transformer, and encoder "
                f"{encoder.spec.name!r} is none. Use lora or full for it, or leave it out."
            )
        depth = len(network.blocks)
        if self.options.num_blocks > depth:
            raise AdaptationError(
                f"Adaptation {self.spec.name!r} is to train {self.options.num_blocks} blocks, and encoder "
                f"{encoder.spec.name!r} has {depth}. Set num_blocks to at most {depth}."
            )
        return encoder
