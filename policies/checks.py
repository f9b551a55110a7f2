"""`check_head`: does a head keep the promises that the benchmark rests on? Shipped ones and one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import Tensor, distributions

from pvrbench.policies.base import TrainJob
from pvrbench.policies.heads.network import mixture_parameters
from pvrbench.policies.spec import HeadSpec, Regularisation, TrainSettings
from pvrbench.policies.storage import load_head, save_head
from pvrbench.policies.training.behavior_cloning import train_heads
from pvrbench.policies.training.cloned_head import ClonedHead, act_together, build_output

NUM_SAMPLES = 32
FEATURE_DIM, PROPRIO_DIM, ACTION_DIM = 24, 4, 3

SETTINGS = TrainSettings(
    num_updates=20,
    batch_size=16,
    learning_rate=3e-3,
    optimizer="adam",
    schedule="constant",
    input_norm="standard",
    action_norm="none",
    use_proprio=True,
)

# Overfitting must cut the error of the best constant action by this factor. Modes drawn at random
# share the samples, and a network without hidden layer cannot bend, so neither gets to zero.
OVERFIT_RATIO = 0.6


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise and whether it was kept.

    Attributes:
        name: the promise, in words.
        problem: what was found instead; empty where it was kept.
    """

    name: str
    problem: str

    @property
    def is_kept(self) -> bool:
        """Whether nothing was found."""
        return not self.problem


def check_head(spec: HeadSpec) -> list[Verdict]:
    """Checks a head by training it on made-up demonstrations, on the CPU, within seconds.

    Args:
        spec: the head, options included.

    Returns:
        A verdict for every promise, in a fixed order; an error inside a check is its problem.
    """
    promises: Sequence[tuple[str, Callable[[HeadSpec], str]]] = (
        (f"it overfits {NUM_SAMPLES} samples", _overfits),
        ("actions are finite and in [-1, 1], far from the data too", _bounded),
        ("the same seed gives the same weights, another seed others", _seeded),
        ("trained alone or in company, its weights are the same bits", _independent_training),
        ("a row's action does not depend on the other rows or heads", _independent_rows),
        ("saved and loaded, it acts the same to the last bit", _storable),
        ("a mixture's loss is torch.distributions' negative log-likelihood", _likelihood),
    )
    return [Verdict(name, _attempt(check, spec)) for name, check in promises]


def _attempt(check: Callable[[HeadSpec], str], spec: HeadSpec) -> str:
    try:
        return check(spec)
    except Exception as error:  # noqa: BLE001 - whatever a foreign head raises is the finding
        return f"{type(error).__name__}: {error}"


def _job(seed: int, num_steps: int = NUM_SAMPLES) -> TrainJob:
    generator = torch.Generator().manual_seed(1000 + seed)
    features = torch.randn(num_steps, FEATURE_DIM, generator=generator)
    proprio = torch.randn(num_steps, PROPRIO_DIM, generator=generator)
    actions = torch.tanh(features[:, :ACTION_DIM] + 0.5 * proprio[:, :ACTION_DIM])
    return TrainJob(features=features, proprio=proprio, actions=actions, seed=seed)


def _train(spec: HeadSpec, jobs: Sequence[TrainJob], settings: TrainSettings = SETTINGS) -> list[ClonedHead]:
    heads = train_heads(spec, jobs, settings)
    failures = [head.failure for head in heads if head.failure is not None]
    if failures:
        raise ArithmeticError(failures[0])
    return [cast("ClonedHead", head) for head in heads]


def _noise(head: ClonedHead, num_rows: int) -> Tensor:
    return torch.rand(num_rows, head.noise_dim, generator=torch.Generator().manual_seed(7))


def _weights(head: ClonedHead) -> list[Tensor]:
    return [part for layer in head.layers for part in (layer.weight, layer.bias)]


def _same(first: ClonedHead, second: ClonedHead) -> bool:
    return all(torch.equal(one, other) for one, other in zip(_weights(first), _weights(second), strict=True))


