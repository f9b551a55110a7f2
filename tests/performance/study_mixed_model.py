"""Cross-check of the ranking's tests by a linear mixed model: how many pairs of the study of the zoo does each find?

The model has a fixed effect for each contender on each task, and random effects for training runs and for what a state
means to one contender. The difficulty of a state that all contenders share is taken out first. Variances are common to
all contenders, and tests use the normal distribution. Writes `mixed_model.csv` to results/studies/families.
Run as `python tests/performance/study_mixed_model.py`; it takes about ten seconds.
"""

from __future__ import annotations

import csv
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from statsmodels.regression import mixed_linear_model as untyped

from pvrbench.benchmark.analysis.comparison import load_runs
from pvrbench.benchmark.analysis.cube import Cube
from pvrbench.benchmark.analysis.layout import Array, weighted
from pvrbench.benchmark.analysis.pairing import compare_family, holm, paired_difference

models: Any = untyped

STUDIES = Path(__file__).resolve().parents[2] / "results" / "studies"


def mixed_model(scores: Array) -> list[float]:
    """p-values of all pairs of contenders, from scores `contenders x tasks x seeds x states`."""
    size = len(scores)
    own = scores - scores.mean(axis=(0, 2), keepdims=True)
    names = ["contender", "task", "seed", "state"]
    index = pd.MultiIndex.from_product([range(number) for number in scores.shape], names=names)
    table = pd.DataFrame({"score": own.ravel()}, index=index).reset_index()
    # Zero-padded, so that cells sort by contender and then by task.
    table["cell"] = [f"{first:03d}/{second:03d}" for first, second in zip(table.contender, table.task, strict=True)]
    model = models.MixedLM.from_formula(
        "score ~ 0 + C(cell)",
        groups="cell",
        re_formula="0",
        vc_formula={"runs": "0 + C(seed)", "own": "0 + C(state)"},
        data=table,
    )
    with warnings.catch_warnings():
        # A component of variance near zero is no fault here.
        warnings.simplefilter("ignore")
        fitted: Any = model.fit(reml=True)
    effects = np.asarray(fitted.fe_params).reshape(size, -1).mean(axis=1)
    covariance = np.asarray(fitted.cov_params())[: own.shape[0] * own.shape[1], : own.shape[0] * own.shape[1]]
    variances = np.diag(covariance).reshape(size, -1).sum(axis=1) / scores.shape[1] ** 2
    # Taking out the mean over contenders takes their share of the variance with it.
    variances *= size / (size - 1)
    return [
        float(2 * special.ndtr(-abs(effects[first] - effects[second]) / np.sqrt(variances[first] + variances[second])))
        for first, second in combinations(range(size), 2)
    ]


def main() -> None:
    """Counts the significant pairs by each method."""
    cube = Cube(load_runs([STUDIES / "zoo"])[0])
    contenders = [who for who in cube.complete_contenders() if not who.is_reference]
    outcomes = np.stack([cube.outcomes(who) for who in contenders])
    scores = np.stack([weighted(values, cube.weights) for values in outcomes])
    p_values = {
        "own variance of each pair": [paired_difference(first, second)[1] for first, second in combinations(scores, 2)],
        "moderated by all pairs": [item.p_value for item in compare_family(outcomes, cube.weights).values()],
        "linear mixed model": mixed_model(scores),
    }
    found = {name: np.array(holm(values)) < 0.05 for name, values in p_values.items()}
    ours = found["moderated by all pairs"]
    path = STUDIES / "families" / "mixed_model.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("method", "pairs", "significant", "also significant when moderated"))
        writer.writerows((name, len(own), int(own.sum()), int((own & ours).sum())) for name, own in found.items())


if __name__ == "__main__":
    main()
