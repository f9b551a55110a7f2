"""Many small networks of one shape as one: stacked parameters, one batched product a layer.

K networks, B rows each, I inputs, O outputs, A action dimensions. A network's numbers never touch another's, so
one that diverges leaves the rest as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}

LOW_NOISE_STD = 1e-4


@dataclass(frozen=True, slots=True)
class Layer:
    """One affine layer of K networks."""

    weight: Float[Tensor, "K I O"]
    bias: Float[Tensor, "K 1 O"]

    def __call__(self, inputs: Float[Tensor, "K B I"]) -> Float[Tensor, "K B O"]:
        """Each network's rows through its own weights."""
        return torch.baddbmm(self.bias, inputs, self.weight)


@dataclass(frozen=True, slots=True)
class Output:
    """What the last layer's numbers mean: a loss to train by and a rule to act by.

    Attributes:
        width: numbers for an action of A dimensions, by A.
        loss: outputs `K B O` and actions `K B A` to one loss for each network `K`.
        act: outputs `B O` and noise `B Z` to actions `B A`.
        is_bounded: whether means of actions lie in [-1, 1] by construction.
        noise_dim: Z, by A.
    """

    width: Callable[[int], int]
    loss: Callable[[Tensor, Tensor], Tensor]
    act: Callable[[Tensor, Tensor], Tensor]
    is_bounded: bool
    noise_dim: Callable[[int], int] = field(default=lambda _action_dim: 0)


def deterministic(options: Mapping[str, object]) -> Output:
    """Actions themselves, trained by mean squared error; with the option `squash`, tanh keeps them in (-1, 1).

    Source: `squash` is robomimic's `ActorNetwork`, Mandlekar et al. 2021.
    """
    is_squashed = bool(options.get("squash", False))
    squash: Callable[[Tensor], Tensor] = torch.tanh if is_squashed else lambda outputs: outputs
    return Output(
        width=lambda action_dim: action_dim,
        loss=lambda outputs, actions: (squash(outputs) - actions).square().mean(dim=(1, 2)),
        act=lambda outputs, _noise: squash(outputs),
        is_bounded=is_squashed,
    )


def mixture(options: Mapping[str, object]) -> Output:
    """A mixture of diagonal Gaussians over actions, trained by maximum likelihood.

    Means pass through tanh, standard deviations are `softplus + min_std`. To act, `likeliest_mode` takes the mean of
    the mode of largest weight; `sampled_mode` draws a mode by its weight and adds noise of standard deviation 1e-4.

    Source: Mandlekar et al. 2021, robomimic, `GMMActorNetwork`; `sampled_mode` is its low-noise evaluation,
    `likeliest_mode` is ours, so that evaluation is deterministic.
    """
    num_modes = cast("int", options["num_modes"])
    min_std = cast("float", options["min_std"])
    rule = cast("Literal['likeliest_mode', 'sampled_mode']", options["act_rule"])

    def act(outputs: Tensor, noise: Tensor) -> Tensor:
        means, _, log_weights = mixture_parameters(outputs, num_modes, min_std)
        if rule == "likeliest_mode":
            mode = log_weights.argmax(dim=-1)
        else:
            mode = (log_weights.exp().cumsum(dim=-1) < noise[:, :1]).sum(dim=-1).clamp(max=num_modes - 1)
        mean: Tensor = means.take_along_dim(mode[:, None, None], dim=1).squeeze(1)
        if rule == "likeliest_mode":
            return mean
        special: Any = torch.special  # its functions have no types
        normal: Tensor = special.ndtri(noise[:, 1:].clamp(1e-6, 1 - 1e-6))
        return mean + LOW_NOISE_STD * normal

    return Output(
        width=lambda action_dim: num_modes * (2 * action_dim + 1),
        loss=lambda outputs, actions: -mixture_log_prob(outputs, actions, num_modes, min_std).mean(dim=1),
        act=act,
        is_bounded=True,
        noise_dim=lambda action_dim: 1 + action_dim if rule == "sampled_mode" else 0,
    )


def mixture_parameters(
    outputs: Float[Tensor, "*B O"], num_modes: int, min_std: float
) -> tuple[Float[Tensor, "*B M A"], Float[Tensor, "*B M A"], Float[Tensor, "*B M"]]:
    """Means, standard deviations and log weights of the mixture that a last layer describes."""
    action_dim = (outputs.shape[-1] // num_modes - 1) // 2
    shape = (*outputs.shape[:-1], num_modes, action_dim)
    width = num_modes * action_dim
    means, stds, logits = outputs[..., :width], outputs[..., width : 2 * width], outputs[..., 2 * width :]
    return (
        torch.tanh(means.reshape(shape)),
        functional.softplus(stds.reshape(shape)) + min_std,
        logits.log_softmax(dim=-1),
    )


def mixture_log_prob(
    outputs: Float[Tensor, "*B O"], actions: Float[Tensor, "*B A"], num_modes: int, min_std: float
) -> Float[Tensor, "*B"]:
    """Log density of actions under the mixture."""
    means, stds, log_weights = mixture_parameters(outputs, num_modes, min_std)
    standardised = (actions.unsqueeze(-2) - means) / stds
    log_density = -0.5 * standardised.square() - stds.log() - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(log_weights + log_density.sum(dim=-1), dim=-1)


def initial_layers(
    widths: Sequence[int], last_layer_scale: float, generators: Sequence[torch.Generator]
) -> list[Layer]:
    """Layers as `torch.nn.Linear` initialises them, each network from its own generator.

    Args:
        widths: inputs, hidden widths, outputs.
        last_layer_scale: factor on the last layer's weights and biases; R3M's evaluation uses 0.01.
        generators: one for each network, on the CPU.
    """
    layers: list[Layer] = []
    for position, (num_inputs, num_outputs) in enumerate(pairwise(widths)):
        bound = 1 / math.sqrt(max(1, num_inputs))
        scale = last_layer_scale if position == len(widths) - 2 else 1.0
        drawn = [
            (torch.rand(num_inputs + 1, num_outputs, generator=generator) * 2 - 1) * bound * scale
            for generator in generators
        ]
        stacked = torch.stack(drawn)
        layers.append(Layer(stacked[:, :-1].contiguous(), stacked[:, -1:].contiguous()))
    return layers


def forward(
    layers: Sequence[Layer],
    inputs: Float[Tensor, "K B I"],
    activation: Callable[[Tensor], Tensor],
    drop: Callable[[Tensor], Tensor] = lambda hidden: hidden,
) -> Float[Tensor, "K B O"]:
    """Inputs through all layers; `drop` is applied to every hidden layer."""
    hidden = inputs
    for layer in layers[:-1]:
        hidden = drop(activation(layer(hidden)))
    return layers[-1](hidden)
