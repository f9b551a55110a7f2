"""Latent diffusion on frames: first an autoencoder, then a U-Net that removes noise from its latents.

Source: Rombach et al. 2022, arXiv:2112.10752 (two stages, latents scaled to unit deviation); Ho et al. 2020, DDPM,
arXiv:2006.11239 (loss on the noise). Its features are read as DIFT's are, arXiv:2306.03881.

Deviations: the autoencoder is trained by squared error and a slight divergence from the normal distribution alone,
without a perceptual and an adversarial loss; pixels are folded 4 x 4 before it; there is no text, and no moving average
of the U-Net.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float, UInt8
from torch import Tensor

from pvrbench.encoders.families.small_diffusion import SmallDiffusion
from pvrbench.encoders.zoo.pretraining.augmentation import CropSettings, random_crop
from pvrbench.encoders.zoo.pretraining.base import Array, Batch, Objective, to_pixels
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.text import Vocabulary

AUTOENCODER, DIFFUSION = "autoencoder", "diffusion"
_NUM_TIMESTEPS = 1000
_SHOWN_TIMESTEP = 261
_PICTURES = 6


class LatentDiffusion(Objective):
    """Two phases on one budget: `autoencoder`, then `diffusion` with the autoencoder frozen.

    Args:
        spec: the row; options of `SmallDiffusion`, `divergence_weight`, `crop_scale`, `flip`.
        vocabulary: not read.
    """

    def __init__(self, spec: ObjectiveSpec, vocabulary: Vocabulary) -> None:
        del vocabulary
        network = SmallDiffusion(spec.options, spec.backbone.image_px)
        super().__init__(spec, network)
        self.network = network
        self._schedule: Any = cast("Any", DDPMScheduler)(
            num_train_timesteps=_NUM_TIMESTEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        )

    def _pixels(self, batch: Batch) -> Float[Tensor, "B 3 H W"]:
        """Pictures in -1..1."""
        low, flip = float(self.spec.options["crop_scale"]), float(self.spec.options["flip"])
        pixels = to_pixels(batch.first_frames)
        if low < 1.0 or flip > 0.0:
            crop = CropSettings(size_px=self.spec.backbone.image_px, scale=(low, 1.0), flip=flip)
            pixels = random_crop(pixels, crop, batch.generator)
        return 2 * pixels - 1

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of the phase; on held-out clips the reconstruction is measured in both."""
        pixels = self._pixels(batch)
        if batch.phase == AUTOENCODER:
            return self._autoencoder_loss(pixels, batch.generator)
        with torch.no_grad():
            posterior = self.network.posterior(pixels)
            latents = self._sample(posterior, batch.generator) * self.network.latent_scale
        timesteps = torch.randint(0, _NUM_TIMESTEPS, (len(pixels),), generator=batch.generator).to(pixels.device)
        noise = torch.randn(latents.shape, generator=batch.generator).to(pixels.device)
        noised = self._schedule.add_noise(latents, noise, timesteps)
        found = {"loss": (self.network.predict_noise(noised, timesteps).float() - noise).square().mean()}
        if not self.training:
            found["reconstruction"] = (self.network.decode(posterior.mode()).float() - pixels).square().mean()
        return found

    def _autoencoder_loss(self, pixels: Float[Tensor, "B 3 H W"], generator: torch.Generator) -> dict[str, Tensor]:
        posterior = self.network.posterior(pixels)
        restored = self.network.decode(self._sample(posterior, generator))
        error = (restored.float() - pixels).square().mean()
        divergence = posterior.kl().float().mean() / pixels[0].numel()
        return {
            "loss": error + float(self.spec.options["divergence_weight"]) * divergence,
            "reconstruction": error.detach(),
        }

    @staticmethod
    def _sample(posterior: Any, generator: torch.Generator) -> Tensor:
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean.device)
        return posterior.mean + posterior.std * noise

    @torch.no_grad()
    def start_phase(self, phase: str, batches: Sequence[Batch]) -> None:
        """Measures the deviation of latents before diffusion, in which the autoencoder gets no gradients."""
        if phase == DIFFUSION:
            latents = [self.network.posterior(self._pixels(batch)).mode().float() for batch in batches]
            self.network.latent_scale.fill_(1 / float(torch.cat(latents).std()))

    def trivial_loss(self, train: Sequence[Batch], held_out: Sequence[Batch]) -> dict[str, float]:
        """Predicting no noise errs by its variance; the mean training frame is the trivial reconstruction."""
        with torch.no_grad():
            mean = torch.cat([self._pixels(batch) for batch in train]).mean(dim=0)
            errors = [(self._pixels(batch) - mean).square().mean() for batch in held_out]
        return {"loss": 1.0, "reconstruction": float(torch.stack(errors).mean())}

    def export(self) -> dict[str, Tensor]:
        """Encoder half of the autoencoder, U-Net, scale and noise."""
        return {name: value.detach().clone() for name, value in self.network.kept().items()}

    @torch.no_grad()
    def picture(self, batch: Batch) -> UInt8[Array, "H W 3"]:
        """Rows of frames, their reconstruction, a noised one, and what the U-Net makes of that in one step."""
        pixels = self._pixels(batch)[:_PICTURES]
        mode = self.network.posterior(pixels).mode()
        latents = mode * self.network.latent_scale
        timesteps = torch.full((len(pixels),), _SHOWN_TIMESTEP, device=pixels.device)
        noise = torch.randn(latents.shape, generator=batch.generator).to(pixels.device)
        noised = self._schedule.add_noise(latents, noise, timesteps)
        kept = float(self._schedule.alphas_cumprod[_SHOWN_TIMESTEP])
        guess = (noised - (1 - kept) ** 0.5 * self.network.predict_noise(noised, timesteps)) / kept**0.5
        shown = [mode, noised / self.network.latent_scale, guess / self.network.latent_scale]
        rows = [pixels, *(self.network.decode(row).clamp(-1, 1) for row in shown)]
        lines = [torch.cat(list(row.cpu().float()), dim=2) for row in rows]
        whole = ((torch.cat(lines, dim=1) + 1) / 2 * 255).round().to(torch.uint8)
        return cast("Array", whole.permute(1, 2, 0).contiguous().numpy())


def load_latent_diffusion(spec: ObjectiveSpec, vocabulary: Vocabulary) -> LatentDiffusion:
    """The objective of a row."""
    return LatentDiffusion(spec, vocabulary)
