"""A head after training by behaviour cloning: acting alone, and many heads acting together."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from policies.base import TrainedHead
from policies.network import ACTIVATIONS, Layer, Output, forward
from policies.normalization import Scaling
from policies.spec import HeadSpec

# `act` works in blocks of so many rows, padded: the last bits of a product depend on its number of rows.
ROW_TILE = 8


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """BatchNorm over the head's input after training: running statistics and learned affine map, of one network."""

    scale: Float[Tensor, " I"]
    shift: Float[Tensor, " I"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedHead:
    """A trained head, see `policies.base.TrainedHead`.

    Attributes:
        spec: what was trained, options included.
        layers: of this network alone, `K` = 1.
        output: what the last layer's numbers mean, by `spec`.
        inputs: scaling of readout and proprioception, one after the other.
        actions: scaling of actions; `act` inverts it.
        batch_norm: of the scaled input, None where it has none.
        front: the readout in front of the head, None where it reads vectors.
        num_params: trained parameters by part.
        train_log: losses over the updates.
        failure: why training failed.
        use_proprio: whether proprioception is read.
        noise_dim: uniform random numbers a row.
    """

    spec: HeadSpec
    layers: tuple[Layer, ...]
    output: Output
    inputs: Scaling
    actions: Scaling
    batch_norm: BatchNorm | None
    front: nn.Module | None
    num_params: Mapping[str, int]
    train_log: Mapping[str, object]
    failure: str | None = None
    use_proprio: bool
    noise_dim: int = 0

    def act(
        self, features: Float[Tensor, "B ..."], proprio: Float[Tensor, "B P"], noise: Float[Tensor, "B Z"]
    ) -> Float[Tensor, "B A"]:
        """Actions in [-1, 1]; a row's action does not depend on the other rows, to the last bit."""
        index = torch.zeros(len(features), dtype=torch.long, device=features.device)
        return act_together([self], index, features, proprio, noise)

    def scaled(self, features: Float[Tensor, "B ..."], proprio: Float[Tensor, "B P"]) -> Float[Tensor, "B I"]:
        """The input of the first layer."""
        vectors = features if self.front is None else self.front(features)
        inputs = self.inputs.apply(torch.cat([vectors, proprio], dim=1) if self.use_proprio else vectors)
        if self.batch_norm is not None:
            inputs = inputs * self.batch_norm.scale + self.batch_norm.shift
        return inputs

    def decided(self, outputs: Float[Tensor, "B O"], noise: Float[Tensor, "B Z"]) -> Float[Tensor, "B A"]:
        """Actions in [-1, 1] from the last layer's numbers."""
        return self.actions.invert(self.output.act(outputs, noise)).clamp(-1, 1)


def build_output(spec: HeadSpec) -> Output:
    """What the last layer's numbers mean for a head of this spec."""
    build = cast("Callable[[Mapping[str, object]], Output]", pkgutil.resolve_name(spec.entry_point))
    return build(spec.options)


@torch.no_grad()
def act_together(
    heads: Sequence[TrainedHead],
    head_index: Int[Tensor, " B"],
    features: Float[Tensor, "B ..."],
    proprio: Float[Tensor, "B P"],
    noise: Float[Tensor, "B Z"],
) -> Float[Tensor, "B A"]:
    """Actions of many heads, each for its own rows; the same bits as each head's own `act`.

    Heads of one shape share one batched product a layer. Each brings a block of `ROW_TILE` rows to it.

    Args:
        heads: the heads.
        head_index: which head acts for a row.
        features: readouts.
        proprio: proprioception.
        noise: uniform random numbers; a head reads the first `noise_dim` columns.
    """
    parts: list[Tensor] = []
    order: list[Tensor] = []
    families: dict[object, list[list[tuple[ClonedHead, Tensor]]]] = {}
    for index in cast("list[int]", head_index.unique().tolist()):
        head, rows = heads[index], (head_index == index).nonzero()[:, 0]
        if isinstance(head, ClonedHead):
            families.setdefault(_family(head), []).append([(head, block) for block in rows.split(ROW_TILE)])
        else:
            parts.append(head.act(features[rows], proprio[rows], noise[rows, : head.noise_dim]))
            order.append(rows)
    for family in families.values():
        for turn in range(max(map(len, family))):
            blocks = [own[turn] for own in family if turn < len(own)]
            parts += _act_blocks(blocks, features, proprio, noise)
            order += [rows for _, rows in blocks]
    return torch.cat(parts)[torch.cat(order).argsort()]


def _family(head: ClonedHead) -> object:
    return head.spec.options["activation"], tuple(tuple(layer.weight.shape) for layer in head.layers)


def _act_blocks(
    blocks: Sequence[tuple[ClonedHead, Int[Tensor, " R"]]],
    features: Float[Tensor, "B ..."],
    proprio: Float[Tensor, "B P"],
    noise: Float[Tensor, "B Z"],
) -> list[Float[Tensor, "R A"]]:
    """One block of rows for each head, through all heads at once."""
    inputs = torch.stack([head.scaled(_block(features, rows), _block(proprio, rows)) for head, rows in blocks])
    heads = [head for head, _ in blocks]
    activation = ACTIVATIONS[cast("str", heads[0].spec.options["activation"])]
    outputs = forward(_stacked(heads), inputs, activation)
    return [
        head.decided(output, _block(noise[:, : head.noise_dim], rows))[: len(rows)]
        for (head, rows), output in zip(blocks, outputs, strict=True)
    ]


def _stacked(heads: Sequence[ClonedHead]) -> Sequence[Layer]:
    if len(heads) == 1:
        return heads[0].layers
    return [
        Layer(torch.cat([layer.weight for layer in alike]), torch.cat([layer.bias for layer in alike]))
        for alike in zip(*(head.layers for head in heads), strict=True)
    ]


def _block(values: Float[Tensor, "B ..."], rows: Int[Tensor, " R"]) -> Float[Tensor, "T ..."]:
    """The rows, padded to a whole tile."""
    block = values.new_zeros(ROW_TILE, *values.shape[1:])
    block[: len(rows)] = values[rows]
    return block
