"""Many small networks of one shape as one: stacked parameters, one batched product a layer.

K networks, B rows each, I inputs, O outputs, A action dimensions. A network's numbers never touch another's, so
one that diverges leaves the rest as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pvrbench.policies.base import State

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


@runtime_checkable
class NetworkOptions(Protocol):
    """The options that heads with such a network have in common."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        ...

    @property
    def activation(self) -> str:
        """One of `ACTIVATIONS`."""
        ...

    @property
    def last_layer_scale(self) -> float:
        """Factor on the initial weights and biases of the last layer."""
        ...


@runtime_checkable
class Output(Protocol):
    """What the last layer's numbers mean: a loss to train by and a rule to act by. Equal ones act alike."""

    @property
    def is_bounded(self) -> bool:
        """Whether means of actions lie in [-1, 1] by construction."""
        ...

    def width(self, action_dim: int) -> int:
        """Numbers for an action."""
        ...

    def loss(self, outputs: Float[Tensor, "K B O"], actions: Float[Tensor, "K B A"]) -> Float[Tensor, " K"]:
        """One loss for each network."""
        ...

    def start(self, seed: Sequence[int]) -> State:
        """The state of one episode."""
        ...

    def act(self, outputs: Float[Tensor, "B O"], states: Sequence[State]) -> Float[Tensor, "B A"]:
        """Actions; a row's bits must not depend on the others."""
        ...


@dataclass(frozen=True, slots=True)
class Layer:
    """One affine layer of K networks."""

    weight: Float[Tensor, "K I O"]
    bias: Float[Tensor, "K 1 O"]

    def __call__(self, inputs: Float[Tensor, "K B I"]) -> Float[Tensor, "K B O"]:
        """Each network's rows through its own weights."""
        return torch.baddbmm(self.bias, inputs, self.weight)


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
