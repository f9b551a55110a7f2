"""Records of imaginations -> error curves with intervals, planning success and ranks. No torch, no simulator."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pvrbench.benchmark.analysis.cube import REFERENCES
from pvrbench.benchmark.analysis.estimates import LEVEL, Interval, mean_interval
from pvrbench.benchmark.analysis.layout import Array
from pvrbench.benchmark.analysis.pairing import PairResult, compare_family, holm
from pvrbench.benchmark.analysis.prediction import Prediction, predict
from pvrbench.benchmark.records.imagination_schema import ErrorCurves, ImaginationRecord

NUM_RESAMPLES = 1000

# Controls that are no models: planning in the true simulator, and no planning at all.
CONTROLS = ("simulator", "random_actions")

# What the upper bound has to reach on a task, and what the oracle's latent has to be better by than random actions.
ENOUGH_SOLVED, ENOUGH_BETTER = 0.8, 0.3

# Over fewer encoders a correlation says nothing.
FEWEST_ENCODERS = 4


@dataclass(frozen=True, slots=True, order=True)
class Imaginer:
    """Who imagines: a model of an encoder's features, or a control."""

    encoder: str
    model: str
    projection: str

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        if self.model in CONTROLS:
            return {"simulator": "true simulator", "random_actions": "random actions"}[self.model]
        random = " · random projection" if self.projection == "random" else ""
        return f"{self.encoder} · {self.model}{random}"

    @property
    def is_reference(self) -> bool:
        """Whether it bounds the scale rather than competes."""
        return self.model in CONTROLS or self.encoder in REFERENCES


@dataclass(frozen=True, slots=True)
class Curves:
    """Errors of one imaginer on one task against the horizon, over seeds and held-out trajectories.

    Attributes:
        who: the imaginer.
        task: the task with its camera.
        share: error of the latent as a share of that of the answer that nothing changes.
        state_cm: error in centimetres of the positions read off the predicted latents; empty where nothing is named.
        encoded_cm: what the encoder and the probe do not know, mean.
        compounded_cm: distance between what is read off predicted and true latents, mean.
        copied_cm: error of the answer that nothing changes, mean.
        latent: mean error of the latent.
        bound: `epsilon (L^h - 1) / (L - 1)`, in the unit of `latent`.
        epsilon: largest mean error of one step.
        lipschitz: L, the largest mean stretch of an error by one step of the model.
    """

    who: Imaginer
    task: str
    share: tuple[Interval, ...]
    state_cm: tuple[Interval, ...]
    encoded_cm: tuple[float, ...]
    compounded_cm: tuple[float, ...]
    copied_cm: tuple[float, ...]
    latent: tuple[float, ...]
    bound: tuple[float, ...]
    epsilon: float
    lipschitz: float


@dataclass(frozen=True, slots=True)
class Success:
    """Planning success of one imaginer.

    Attributes:
        who: the imaginer.
        by_task: with its interval, on the tasks that are dropped too.
        overall: mean over the tasks that are kept; None where one of them or a seed is missing.
        best_rank: one more than the number of imaginers that are significantly better; None for references, and where
            one seed does not allow ranks.
        worst_rank: number of imaginers less those that are significantly worse; None likewise.
    """

    who: Imaginer
    by_task: Mapping[str, Interval]
    overall: Interval | None
    best_rank: int | None
    worst_rank: int | None


@dataclass(frozen=True, slots=True)
class ImaginationAnalysis:
    """All that a report shows.

    Attributes:
        curves: error curves, by imaginer and task.
        success: planning success, references last, best first.
        relations: how well a small error at the largest horizon predicts planning success, by kind of error; empty
            where there are fewer than four encoders, or all are equally good.
        dropped: tasks on which planning says nothing about encoders, and why.
        warnings: what is missing or cannot be concluded.
    """

    curves: tuple[Curves, ...]
    success: tuple[Success, ...]
    relations: Mapping[str, Prediction]
    dropped: Mapping[str, str]
    warnings: tuple[str, ...]


