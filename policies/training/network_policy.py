"""A small network after training: acting alone, and many of one shape acting together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import torch
from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor, nn

from pvrbench.policies.base import Observation, State, TrainedPolicy, Training, side_inputs
from pvrbench.policies.heads.network import Layer, Output
from pvrbench.policies.row_products import affine, aligned_width, apply_by_row, padded_columns
from pvrbench.policies.training.normalization import Scaling


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """BatchNorm over a network's input after training: running statistics and learned affine map in one."""

    scale: Float[Tensor, " I"]
    shift: Float[Tensor, " I"]


@dataclass(frozen=True, kw_only=True)
class NetworkPolicy(TrainedPolicy):
    """A trained network, see `pvrbench.policies.base.Policy`.

    Attributes:
        layers: of this network alone, `K` = 1.
        activation: after hidden layers.
        output: what the last layer's numbers mean.
        inputs: scaling of readout and proprioception, one after the other.
        actions: scaling of actions; `act` inverts it.
        batch_norm: of the scaled input, None where it has none.
        use_proprio: whether proprioception is read.
    """

    layers: tuple[Layer, ...]
    activation: str
    output: Output
    inputs: Scaling
    actions: Scaling
    batch_norm: BatchNorm | None
    use_proprio: bool

    def start(self, seed: Sequence[int]) -> State:
        """The generator of the episode's noise where the output draws any."""
        return self.output.start(seed)

    def act(self, observation: Observation, states: Sequence[State]) -> Float[Tensor, "B K A"]:
        """Actions in [-1, 1]; a row's action does not depend on the other rows, to the last bit."""
        return _act_sorted([(self, 0, len(states))], observation, states)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, without what was computed from them to act."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def group(self) -> Hashable:
        """Networks of one shape, activation and output act together."""
        shapes = tuple(tuple(layer.weight.shape) for layer in self.layers)
        flags = self.use_proprio, self.batch_norm is None, self.trained_readout is None
        return shapes, self.activation, self.output, flags, self.inputs.mean.device

    @classmethod
    def act_many(
        cls,
        policies: Sequence[NetworkPolicy],
        policy_index: Sequence[int],
        observation: Observation,
        states: Sequence[State],
    ) -> Float[Tensor, "B K A"]:
        """What each row's policy gives alone. The policies are of one group.

        Products are computed for each row apart, everything else for all rows at once. One product for all policies
        would have to copy their weights side by side, which takes the time it saves.
        """
        index = sorted(policy_index)
        order: list[int] | None = None
        if index != list(policy_index):
            order = sorted(range(len(index)), key=policy_index.__getitem__)
            observation, states = observation.pick(order), [states[row] for row in order]
        starts = [index.index(policy) for policy in dict.fromkeys(index)]
        members = [(policies[index[start]], start, end) for start, end in pairwise((*starts, len(index)))]
        actions = _act_sorted(members, observation, states)
        return actions if order is None else actions[torch.tensor(order, device=actions.device).argsort()]

    @cached_property
    def padded_layers(self) -> Sequence[tuple[Float[Tensor, "1 I W"], Float[Tensor, "1 1 W"]]]:
        """Weight and bias of each layer, their columns padded to whole vectors."""
        return [(padded_columns(layer.weight), padded_columns(layer.bias)) for layer in self.layers]

    @cached_property
    def affine_maps(self) -> Sequence[Float[Tensor, " W"]]:
        """Mean, spread and, where there is one, BatchNorm of the inputs, each padded to whole vectors."""
        rows = [self.inputs.mean, self.inputs.std]
        rows += [] if self.batch_norm is None else [self.batch_norm.scale, self.batch_norm.shift]
        width = self.inputs.mean.shape[0]
        padded = torch.ones(len(rows), aligned_width(width), device=rows[0].device)
        padded[:, :width] = torch.stack(rows)
        return padded.unbind()

    def export(self) -> tuple[Mapping[str, Tensor], Mapping[str, JsonValue]]:
        """Tensors and description, see `pvrbench.policies.base.Policy`."""
        tensors = {
            "inputs.mean": self.inputs.mean,
            "inputs.std": self.inputs.std,
            "actions.mean": self.actions.mean,
            "actions.std": self.actions.std,
        }
        for position, layer in enumerate(self.layers):
            tensors[f"layers.{position}.weight"] = layer.weight
            tensors[f"layers.{position}.bias"] = layer.bias
        if self.batch_norm is not None:
            tensors |= {"batch_norm.scale": self.batch_norm.scale, "batch_norm.shift": self.batch_norm.shift}
        return tensors, {"num_layers": len(self.layers), "use_proprio": self.use_proprio}