def _overfits(spec: HeadSpec) -> str:
    few = _job(0)
    head = _train(spec, [few], replace(SETTINGS, num_updates=500))[0]
    error = float((head.act(few.features, few.proprio, _noise(head, NUM_SAMPLES)) - few.actions).abs().mean())
    constant = float((few.actions - few.actions.median(dim=0).values).abs().mean())
    if error < OVERFIT_RATIO * constant:
        return ""
    return f"the mean error stayed at {error:.3f}; the best constant action has {constant:.3f}"


def _bounded(spec: HeadSpec) -> str:
    head = _train(spec, [_job(0)])[0]
    far = torch.randn(40, FEATURE_DIM, generator=torch.Generator().manual_seed(3)) * 100
    actions = head.act(far, torch.zeros(40, PROPRIO_DIM), _noise(head, 40))
    if tuple(actions.shape) != (40, ACTION_DIM):
        return f"40 observations gave actions of shape {tuple(actions.shape)}, expected (40, {ACTION_DIM})"
    if not bool(torch.isfinite(actions).all()):
        return "some actions are NaN or infinite"
    return "" if float(actions.abs().max()) <= 1 else f"an action of size {float(actions.abs().max()):.3f}"


def _seeded(spec: HeadSpec) -> str:
    first, again, other = (_train(spec, [replace(_job(0), seed=seed)])[0] for seed in (0, 0, 1))
    if not _same(first, again):
        return "the same seed gave other weights"
    return "two seeds gave the same weights" if _same(first, other) else ""


def _independent_training(spec: HeadSpec) -> str:
    jobs = [
        replace(_job(seed, num_steps), regularisation=Regularisation(dropout=dropout, weight_decay=dropout / 10))
        for seed, num_steps, dropout in ((0, 20, 0.1), (1, 50, 0.0), (2, 35, 0.3))
    ]
    together = _train(spec, jobs)
    for position, job in enumerate(jobs):
        alone = _train(spec, [job])[0]
        if not _same(alone, together[position]):
            return f"head {position} of {len(jobs)} has other weights than when trained alone"
        if alone.train_log != together[position].train_log:
            return f"head {position} of {len(jobs)} logged other losses than when trained alone"
    return ""


def _independent_rows(spec: HeadSpec) -> str:
    heads = _train(spec, [_job(seed) for seed in range(3)])
    probe = _job(9, num_steps=41)
    noise, index = _noise(heads[0], 41), torch.arange(41) % 3
    together = act_together(heads, index, probe.features, probe.proprio, noise)
    for row in range(41):
        one = slice(row, row + 1)
        alone = heads[int(index[row])].act(probe.features[one], probe.proprio[one], noise[one])
        if not torch.equal(alone[0], together[row]):
            return f"row {row} of 41 got another action than alone"
    return ""


def _storable(spec: HeadSpec) -> str:
    head = _train(spec, [_job(0)])[0]
    with TemporaryDirectory() as folder:
        save_head(head, Path(folder) / "head.safetensors")
        loaded = load_head(Path(folder) / "head.safetensors")
    probe = _job(9)
    noise = _noise(head, NUM_SAMPLES)
    same = torch.equal(head.act(probe.features, probe.proprio, noise), loaded.act(probe.features, probe.proprio, noise))
    return "" if same else "the loaded head acts differently"


def _likelihood(spec: HeadSpec) -> str:
    """Heads without modes have no likelihood to compare."""
    if "num_modes" not in spec.options:
        return ""
    num_modes, min_std = cast("int", spec.options["num_modes"]), cast("float", spec.options["min_std"])
    output, generator = build_output(spec), torch.Generator().manual_seed(5)
    outputs = torch.randn(2, 50, output.width(ACTION_DIM), generator=generator)
    actions = torch.rand(2, 50, ACTION_DIM, generator=generator) * 2 - 1
    means, stds, log_weights = mixture_parameters(outputs, num_modes, min_std)
    mixture = distributions.MixtureSameFamily(
        distributions.Categorical(logits=log_weights),
        distributions.Independent(distributions.Normal(means, stds), 1),
    )
    expected = -mixture.log_prob(actions).mean(dim=1)
    gap = float((output.loss(outputs, actions) - expected).abs().max())
    return "" if gap < 1e-4 else f"the losses differ by {gap:.2g}"
