"""Features of a small latent diffusion model that makes frames without a prompt: diffusers' own networks.

Pixels are folded 4 x 4 into channels before the autoencoder, which spares the costly convolutions at full size; the
latent is 8 times smaller than the frame, as Stable Diffusion's. An image always gives the same feature: the latent is
the mode of the posterior and the noise is one fixed tensor.

Source: Rombach et al. 2022, arXiv:2112.10752; Tang et al. 2023, DIFT, arXiv:2306.03881 (features of one block).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d import UNet2DModel
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.encoders.base import Features
from pvrbench.encoders.digest import digest_of
from pvrbench.encoders.families.diffusion import UNetTap, noise_level
from pvrbench.encoders.preprocessing import check_images, preprocess
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.fit import check_fit
from pvrbench.encoders.weights.loading import state_dict

FOLD = 4
_GROUPS = 16


def _channels(text: object) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).split("+"))


class SmallDiffusion(nn.Module):
    """Autoencoder, U-Net and the fixed noise.

    Args:
        options: `vae_channels` and `unet_channels` of the levels joined by `+`, `latent_channels`, `noise_seed`.
        image_px: side of the frames.
    """

    latent_scale: Tensor
    noise: Tensor

    def __init__(self, options: Mapping[str, str | int | float | bool], image_px: int) -> None:
        super().__init__()
        vae_channels, unet_channels = _channels(options["vae_channels"]), _channels(options["unet_channels"])
        latent = int(options["latent_channels"])
        self.vae: AutoencoderKL = cast("Any", AutoencoderKL)(
            in_channels=3 * FOLD**2,
            out_channels=3 * FOLD**2,
            down_block_types=("DownEncoderBlock2D",) * len(vae_channels),
            up_block_types=("UpDecoderBlock2D",) * len(vae_channels),
            block_out_channels=vae_channels,
            layers_per_block=1,
            latent_channels=latent,
            norm_num_groups=_GROUPS,
        )
        side = image_px // FOLD // 2 ** (len(vae_channels) - 1)
        levels = len(unet_channels)
        self.unet: UNet2DModel = cast("Any", UNet2DModel)(
            sample_size=side,
            in_channels=latent,
            out_channels=latent,
            block_out_channels=unet_channels,
            down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
            layers_per_block=1,
            norm_num_groups=_GROUPS,
            attention_head_dim=32,
        )
        generator = torch.Generator().manual_seed(int(options["noise_seed"]))
        self.register_buffer("noise", torch.randn(1, latent, side, side, generator=generator))
        self.register_buffer("latent_scale", torch.ones(()))

    def posterior(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """The distribution of latents, not scaled."""
        return cast("Any", self.vae).encode(functional.pixel_unshuffle(pixels, FOLD)).latent_dist

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Pictures of latents that are not scaled."""
        return functional.pixel_shuffle(cast("Any", self.vae).decode(latents).sample, FOLD)

    def predict_noise(self, latents: Float[Tensor, "B C h w"], timesteps: Tensor) -> Float[Tensor, "B C h w"]:
        """The noise that is in scaled, noised latents."""
        return cast("Any", self.unet)(latents, timesteps).sample

    def kept(self) -> dict[str, Tensor]:
        """The weights that features need."""
        dropped = ("vae.decoder.", "vae.post_quant_conv.")
        return {name: value for name, value in self.state_dict().items() if not name.startswith(dropped)}


class SmallDiffusionEncoder:
    """The encoder of a frame: the U-Net's activations on its noised latent.

    Args:
        spec: the row; options as of `SmallDiffusion`, `block` and `timestep`.
        network: the networks, their weights loaded.
    """

    def __init__(self, spec: EncoderSpec, network: SmallDiffusion) -> None:
        self.spec = spec
        self.network = network
        # Features need neither; what is left random would be another digest each time.
        cast("Any", network.vae).decoder = cast("Any", network.vae).post_quant_conv = None
        self._tap = UNetTap(network.unet, (str(spec.options["block"]),))
        network.eval().requires_grad_(requires_grad=False)
        self._timestep = int(spec.options["timestep"])
        self._device = "cpu"
        self.digest = digest_of(spec, network)

    @torch.no_grad()
    def encode(self, inputs: UInt8[Tensor, "B H W 3"]) -> Features:
        """The feature grid of raw frames."""
        check_images(inputs, self.spec.name)
        return self.features(preprocess(inputs.to(self._device), self.spec))

    def features(self, pixels: Float[Tensor, "B 3 S S"]) -> Features:
        """The same of preprocessed pixels, with the gradients that the caller has enabled."""
        latents = self.network.posterior(pixels).mode()
        signal, noise = noise_level(self._timestep)
        noised = signal * latents * self.network.latent_scale + noise * self.network.noise
        return Features(grid=self._tap(noised, self._timestep)[0])

    def to(self, device: str) -> SmallDiffusionEncoder:
        """The encoder with its networks on `device`."""
        self.network.to(device)
        self._device = device
        return self


def load(spec: EncoderSpec) -> SmallDiffusionEncoder:
    """Builds the networks of a row and loads their weights.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        network = SmallDiffusion(spec.options, spec.image_size)
    weights = dict(state_dict(spec))
    check_fit(network.kept(), weights, spec)
    network.load_state_dict(weights, strict=False)
    return SmallDiffusionEncoder(spec, network)
