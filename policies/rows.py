"""Computing many rows at once so that each has the bits that it has alone.

The last bits of a matrix product depend on the number of its rows and on where its operands start. Those of `tanh`
depend on whether an element lies in a whole vector of the processor or in the rest. So here each row is a product of its
own (a member of a batched product with one row), every row starts at 64 bytes, and functions of single elements see whole
vectors only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

# Float32 numbers in 64 bytes: one line of the cache, and the widest vector of current processors.
ALIGNED_FLOATS = 16


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
    return torch.cat([function(row.clone()) for row in values.split(1)])


def affine(
    inputs: Float[Tensor, "B I"],
    members: Sequence[tuple[int, int, Float[Tensor, "1 I O"], Float[Tensor, "1 1 O"]]],
) -> Float[Tensor, "B W"]:
    """Rows through affine layers, each row through that of its policy.

    Args:
        inputs: a view of rows that start at 64 bytes.
        members: first row, end, weight and bias; together they cover all rows.

    Returns:
        Rows of `aligned_width(O)` numbers; those beyond O are zero.
    """
    num_outputs = members[0][2].shape[2]
    padded = inputs.new_zeros(len(inputs), 1, aligned_width(num_outputs))
    rows, outputs = inputs.unsqueeze(1), padded[..., :num_outputs]
    for start, end, weight, bias in members:
        size = end - start
        torch.baddbmm(bias.expand(size, -1, -1), rows[start:end], weight.expand(size, -1, -1), out=outputs[start:end])
    return padded.squeeze(1)