def analyse_imaginations(records: Sequence[ImaginationRecord]) -> ImaginationAnalysis:
    """Estimates from sound records of one run, whatever their order."""
    found: dict[tuple[Imaginer, str], dict[int, ImaginationRecord]] = {}
    for record in records:
        key = record.key
        who = Imaginer(key.encoder, key.model, key.projection)
        found.setdefault((who, f"{key.task} ({key.camera})"), {})[key.seed] = record
    curves = tuple(
        curves_of(who, task, [record.curves for _, record in sorted(by_seed.items())])
        for (who, task), by_seed in sorted(found.items(), key=lambda item: item[0])
        if all(record.curves for record in by_seed.values())
    )
    planned = {place: by_seed for place, by_seed in found.items() if all(each.episodes for each in by_seed.values())}
    dropped = _dropped(planned)
    success, warnings = _success(planned, dropped)
    relations = relations_of([item for item in curves if item.task not in dropped], success)
    return ImaginationAnalysis(curves, success, relations, dropped, warnings)


def relations_of(curves: Sequence[Curves], success: Sequence[Success]) -> dict[str, Prediction]:
    """How well minus the error at the largest horizon predicts planning success over those that compete.

    Args:
        curves: of the tasks that count.
        success: of everyone.
    """
    rates = {item.who: item.overall.estimate for item in success if item.overall and not item.who.is_reference}
    errors: dict[str, dict[Imaginer, list[float]]] = {"share": {}, "centimetres": {}}
    for item in curves:
        errors["share"].setdefault(item.who, []).append(item.share[-1].estimate)
        if item.state_cm:
            errors["centimetres"].setdefault(item.who, []).append(item.state_cm[-1].estimate)
    found: dict[str, Prediction] = {}
    for kind, by_who in errors.items():
        both = sorted(rates.keys() & by_who.keys())
        scores = -np.array([np.mean(by_who[who]) for who in both])
        solved = np.array([rates[who] for who in both])
        if len({who.encoder for who in both}) >= FEWEST_ENCODERS and np.ptp(scores) > 0 and np.ptp(solved) > 0:
            found[kind] = predict(scores, solved, [who.encoder for who in both])
    return found


def curves_of(who: Imaginer, task: str, seeds: Sequence[Sequence[ErrorCurves]]) -> Curves:
    """Curves over seeds and trajectories, with bootstrap intervals that draw both.

    Args:
        who: the imaginer.
        task: the task.
        seeds: for each seed the curves of all held-out trajectories, in one order.
    """
    names = ("latent", "copied", "one_step", "spread", "state_cm", "encoded_cm", "compounded_cm", "copied_cm")
    values = {name: np.array([[getattr(each, name) for each in own] for own in seeds]) for name in names}
    means: dict[str, Array] = {name: value.mean(axis=(0, 1)) for name, value in values.items()}
    rng = np.random.default_rng(0)
    num_seeds, num_trajectories = values["latent"].shape[:2]
    shares, centimetres = list[Array](), list[Array]()
    for _ in range(NUM_RESAMPLES):
        drawn = np.ix_(rng.integers(num_seeds, size=num_seeds), rng.integers(num_trajectories, size=num_trajectories))
        part = {name: values[name][drawn].mean(axis=(0, 1)) for name in ("latent", "copied", "state_cm")}
        shares.append(part["latent"] / part["copied"])
        centimetres.append(part["state_cm"])
    epsilon = float(means["one_step"].max())
    lipschitz = float((means["spread"][1:] / means["latent"][:-1]).max()) if len(means["latent"]) > 1 else 1.0
    powers = lipschitz ** np.arange(len(means["latent"]))
    return Curves(
        who=who,
        task=task,
        share=_intervals(means["latent"] / means["copied"], shares),
        state_cm=_intervals(means["state_cm"], centimetres) if means["copied_cm"].any() else (),
        encoded_cm=_tuple(means["encoded_cm"]),
        compounded_cm=_tuple(means["compounded_cm"]),
        copied_cm=_tuple(means["copied_cm"]),
        latent=_tuple(means["latent"]),
        # The geometric sum, which is also right where L is 1.
        bound=_tuple(epsilon * np.cumsum(powers)),
        epsilon=epsilon,
        lipschitz=lipschitz,
    )


def _intervals(estimates: Array, draws: Sequence[Array]) -> tuple[Interval, ...]:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(np.array(draws), [tail, 100 - tail], axis=0)
    return tuple(Interval(*map(float, each)) for each in zip(estimates, low, high, strict=True))


