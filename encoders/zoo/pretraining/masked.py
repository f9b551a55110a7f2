"""Masked reconstruction: MAE, and V-Cond, which also reads what is being done.

Source: He et al. 2022, MAE, arXiv:2111.06377 (`models_mae.py`); Karamcheti et al. 2023, Voltron, arXiv:2302.12766,
section 4 (`models/core/vcond.py`).

Deviations. MAE: bilinear crops. V-Cond: the network is the same as for all objectives (LayerNorm, GELU) instead of
RMSNorm, SwiGLU and LayerScale; the language encoder is small and learnt instead of a frozen DistilBERT; padded words
are hidden as keys, not as query rows; a share of captions (option `text_dropout`) is left out, so that the network
knows what it sees later on: frames without an instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int, UInt8
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from pvrbench.encoders.zoo.pretraining.augmentation import CropSettings, random_crop
from pvrbench.encoders.zoo.pretraining.backbone import (
    build_backbone,
    class_token,
    patch_tokens,
    pick,
    run_blocks,
    sine_positions,
)
from pvrbench.encoders.zoo.pretraining.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Array,
    Batch,
    Objective,
    normalise,
    to_pixels,
)
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.text import END, PAD, START, TextTransformer, Vocabulary

_VARIANCE_FLOOR = 1e-6
_PICTURES = 6


def patchify(pixels: Float[Tensor, "B 3 H W"], patch_px: int) -> Float[Tensor, "B N P"]:
    """Patches in rows from the top left, each as rows, columns and colours."""
    count, side = len(pixels), pixels.shape[-1] // patch_px
    cut = pixels.reshape(count, 3, side, patch_px, side, patch_px).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(count, side * side, -1)


def unpatchify(patches: Float[Tensor, "B N P"], patch_px: int) -> Float[Tensor, "B 3 H W"]:
    """The inverse of `patchify`."""
    count, side = len(patches), round(patches.shape[1] ** 0.5)
    cut = patches.reshape(count, side, side, patch_px, patch_px, 3).permute(0, 5, 1, 3, 2, 4)
    return cut.reshape(count, 3, side * patch_px, side * patch_px)


def random_mask(
    count: int, num_patches: int, num_visible: int, generator: torch.Generator
) -> tuple[Int[Tensor, "B V"], Bool[Tensor, "B N"]]:
    """Which patches are visible, the same number in each picture, and whether each is masked."""
    order = torch.rand(count, num_patches, generator=generator).argsort(dim=1)
    visible = order[:, :num_visible]
    is_masked = torch.ones(count, num_patches, dtype=torch.bool).scatter(1, visible, value=False)
    return visible, is_masked


def normalised_patches(pixels: Float[Tensor, "B 3 H W"], patch_px: int) -> Float[Tensor, "B N P"]:
    """Patches with their own mean subtracted and divided by their own deviation: what is to be predicted."""
    patches = patchify(pixels, patch_px)
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + _VARIANCE_FLOOR).sqrt()


class Decoder(nn.Module):
    """A light transformer from visible tokens to all patches.

    Args:
        spec: the row; options `decoder_width` and `decoder_depth`.
    """

    position: Tensor

    def __init__(self, spec: ObjectiveSpec) -> None:
        super().__init__()
        backbone, width = spec.backbone, int(spec.options["decoder_width"])
        self.embed = nn.Linear(backbone.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.mask_token, std=0.02)
        table = torch.cat([torch.zeros(1, 1, width), sine_positions(width, backbone.grid_side)], dim=1)
        self.register_buffer("position", table, persistent=False)
        self.blocks = nn.Sequential(
            *(Block(width, backbone.num_heads, qkv_bias=True) for _ in range(int(spec.options["decoder_depth"])))
        )
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, 3 * backbone.patch_px**2)

    def forward(self, tokens: Float[Tensor, "B K D"], visible: Int[Tensor, "B V"]) -> Float[Tensor, "B N P"]:
        """All patches from the class token and the visible ones, in this order."""
        embedded: Tensor = self.embed(tokens)
        patches = self.mask_token.to(embedded.dtype).expand(len(tokens), self.position.shape[1] - 1, -1)
        seen = visible[..., None].expand(-1, -1, patches.shape[-1])
        patches = patches.scatter(1, seen, embedded[:, 1:])
        joined = torch.cat([embedded[:, :1], patches], dim=1) + self.position
        return self.predict(self.norm(self.blocks(joined)))[:, 1:]


class MaskedAutoencoder(Objective):
    """MAE: three quarters of the patches are predicted from the rest; the encoder sees visible patches alone.

    Args:
        spec: the row.
        vocabulary: not read.
    """

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        del vocabulary
        super().__init__(spec, build_backbone(spec.backbone))
        self.decoder = Decoder(spec)
        self.num_patches = spec.backbone.grid_side**2
        self.num_visible = int(self.num_patches * (1 - float(spec.options["mask_ratio"])))

    @property
    def network(self) -> VisionTransformer:
        """The backbone as what it is."""
        return cast("VisionTransformer", self.backbone)

    def augmented(self, batch: Batch) -> Float[Tensor, "B 3 H W"]:
        """The pictures that are masked, in 0..1."""
        low, flip = float(self.spec.options["crop_scale"]), float(self.spec.options["flip"])
        pixels = to_pixels(batch.first_frames)
        if low >= 1.0 and flip == 0.0:
            return pixels
        crop = CropSettings(size_px=self.spec.backbone.image_px, scale=(low, 1.0), flip=flip)
        return random_crop(pixels, crop, batch.generator)

    def encode(self, tokens: Float[Tensor, "B K D"], batch: Batch) -> Float[Tensor, "B K D"]:
        """The states of the class token and the visible patches."""
        del batch
        return run_blocks(self.network, tokens)

    def reconstruct(self, batch: Batch) -> tuple[Float[Tensor, "B N P"], Float[Tensor, "B 3 H W"], Bool[Tensor, "B N"]]:
        """Predicted patches, the pictures, and which patches were masked."""
        pixels = normalise(self.augmented(batch))
        visible, is_masked = random_mask(len(pixels), self.num_patches, self.num_visible, batch.generator)
        visible, is_masked = visible.to(pixels.device), is_masked.to(pixels.device)
        tokens = pick(patch_tokens(self.network, pixels), visible)
        tokens = torch.cat([class_token(self.network, len(pixels)).to(tokens.dtype), tokens], dim=1)
        return self.decoder(self.encode(tokens, batch), visible), pixels, is_masked

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the masked, normalised patches."""
        predicted, pixels, is_masked = self.reconstruct(batch)
        target = normalised_patches(pixels, self.spec.backbone.patch_px)
        return {"loss": (predicted.float() - target).square().mean(dim=-1)[is_masked].mean()}

    @torch.no_grad()
    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """The error of the training frames' mean normalised patch at each place."""
        patch_px = self.spec.backbone.patch_px
        targets = [normalised_patches(normalise(self.augmented(batch)), patch_px) for batch in train]
        mean = torch.cat(targets).mean(dim=0)
        errors = [
            (normalised_patches(normalise(self.augmented(batch)), patch_px) - mean).square().mean()
            for batch in held_out
        ]
        return {"loss": float(torch.stack(errors).mean())}

    @torch.no_grad()
    def picture(self, batch: Batch) -> UInt8[Array, "H W 3"]:
        """Rows of the frame, what was visible of it, and the reconstruction in the true patches' mean and contrast."""
        predicted, pixels, is_masked = self.reconstruct(batch)
        patch_px = self.spec.backbone.patch_px
        patches = patchify(pixels, patch_px)
        mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
        guess = predicted.float() * (variance + _VARIANCE_FLOOR).sqrt() + mean
        masked = is_masked[..., None]
        rows = [patches, patches.masked_fill(masked, 0.0), torch.where(masked, guess, patches)]
        return tile([unpatchify(row[:_PICTURES], patch_px) for row in rows])


