"""Computing many rows at once so that each has the bits that it has alone.

The last bits of a matrix product depend on the number of its rows and on where its operands start. Those of `tanh`
depend on whether an element lies in a whole vector of the processor or in the rest. So here each row is a product of
its own (a member of a batched product with one row), every row starts at 64 bytes, and functions of single elements
see whole vectors only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Float32 numbers in 64 bytes: one line of the cache, and the widest vector of current processors.
ALIGNED_FLOATS = 16

# Below so many weights, torch multiplies by a loop of its own, which sums in another order than its library. Padding
# would take such a layer out of that loop, and so change the bits of results that were recorded without it.
SMALL_PRODUCT = 400


def aligned_width(width: int) -> int:
    """The width with which rows of `width` numbers all start at 64 bytes."""
    return -(-width // ALIGNED_FLOATS) * ALIGNED_FLOATS


def apply_aligned(function: Callable[[Tensor], Tensor], values: Float[Tensor, "B W"]) -> Float[Tensor, "B W"]:
    """A function of single elements, applied to rows that are padded with zeros to whole vectors."""
    num_rows, width = values.shape
    padded = values.new_zeros(num_rows, aligned_width(width))
    padded[:, :width] = values
    return function(padded)[:, :width]


def apply_by_row(function: Callable[[Tensor], Tensor], values: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """A function of batches, applied to one row after another, each a tensor of its own."""
    return torch.cat([function(values[row : row + 1].clone()) for row in range(len(values))])


def padded_columns(values: Float[Tensor, "1 R O"]) -> Float[Tensor, "1 R W"]:
    """Weights or biases with columns of zeros up to whole vectors; the same tensor where there are no more to add."""
    missing = aligned_width(values.shape[2]) - values.shape[2]
    return functional.pad(values, (0, missing)) if missing else values


def affine(
    inputs: Float[Tensor, "B I"],
    sizes: Sequence[int],
    weights: Sequence[Float[Tensor, "1 I W"]],
    biases: Sequence[Float[Tensor, "1 1 W"]],
    num_outputs: int,
) -> Float[Tensor, "B W"]:
    """Rows through affine layers of several policies.

    Args:
        inputs: a view of rows that start at 64 bytes, sorted by policy.
        sizes: number of rows of each policy.
        weights: of each policy, padded by `padded_columns`.
        biases: likewise.
        num_outputs: O, columns that are not padding.
    """
    width = weights[0].shape[2]
    is_small = inputs.shape[1] * num_outputs < SMALL_PRODUCT
    outputs = (inputs.new_zeros if is_small else inputs.new_empty)(len(inputs), 1, width)
    sources, targets = inputs.unsqueeze(1).split_with_sizes(list(sizes)), outputs.split_with_sizes(list(sizes))
    if is_small:
        targets = [target[..., :num_outputs] for target in targets]
        weights = [weight[..., :num_outputs] for weight in weights]
        biases = [bias[..., :num_outputs] for bias in biases]
    for rows, size, weight, bias, target in zip(sources, sizes, weights, biases, targets, strict=True):
        torch.baddbmm(bias, rows, weight if size == 1 else weight.expand(size, -1, -1), out=target)
    return outputs.squeeze(1)


class RowLinear(nn.Module):
    """An affine layer as `torch.nn.Linear` initialises it. To act, each row has the bits that it has alone."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        initial = nn.Linear(num_inputs, num_outputs)
        self.weight = nn.Parameter(initial.weight.detach().T.contiguous())
        self.bias = nn.Parameter(initial.bias.detach().clone())

    def forward(self, inputs: Float[Tensor, "B I"]) -> Float[Tensor, "B O"]:
        """The affine map of each row."""
        if self.training:
            return torch.addmm(self.bias, inputs, self.weight)
        width, num_outputs = self.weight.shape
        aligned = inputs.new_zeros(len(inputs), aligned_width(width))
        aligned[:, :width] = inputs
        weight, bias = padded_columns(self.weight[None]), padded_columns(self.bias[None, None])
        return affine(aligned[:, :width], [len(inputs)], [weight], [bias], num_outputs)[:, :num_outputs]