def _tuple(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _outcomes(by_seed: Mapping[int, ImaginationRecord]) -> Array:
    """Success, `seeds x states`."""
    return np.array([[float(each.success) for each in record.episodes] for _, record in sorted(by_seed.items())])


def _dropped(planned: Mapping[tuple[Imaginer, str], Mapping[int, ImaginationRecord]]) -> dict[str, str]:
    """Tasks whose controls do not leave room for encoders, as far as the controls were run."""
    rates: dict[tuple[str, str, str], float] = {
        (task, who.model, who.encoder): float(_outcomes(by_seed).mean()) for (who, task), by_seed in planned.items()
    }
    found: dict[str, str] = {}
    for task in sorted({task for _, task in planned}):
        bound = rates.get((task, "simulator", "oracle"))
        chance = rates.get((task, "random_actions", "oracle"))
        oracle = rates.get((task, "transformer", "oracle"))
        if bound is not None and bound < ENOUGH_SOLVED:
            found[task] = f"planning in the true simulator solves {100 * bound:.0f} % there, less than 80 %"
        elif oracle is not None and chance is not None and oracle - chance < ENOUGH_BETTER:
            found[task] = (
                f"the oracle's latent solves {100 * oracle:.0f} % there and random actions {100 * chance:.0f} %"
            )
    return found


def _success(
    planned: Mapping[tuple[Imaginer, str], Mapping[int, ImaginationRecord]], dropped: Collection[str]
) -> tuple[tuple[Success, ...], tuple[str, ...]]:
    """Success on every task; what is dropped counts neither in the mean nor in the ranks."""
    tasks = sorted({task for _, task in planned} - {*dropped})
    everyone = sorted({who for who, _ in planned})
    competing = [who for who in everyone if not who.is_reference]
    seeds = sorted({seed for (who, _), by_seed in planned.items() if who in competing for seed in by_seed})
    warnings: list[str] = []
    complete: dict[Imaginer, Array] = {}
    for who in everyone:
        own = {task: planned[who, task] for task in tasks if (who, task) in planned}
        shapes = {_outcomes(by_seed).shape for by_seed in own.values()}
        if tasks and len(own) == len(tasks) and len(shapes) == 1:
            complete[who] = np.stack([_outcomes(own[task]) for task in tasks])
        if tasks and not who.is_reference and (who not in complete or complete[who].shape[1] != len(seeds)):
            complete.pop(who, None)
            warnings.append(f"{who.label} lacks some tasks or seeds; it has no rank.")
    ranked = [who for who in competing if who in complete]
    better, worse = dict.fromkeys(ranked, 0), dict.fromkeys(ranked, 0)
    if len(seeds) == 1 and ranked:
        warnings.append(
            "There is one seed, so the variation between trainings is unknown. Intervals hold for these models only, "
            "and no ranks are given."
        )
    elif len(ranked) > 1:
        for first, second, result in _significant(ranked, complete):
            winner, loser = (first, second) if result.difference.estimate > 0 else (second, first)
            better[loser] += 1
            worse[winner] += 1
    has_ranks = len(seeds) > 1
    success = [
        Success(
            who=who,
            by_task={
                task: mean_interval(_outcomes(found)[None]) for (one, task), found in planned.items() if one == who
            },
            overall=mean_interval(complete[who]) if who in complete else None,
            best_rank=1 + better[who] if who in better and has_ranks else None,
            worst_rank=len(ranked) - worse[who] if who in worse and has_ranks else None,
        )
        for who in everyone
    ]
    success.sort(key=lambda item: (item.who.is_reference, -(item.overall.estimate if item.overall else -1.0), item.who))
    return tuple(success), tuple(warnings)


def _significant(
    ranked: Sequence[Imaginer], outcomes: Mapping[Imaginer, Array]
) -> list[tuple[Imaginer, Imaginer, PairResult]]:
    """Pairs that are significantly different, Holm-corrected over all of them."""
    values = np.stack([outcomes[who][None] for who in ranked])
    results = compare_family(values, np.ones(1))
    adjusted = holm([result.p_value for result in results.values()])
    return [
        (ranked[first], ranked[second], result)
        for ((first, second), result), p_value in zip(results.items(), adjusted, strict=True)
        if p_value < 1 - LEVEL
    ]
