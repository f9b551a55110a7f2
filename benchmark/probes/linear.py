"""Ridge regression from features: standardised on the training part, its penalty cross-validated over episodes.

Protocol: features are standardised with mean and standard deviation of the rows that are fitted, nothing else. The
penalty is a share of the mean squared norm of these rows. It is chosen for each quantity by five-fold cross-validation
inside the training part, whose folds are whole episodes. R² compares with the answer that is always the mean of the
training part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
NUM_FOLDS = 5

# Numbers that vary less than this share of their size do not vary, but for rounding.
CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """A fitted linear map with its standardisation.

    Attributes:
        mean: of the features.
        std: of the features.
        weights: of standardised features.
        offset: mean of the targets.
    """

    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]
    weights: Float[Tensor, "D K"]
    offset: Float[Tensor, " K"]

    def __call__(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """The predicted targets."""
        return (features.double() - self.mean) / self.std @ self.weights + self.offset


@dataclass(frozen=True, slots=True)
class Score:
    """How well a quantity is predicted on some frames.

    Attributes:
        r2: explained share of the variance about the mean of the training part, pooled over axes.
        error: mean Euclidean distance.
        mean_error: the same for the answer that is always the mean of the training part.
        num_frames: frames.
    """

    r2: float
    error: float
    mean_error: float
    num_frames: int


def fit_linear(
    features: Float[Tensor, "N D"],
    targets: Float[Tensor, "N K"],
    episodes: Int[Tensor, " N"],
    quantities: Mapping[str, slice],
) -> LinearProbe:
    """Fits all quantities, each with the penalty that cross-validation over episodes finds for it.

    Args:
        features: rows of the training part.
        targets: what is predicted.
        episodes: the episode of each row.
        quantities: columns of the targets that share a penalty.

    Raises:
        ValueError: there are fewer than two episodes.
    """
    features, targets = features.double(), targets.double()
    numbers = cast("list[int]", episodes.tolist())
    names = sorted({*numbers})
    if len(names) < 2:
        raise ValueError(f"Cross-validation over episodes needs at least 2 of them, and there are {len(names)}.")
    num_folds = min(NUM_FOLDS, len(names))
    fold_of = {name: place % num_folds for place, name in enumerate(names)}
    folds = torch.tensor([fold_of[number] for number in numbers])
    errors = torch.zeros(len(PENALTIES), targets.shape[1], dtype=torch.float64)
    for fold in range(num_folds):
        inside, outside = folds != fold, folds == fold
        solutions = _ridge(features[inside], targets[inside])
        for number, probe in enumerate(solutions):
            errors[number] += (probe(features[outside]) - targets[outside]).square().sum(dim=0)
    solutions = _ridge(features, targets)
    weights = torch.zeros_like(solutions[0].weights)
    for columns in quantities.values():
        best = int(errors[:, columns].sum(dim=1).argmin())
        weights[:, columns] = solutions[best].weights[:, columns]
    first = solutions[0]
    return LinearProbe(first.mean, first.std, weights, first.offset)


def _ridge(features: Float[Tensor, "N D"], targets: Float[Tensor, "N K"]) -> list[LinearProbe]:
    """The solutions for all penalties; one spectrum of the smaller Gram matrix gives all of them."""
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0)
    # What does not vary tells nothing; divided by its own rounding it would look as if it did.
    std = torch.where(std > CONSTANT * mean.abs().clamp(min=1e-6), std, torch.full_like(std, torch.inf))
    rows, offset = (features - mean) / std, targets.mean(dim=0)
    few_rows = rows.shape[0] <= rows.shape[1]
    gram = rows @ rows.T if few_rows else rows.T @ rows
    spectrum = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(gram))
    values, vectors = spectrum[0].clamp(min=0.0), spectrum[1]
    size = float(rows.square().sum(dim=1).mean()) if rows.shape[1] else 0.0
    right = vectors.T @ ((targets - offset) if few_rows else rows.T @ (targets - offset))
    found: list[LinearProbe] = []
    for share in PENALTIES:
        solved = vectors @ (right / (values + share * max(size, 1e-12))[:, None])
        found.append(LinearProbe(mean, std, rows.T @ solved if few_rows else solved, offset))
    return found


def score_of(predicted: Float[Tensor, "N K"], targets: Float[Tensor, "N K"], mean: Float[Tensor, " K"]) -> Score | None:
    """How well one quantity is predicted; None where it does not vary on these frames.

    Args:
        predicted: what the probe says.
        targets: what is so.
        mean: of the training part.
    """
    targets = targets.double()
    if len(targets) < 2 or bool((targets.std(dim=0) <= CONSTANT * targets.abs().amax(dim=0).clamp(min=1e-3)).all()):
        return None
    left, total = (targets - predicted).square().sum(dim=1), (targets - mean).square().sum(dim=1)
    return Score(
        r2=1.0 - float(left.sum() / total.sum()),
        error=float(left.sqrt().mean()),
        mean_error=float(total.sqrt().mean()),
        num_frames=len(targets),
    )
