"""The cross-entropy method for many planning problems at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pvrbench.policies.transitions.options import CemOptions

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:  # jaxtyping wants the bare class
    Array = np.ndarray

# The distribution never becomes narrower than this, so that a plan can still be improved.
SMALLEST_STD = 0.05


def plan(
    cost: Callable[[Float[Array, "N S H A"]], Float[Array, "N S"]],
    mean: Float[Array, "N H A"],
    options: CemOptions,
    generators: Sequence[np.random.Generator],
) -> Float[Array, "N H A"]:
    """Improves the plans of N problems; each draws from its own generator.

    Args:
        cost: of all candidates of all problems, in one call for each iteration.
        mean: of the first distributions: what remains of the last plans.
        options: number of candidates, iterations and elites.
        generators: one for each problem.

    Returns:
        The means of the last distributions, in [-1, 1].
    """
    num_elites = max(1, round(options.elite_share * options.num_samples))
    std = np.full(mean.shape, options.initial_std)
    for _ in range(options.num_iterations):
        noise = np.stack([generator.normal(size=(options.num_samples, *mean.shape[1:])) for generator in generators])
        candidates = np.clip(mean[:, None] + std[:, None] * noise, -1, 1)
        # The plan itself competes.
        candidates[:, 0] = np.clip(mean, -1, 1)
        best = np.argsort(cost(candidates), axis=1, kind="stable")[:, :num_elites]
        elites = np.take_along_axis(candidates, best[:, :, None, None], axis=1)
        mean, std = elites.mean(axis=1), elites.std(axis=1) + SMALLEST_STD
    return np.clip(mean, -1, 1)