def tile(rows: Sequence[Float[Tensor, "B 3 S S"]]) -> UInt8[Array, "H W 3"]:
    """Rows of normalised pictures as one picture."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    lines = [torch.cat(list(row.cpu() * std + mean), dim=2) for row in rows]
    whole = torch.cat(lines, dim=1).clamp(0, 1) * 255
    return cast("Array", whole.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


class ConditionedAutoencoder(MaskedAutoencoder):
    """V-Cond: as MAE, with the words of the caption among the tokens that the encoder sees.

    Args:
        spec: the row; options `text_width`, `text_depth`, `text_dropout`.
        vocabulary: the words.
    """

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary)
        width = int(spec.options["text_width"])
        self.text = TextTransformer(len(vocabulary), width, int(spec.options["text_depth"]))
        self.project = nn.Linear(width, spec.backbone.width)
        self.image_token = nn.Parameter(torch.empty(1, 1, spec.backbone.width).normal_(std=0.02))
        self.language_token = nn.Parameter(torch.empty(1, 1, spec.backbone.width).normal_(std=0.02))

    def language(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The words as tokens of the encoder."""
        return self.project(self.text(tokens)) + self.language_token

    def encode(self, tokens: Float[Tensor, "B K D"], batch: Batch) -> Float[Tensor, "B K D"]:
        """The states of the class token and the visible patches, which attend to the words."""
        words = batch.tokens
        is_silent = torch.rand(len(words), generator=batch.generator) < float(self.spec.options["text_dropout"])
        nothing = torch.full_like(words, PAD)
        nothing[:, 0], nothing[:, 1] = START, END
        words = torch.where(is_silent.to(words.device)[:, None], nothing, words)
        joined = torch.cat([tokens + self.image_token, self.language(words)], dim=1)
        is_there = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        mask = torch.cat([is_there, words != PAD], dim=1)[:, None, None, :]
        return run_blocks(self.network, joined, mask)[:, : tokens.shape[1]]

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The encoder without an instruction: the two tokens of an empty caption become timm's register tokens.

        To the blocks a register token and a word are the same, so this network gives the features that V-Cond gives
        for an empty caption. What is added to every patch goes into its position.
        """
        weights = super().export()
        device = self.language_token.device
        silence = self.language(torch.tensor([[START, END]], device=device)).detach()
        positions = weights["pos_embed"] + self.image_token
        weights["reg_token"] = silence
        weights["pos_embed"] = torch.cat([positions[:, :1], torch.zeros_like(silence), positions[:, 1:]], dim=1)
        return weights


def load_mae(spec: ObjectiveSpec, vocabulary: Vocabulary) -> MaskedAutoencoder:
    """The objective of a row."""
    return MaskedAutoencoder(spec, vocabulary)


def load_vcond(spec: ObjectiveSpec, vocabulary: Vocabulary) -> ConditionedAutoencoder:
    """The objective of a row."""
    return ConditionedAutoencoder(spec, vocabulary)