@torch.inference_mode()
def _act_sorted(
    members: Sequence[tuple[NetworkPolicy, int, int]], observation: Observation, states: Sequence[State]
) -> Float[Tensor, "B 1 A"]:
    """Actions for rows that are sorted by policy.

    Args:
        members: each policy with its first row and its end.
        observation: B rows.
        states: of the rows' episodes.
    """
    first = members[0][0]
    vectors = observation.features
    if first.trained_readout is not None:
        # A module of any kind may round otherwise in company, so it reads one row at a time.
        vectors = torch.cat([_read(policy, vectors[start:end]) for policy, start, end in members])
    width = first.inputs.mean.shape[0]
    inputs = vectors.new_zeros(len(vectors), aligned_width(width))
    inputs[:, : vectors.shape[1]] = vectors
    if vectors.shape[1] < width:
        side = side_inputs(observation.proprio, observation.instruction, use_proprio=first.use_proprio)
        inputs[:, vectors.shape[1] : width] = side
    for policy, start, end in members:
        mean, std, *batch_norm = policy.affine_maps
        own = inputs[start:end].sub_(mean).div_(std)
        if batch_norm:
            own.mul_(batch_norm[0]).add_(batch_norm[1])
    sizes = [end - start for _, start, end in members]
    for position, layer in enumerate(first.layers):
        num_inputs, num_outputs = layer.weight.shape[1:]
        weights, biases = zip(*(policy.padded_layers[position] for policy, _, _ in members), strict=True)
        inputs = affine(inputs[:, :num_inputs], sizes, weights, biases, num_outputs)
        if position < len(first.layers) - 1:
            inputs = torch.relu_(inputs) if first.activation == "relu" else torch.tanh_(inputs)
    outputs = inputs[:, : first.layers[-1].weight.shape[2]]
    actions = first.output.act(outputs, states).clone()
    for policy, start, end in members:
        actions[start:end].mul_(policy.actions.std).add_(policy.actions.mean)
    return actions.clamp_(-1, 1).unsqueeze(1)


def _read(policy: NetworkPolicy, features: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
    return apply_by_row(cast("nn.Module", policy.trained_readout), features)


def restore_network(
    tensors: Mapping[str, Tensor],
    description: Mapping[str, JsonValue],
    training: Training,
    activation: str,
    output: Output,
) -> NetworkPolicy:
    """A policy from what its `export` gave; each tensor is copied, so that it starts where products want it."""
    own = {name: value.clone() for name, value in tensors.items()}
    has_batch_norm = "batch_norm.scale" in own
    return NetworkPolicy(
        training=training,
        layers=tuple(
            Layer(own[f"layers.{position}.weight"], own[f"layers.{position}.bias"])
            for position in range(cast("int", description["num_layers"]))
        ),
        activation=activation,
        output=output,
        inputs=Scaling(own["inputs.mean"], own["inputs.std"]),
        actions=Scaling(own["actions.mean"], own["actions.std"]),
        batch_norm=BatchNorm(own["batch_norm.scale"], own["batch_norm.shift"]) if has_batch_norm else None,
        use_proprio=bool(description["use_proprio"]),
    )
