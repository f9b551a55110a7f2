"""A head after training by behaviour cloning: acting alone, and many heads acting together."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pvrbench.policies.base import TrainedHead
from pvrbench.policies.heads.network import ACTIVATIONS, Layer, Output, forward
from pvrbench.policies.spec import HeadSpec
from pvrbench.policies.training.normalization import Scaling

# Rows go one by one: the last bits of a product, and of a tanh, depend on how many rows it has and which is which.


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """BatchNorm over the head's input after training: running statistics and learned affine map, of one network."""

    scale: Float[Tensor, " I"]
    shift: Float[Tensor, " I"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedHead:
    """A trained head, see `pvrbench.policies.base.TrainedHead`.

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
        checkpoints: earlier states of this head by the number of updates, where they were kept.
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
    checkpoints: Mapping[int, TrainedHead] = field(default_factory=dict[int, TrainedHead])

    def __reduce__(self) -> tuple[Callable[..., ClonedHead], tuple[dict[str, Any]]]:
        """To be sent to another process: the functions of `output` are made anew from `spec`."""
        return _restored, ({item.name: getattr(self, item.name) for item in fields(self) if item.name != "output"},)

    def act(
        self, features: Float[Tensor, "B ..."], proprio: Float[Tensor, "B P"], noise: Float[Tensor, "B Z"]
    ) -> Float[Tensor, "B A"]:
        """Actions in [-1, 1]; a row's action does not depend on the other rows, to the last bit."""
        rows = [
            self._act_row(*(part[row : row + 1].clone() for part in (features, proprio, noise)))
            for row in range(len(features))
        ]
        return torch.cat(rows)

    @torch.no_grad()
    def _act_row(
        self, features: Float[Tensor, "1 ..."], proprio: Float[Tensor, "1 P"], noise: Float[Tensor, "1 Z"]
    ) -> Float[Tensor, "1 A"]:
        vectors = features if self.front is None else self.front(features)
        inputs = self.inputs.apply(torch.cat([vectors, proprio], dim=1) if self.use_proprio else vectors)
        if self.batch_norm is not None:
            inputs = inputs * self.batch_norm.scale + self.batch_norm.shift
        activation = ACTIVATIONS[cast("str", self.spec.options["activation"])]
        outputs = forward(self.layers, inputs[None], activation)[0]
        return self.actions.invert(self.output.act(outputs, noise)).clamp(-1, 1)


def _restored(parts: dict[str, Any]) -> ClonedHead:
    return ClonedHead(output=build_output(parts["spec"]), **parts)


def build_output(spec: HeadSpec) -> Output:
    """What the last layer's numbers mean for a head of this spec."""
    build = cast("Callable[[Mapping[str, object]], Output]", pkgutil.resolve_name(spec.entry_point))
    return build(spec.options)


def act_together(
    heads: Sequence[TrainedHead],
    head_index: Int[Tensor, " B"],
    features: Float[Tensor, "B ..."],
    proprio: Float[Tensor, "B P"],
    noise: Float[Tensor, "B Z"],
) -> Float[Tensor, "B A"]:
    """Actions of many heads, each for its own rows; equal to what each head's `act` gives.

    Each head's product is computed by itself. One product for all would have to copy all weights side by side, which
    takes the time it saves, and its members lie at other alignments than alone, which changes their last bits.

    Args:
        heads: the heads.
        head_index: which head acts for a row.
        features: readouts.
        proprio: proprioception.
        noise: uniform random numbers; a head reads the first `noise_dim` columns.
    """
    parts: list[Tensor] = []
    rows: list[Tensor] = []
    for index, head in enumerate(heads):
        mine = (head_index == index).nonzero()[:, 0]
        if len(mine):
            parts.append(head.act(features[mine], proprio[mine], noise[mine, : head.noise_dim]))
            rows.append(mine)
    return torch.cat(parts)[torch.cat(rows).argsort()]
