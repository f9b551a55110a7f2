"""What the oracle is told beyond the simulator's own numbers."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from pvrbench.envs.base import Array

# Distance that counts as near, metres.
NEAR_M = 0.02


def enlarge_near(relation: Float64[Array, " R"]) -> Float64[Array, " R"]:
    """A relative position in metres with its small values enlarged, in [-1, 1].

    Experts decide within centimetres, in a workspace of half a metre; a network that sees the plain distance alone
    learns that too coarsely to be an upper bound.
    """
    return np.tanh(relation / NEAR_M)
