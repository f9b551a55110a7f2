"""`diffusion`: a diffusion policy over chunks of actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.policies.base import State, options_of
from pvrbench.policies.options import DiffusionOptions
from pvrbench.policies.row_products import RowLinear
from pvrbench.policies.spec import HeadSpec
from pvrbench.policies.training.modules import ModuleHead, ModulePolicy

BETA_SCHEDULE = "squaredcos_cap_v2"


class NoisePredictor(nn.Module):
    """Predicts the noise in a chunk: a residual MLP, modulated (FiLM) by observation and noise level."""

    def __init__(self, input_dim: int, chunk_dim: int, options: DiffusionOptions, dropout: float) -> None:
        super().__init__()
        width = self.width = options.width
        self.observe = RowLinear(input_dim, width)
        self.enter, self.leave = RowLinear(chunk_dim, width), RowLinear(width, chunk_dim)
        self.modulations = nn.ModuleList(RowLinear(2 * width, 2 * width) for _ in range(options.num_blocks))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Mish(), nn.Dropout(dropout), RowLinear(width, width)) for _ in range(options.num_blocks)
        )

    def forward(
        self, noisy: Float[Tensor, "B N"], level: Int[Tensor, "#B"], inputs: Float[Tensor, "B I"]
    ) -> Float[Tensor, "B N"]:
        """The noise.

        Args:
            noisy: chunks with noise.
            level: noise level of each chunk, or one of all; 0 is the least.
            inputs: normalized observations.
        """
        observed = cast("Tensor", self.observe(inputs))
        embedded = get_timestep_embedding(level, self.width).expand(len(observed), -1)
        condition = functional.mish(torch.cat([observed, embedded], dim=1))
        hidden = cast("Tensor", self.enter(noisy))
        for modulation, block in zip(self.modulations, self.blocks, strict=True):
            scale, shift = cast("Tensor", modulation(condition)).chunk(2, dim=1)
            hidden = hidden + cast("Tensor", block(hidden * (1 + scale) + shift))
        return self.leave(functional.mish(hidden))


@dataclass(frozen=True, kw_only=True)
class DiffusionPolicy(ModulePolicy):
    """Denoises a chunk from the episode's own noise and executes the first of its actions."""

    @property
    def options(self) -> DiffusionOptions:
        """The head's options."""
        return options_of(self.spec, DiffusionOptions)

    @property
    def chunk(self) -> int:
        """The executed part of a chunk."""
        return self.options.num_executed

    def start(self, seed: Sequence[int]) -> State:
        """The generator of the episode's noise."""
        return np.random.default_rng(list(seed))

    def act_rows(self, inputs: Float[Tensor, "B I"], states: Sequence[State]) -> Float[Tensor, "B K A"]:
        """Actions after all denoising steps."""
        options = self.options
        scheduler = _sampler(options.num_train_steps, options.num_inference_steps)
        size = options.horizon * len(self.module.action_mean)
        noise = [cast("np.random.Generator", state).standard_normal(size, dtype=np.float32) for state in states]
        sample = torch.from_numpy(np.stack(noise)).to(inputs.device)
        for level in scheduler.timesteps:
            predicted = self.module.network(sample, level[None].to(inputs.device), inputs)
            sample = cast("Tensor", scheduler.step(predicted, level, sample, return_dict=False)[0])
        return self.module.unscale(sample.reshape(len(sample), options.horizon, -1)[:, : options.num_executed])


@lru_cache
def _sampler(num_train_steps: int, num_inference_steps: int) -> Any:
    """A deterministic sampler; it holds tables and nothing of a sample."""
    scheduler: Any = DDIMScheduler(num_train_timesteps=num_train_steps, beta_schedule=BETA_SCHEDULE)
    scheduler.set_timesteps(num_inference_steps)
    return scheduler


class DiffusionHead(ModuleHead):
    """A diffusion policy.

    Source: Chi et al. 2023, Diffusion Policy, arXiv:2303.04137: squared-cosine noise schedule, prediction of the noise,
    actions in [-1, 1] by the minimum and maximum of the training demonstrations, whose last action is repeated after
    their end, a moving average of the parameters, DDIM to act, and part of a chunk executed before the next look.
    It deviates in the network: an MLP over the flat chunk with FiLM in place of a 1D U-Net, and one observation.
    """

    policy = DiffusionPolicy
    is_averaged = True
    fits_range = True

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.options = options_of(spec, DiffusionOptions)
        self.horizon = self.options.horizon
        self.scheduler: Any = DDPMScheduler(
            num_train_timesteps=self.options.num_train_steps, beta_schedule=BETA_SCHEDULE
        )

    def network(self, input_dim: int, action_dim: int, dropout: float) -> nn.Module:
        """A predictor of noise."""
        return NoisePredictor(input_dim, self.horizon * action_dim, self.options, dropout)

    def loss(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "B I"],
        actions: Float[Tensor, "B K A"],
        is_real: Bool[Tensor, "B K"],
    ) -> Float[Tensor, ""]:
        """Mean squared error of the predicted noise; repeated actions count, as in the paper."""
        del is_real
        chunks = actions.flatten(start_dim=1)
        noise = torch.randn(chunks.shape).to(chunks.device)
        level = torch.randint(self.options.num_train_steps, (len(chunks),)).to(chunks.device)
        noisy = cast("Tensor", self.scheduler.add_noise(chunks, noise, level))
        return functional.mse_loss(network(noisy, level, inputs), noise)
