"""A small frame-causal transformer whose layers are modulated by the actions, trained on its own rollouts."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pvrbench.policies.transitions.base import Sequences
from pvrbench.policies.transitions.options import TransformerOptions

# Width of the feed-forward layers over that of the tokens.
EXPANSION = 4
# Share of the updates in which the learning rate rises, and the largest norm of a gradient.
WARMUP, MAX_NORM = 0.05, 1.0


class ModulatedBlock(nn.Module):
    """Attention and a feed-forward layer, each with scale, shift and gate from the frame's action (adaLN-Zero).

    Source: Peebles and Xie 2023, Scalable diffusion models with transformers, section 3.2.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, EXPANSION * width), nn.Linear(EXPANSION * width, width)
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self, tokens: Float[Tensor, "B F P W"], condition: Float[Tensor, "B F W"], mask: Float[Tensor, "FP FP"]
    ) -> Float[Tensor, "B F P W"]:
        """The tokens after the block.

        Args:
            tokens: of all frames.
            condition: embedded action block of each frame.
            mask: added to the attention scores; minus infinity between a frame and a later one.
        """
        size = tokens.shape
        changes = cast("Tensor", self.modulate(functional.silu(condition)))[:, :, None].chunk(6, dim=-1)
        hidden = functional.layer_norm(tokens, size[-1:]) * (1 + changes[0]) + changes[1]
        qkv = cast("Tensor", self.qkv(hidden)).reshape(size[0], size[1] * size[2], 3, self.num_heads, -1)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        tokens = tokens + changes[2] * cast("Tensor", self.merge(attended.transpose(1, 2).reshape(size)))
        hidden = functional.layer_norm(tokens, size[-1:]) * (1 + changes[3]) + changes[4]
        return tokens + changes[5] * cast("Tensor", self.narrow(functional.gelu(self.widen(hidden))))


class TransformerTransition(nn.Module):
    """Predicts how the latent changes; before training it predicts no change. Fulfils `Transition`.

    Args:
        num_tokens: tokens of a frame.
        latent_dim: numbers in a token.
        action_dim: numbers in an action block.
        options: its size.
    """

    def __init__(self, num_tokens: int, latent_dim: int, action_dim: int, options: TransformerOptions) -> None:
        super().__init__()
        width = options.width
        self.history: int = options.history
        self.read = nn.Linear(latent_dim, width)
        self.place = nn.Parameter(0.02 * torch.randn(num_tokens, width))
        self.time = nn.Parameter(0.02 * torch.randn(options.history, 1, width))
        self.act = nn.Sequential(nn.Linear(action_dim, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(ModulatedBlock(width, options.num_heads) for _ in range(options.num_layers))
        self.write = nn.Linear(width, latent_dim)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, latents: Float[Tensor, "B F P D"], actions: Float[Tensor, "B F U"]) -> Float[Tensor, "B F P D"]:
        """For each frame the latent of the next one, from this frame and the earlier ones."""
        num_frames, num_tokens = latents.shape[1:3]
        tokens = cast("Tensor", self.read(latents)) + self.place + self.time[:num_frames]
        condition = cast("Tensor", self.act(actions))
        frames = torch.arange(num_frames, device=latents.device).repeat_interleave(num_tokens)
        mask = torch.zeros(len(frames), len(frames), device=latents.device)
        mask = mask.masked_fill(frames[None] > frames[:, None], -math.inf)
        for block in self.blocks:
            tokens = cast("Tensor", block(tokens, condition, mask))
        return latents + cast("Tensor", self.write(functional.layer_norm(tokens, tokens.shape[-1:])))

    def predict(self, latents: Float[Tensor, "B F P D"], actions: Float[Tensor, "B F U"]) -> Float[Tensor, "B P D"]:
        """The latent after the last action block; see `Transition.predict`."""
        return self(latents, actions)[:, -1]


def train_transformer(sequences: Sequences, options: TransformerOptions, seed: int) -> TransformerTransition:
    """Trains a model on windows of trajectories; the same seed gives the same parameters on the same machine.

    The loss is the mean squared error of the predictions of all frames of a window from the true latents, and of
    `rollout - 1` further steps from the model's own predictions, through which gradients flow.

    Args:
        sequences: the training trajectories, which must be at least `history + rollout - 1` blocks long.
        options: size and optimisation.
        seed: of the initialisation and the batches.
    """
    (num_episodes, _, num_tokens, latent_dim), action_dim = sequences.latents.shape, sequences.actions.shape[2]
    length = options.history + options.rollout - 1
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TransformerTransition(num_tokens, latent_dim, action_dim, options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    steps = torch.arange(length)
    for update in range(options.num_updates):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * _schedule(update / options.num_updates)
        episodes = torch.randint(num_episodes, (options.batch_size, 1), generator=generator)
        starts = torch.randint(sequences.actions.shape[1] - length + 1, (options.batch_size, 1), generator=generator)
        latents = sequences.latents[episodes, starts + torch.arange(length + 1)]
        loss = _rollout_loss(model, latents, sequences.actions[episodes, starts + steps])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
    return model.eval().requires_grad_(requires_grad=False)


def _schedule(progress: float) -> float:
    return progress / WARMUP if progress < WARMUP else 0.5 * (1 + math.cos(math.pi * progress))


def _rollout_loss(
    model: TransformerTransition, latents: Float[Tensor, "B L P D"], actions: Float[Tensor, "B T U"]
) -> Tensor:
    history, num_blocks = model.history, actions.shape[1]
    frames = latents[:, :history]
    predicted = cast("Tensor", model(frames, actions[:, :history]))
    losses = [functional.mse_loss(predicted, latents[:, 1 : history + 1])]
    for step in range(1, num_blocks - history + 1):
        frames = torch.cat([frames[:, 1:], predicted[:, -1:]], dim=1)
        predicted = cast("Tensor", model(frames, actions[:, step : step + history]))
        losses.append(functional.mse_loss(predicted[:, -1], latents[:, history + step]))
    return torch.stack(losses).mean()
