"""The one loop that trains every objective: AdamW, warm-up and cosine, checkpoints, a log, a held-out loss.

A training is a function of objective, recipe, frames, machine and device. An update draws from generators of its own
number, so one that was interrupted goes on to the same weights, bit for bit.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pvrbench.common.reference import resolve
from pvrbench.encoders.zoo.pretraining.base import Objective, PretrainingFrames, check_frames, decay_groups, settings_of
from pvrbench.encoders.zoo.pretraining.checkpoint import RunFolder
from pvrbench.encoders.zoo.pretraining.sampling import BatchSource, seed_of, split_clips
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec, PretrainingError
from pvrbench.encoders.zoo.pretraining.text import Vocabulary

OnProgress = Callable[[int, int, float], None]
_NUM_TRIVIAL = 8
# Updates that no batch of training uses as its number; what is measured before a phase draws from these.
_ASIDE = 1 << 40


def _no_progress(done: int, total: int, loss: float) -> None:
    del done, total, loss


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training.

    Attributes:
        objective: the trained objective.
        vocabulary: the words it knows.
        log: the lines of the log.
        frames_seen: frames drawn from the set.
        flops: floating-point operations of all updates, forward and backward.
        wall_clock_s: time spent in updates and measurements, interrupted stretches added up.
        held_out: final losses on held-out clips.
        trivial: held-out losses of the best answers that do not look at the image.
        findings: what else the objective measured.
    """

    objective: Objective
    vocabulary: Vocabulary
    log: list[dict[str, Any]]
    frames_seen: int
    flops: int
    wall_clock_s: float
    held_out: Mapping[str, float]
    trivial: Mapping[str, float]
    findings: Mapping[str, object]


def precision_of(device: str) -> str:
    """`bfloat16` autocast where the hardware multiplies such numbers, which is faster there; else `float32`."""
    able: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    is_able = device.startswith("cuda") or bool(able.get("avx512_bf16")) or bool(able.get("amx_bf16"))
    return "bfloat16" if is_able else "float32"


def build_objective(spec: ObjectiveSpec, vocabulary: Vocabulary) -> Objective:
    """The untrained objective of a row; its weights are a function of the recipe's seed."""
    build = cast("Callable[[ObjectiveSpec, Vocabulary], Objective]", resolve(spec.entry_point))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(spec.recipe.seed, "initial weights"))
        return build(spec, vocabulary)


def pretrain(
    spec: ObjectiveSpec,
    frames: PretrainingFrames,
    folder: Path,
    *,
    device: str = "cpu",
    on_progress: OnProgress = _no_progress,
) -> Trained:
    """Trains an objective, or goes on with a training that was interrupted.

    Args:
        spec: the objective with its recipe.
        frames: what it is trained on.
        folder: where checkpoint and log lie.
        device: `cpu` or `cuda`; the precision is that of `precision_of`.
        on_progress: hears of the updates done, those in all, and the loss.

    Raises:
        PretrainingError: the frames do not fit, the folder holds another training, the loss is not finite, or the disk
            is full.
    """
    check_frames(frames, spec)
    with _repeatable(device):
        return _Trainer(spec, frames, folder, device).run(on_progress)


class _Trainer:
    def __init__(self, spec: ObjectiveSpec, frames: PretrainingFrames, folder: Path, device: str) -> None:
        self.spec, self.device = spec, device
        train_clips, held_out_clips = split_clips(len(frames.clip_starts), spec.recipe.held_out)
        self.vocabulary = Vocabulary([frames.captions[int(clip)] for clip in train_clips])
        self.train = BatchSource(frames, train_clips, spec, self.vocabulary, "train", device)
        self.held_out = BatchSource(frames, held_out_clips, spec, self.vocabulary, "held-out", device)
        self.objective = build_objective(spec, self.vocabulary).to(device)
        self.optimiser = torch.optim.AdamW(
            decay_groups(self.objective, spec.recipe.weight_decay), lr=0.0, betas=spec.recipe.betas
        )
        settings = {**settings_of(spec), "frames": frames.digest, "device": torch.device(device).type}
        settings |= {"precision": precision_of(device), **self.objective.sources()}
        self.folder = RunFolder(folder, settings)
        self.spent_s, self.flops = 0.0, [0] * len(spec.recipe.phases)
        self._sum, self._since = torch.zeros((), device=device), 0

    def run(self, on_progress: OnProgress) -> Trained:
        first = self._resume()
        started, before = time.monotonic(), self.spent_s
        recipe, total = self.spec.recipe, self.spec.num_steps
        for step in range(first, total):
            losses, norm = self._update(step)
            done, is_last = step + 1, step + 1 == total
            if done % recipe.log_every == 0 or is_last or done % recipe.checkpoint_every == 0:
                mean = self._mean_loss(step)
                line = {name: float(value.detach()) for name, value in losses.items()} | {"loss": mean}
                self.spent_s = before + time.monotonic() - started
                self.folder.write({"step": done, **line, "lr": self._lr(step), "norm": norm, "s": self.spent_s})
                on_progress(done, total, mean)
            if recipe.eval_every and done % recipe.eval_every == 0 and not is_last:
                self.folder.write({"step": done, "held_out": self._evaluate(step)})
            if done % recipe.checkpoint_every == 0 or is_last:
                self.spent_s = before + time.monotonic() - started
                self._save(done)
        return self._result()

    def _result(self) -> Trained:
        recipe, total = self.spec.recipe, self.spec.num_steps
        held_out = self._evaluate(total - 1)
        batches = [self._aside(self.train, total - 1, index) for index in range(_NUM_TRIVIAL)]
        aside = self._held_out_batches(total - 1)
        trivial = self.objective.trivial_loss(batches, aside)
        steps = self.spec.phase_steps()
        return Trained(
            objective=self.objective.eval(),
            vocabulary=self.vocabulary,
            log=self.folder.log(),
            frames_seen=total * recipe.batch_size * self.spec.frames_per_item,
            flops=sum(count * each for count, each in zip(steps, self.flops, strict=True)),
            wall_clock_s=self.spent_s,
            held_out=held_out,
            trivial=trivial,
            findings=self.objective.eval().findings(batches, aside),
        )

    def _update(self, step: int) -> tuple[dict[str, Tensor], float]:
        phase, progress = self._place(step)
        recipe = self.spec.recipe
        if progress == 0.0:
            name = recipe.phases[phase].name
            self.objective.start_phase(name, [self._aside(self.train, step, i) for i in range(_NUM_TRIVIAL)])
            self.flops[phase] = self._count(step)
        self.objective.train()
        decay = recipe.weight_decay
        if recipe.final_weight_decay is not None:
            decay = recipe.final_weight_decay + (decay - recipe.final_weight_decay) * _half_cosine(progress)
        for group, weight_decay in zip(self.optimiser.param_groups, (decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = self._lr(step), weight_decay
        losses = self._losses(self.train.batch(step, recipe.phases[phase].name, progress))
        self.optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        limit = recipe.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), limit)
        self.optimiser.step()
        self.objective.after_step(progress)
        self._sum += losses["loss"].detach()
        self._since += 1
        return losses, float(norm) if (step + 1) % recipe.log_every == 0 else math.nan

    def _losses(self, batch: Any) -> dict[str, Tensor]:
        kind = torch.device(self.device).type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision_of(self.device) == "bfloat16"):
            return self.objective.loss(batch)

    def _mean_loss(self, step: int) -> float:
        mean = float(self._sum) / max(1, self._since)
        self._sum, self._since = torch.zeros((), device=self.device), 0
        if not math.isfinite(mean):
            raise PretrainingError(
                f"The loss of {self.spec.name!r} is not finite at update {step + 1}. The last checkpoint is kept; try "
                f"a smaller lr than {self._lr(step):.2g} or gradient clipping, in another output folder."
            )
        return mean

    def _place(self, step: int) -> tuple[int, float]:
        """The phase of an update and the share of it that is done."""
        for phase, count in enumerate(self.spec.phase_steps()):
            if step < count:
                return phase, step / count
            step -= count
        raise AssertionError("the update is after the last one")

    def _lr(self, step: int) -> float:
        phase, progress = self._place(step)
        recipe = self.spec.recipe
        peak, count = recipe.phases[phase].lr, self.spec.phase_steps()[phase]
        if progress < recipe.warmup:
            return peak * min(1.0, (progress * count + 1) / max(1.0, recipe.warmup * count))
        share = (progress - recipe.warmup) / (1 - recipe.warmup)
        return peak * (recipe.min_lr + (1 - recipe.min_lr) * _half_cosine(share))

    def _aside(self, source: BatchSource, step: int, index: int) -> Any:
        phase, progress = self._place(step)
        return source.batch(_ASIDE + index, self.spec.recipe.phases[phase].name, progress)

    def _held_out_batches(self, step: int) -> list[Any]:
        return [self._aside(self.held_out, step, index) for index in range(self.spec.recipe.eval_batches)]

    @torch.no_grad()
    def _evaluate(self, step: int) -> dict[str, float]:
        self.objective.eval()
        found = [self._losses(batch) for batch in self._held_out_batches(step)]
        return {name: float(torch.stack([losses[name] for losses in found]).mean()) for name in found[0]}

    def _count(self, step: int) -> int:
        """Operations of one update, counted on a batch that changes nothing."""
        self.objective.eval()
        with FlopCounterMode(display=False) as counter:
            self._losses(self._aside(self.train, step, 0))["loss"].backward()
        self.optimiser.zero_grad(set_to_none=True)
        return counter.get_total_flops()

    def _save(self, step: int) -> None:
        self.folder.save(
            step,
            {
                "objective": self.objective.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "spent_s": self.spent_s,
                "flops": self.flops,
            },
        )

    def _resume(self) -> int:
        state = self.folder.load()
        if state is None:
            self.folder.cut_log(0)
            return 0
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.spent_s, self.flops = float(state["spent_s"]), list(state["flops"])
        self.folder.cut_log(int(state["step"]))
        return int(state["step"])


def _half_cosine(share: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, share))) / 2


@contextlib.contextmanager
def _repeatable(device: str) -> Generator[None]:
    """On a GPU asks for kernels that always add in the same order, where there are any."""
    was_on, was_warning = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    try:
        if device.startswith("cuda"):
            torch.use_deterministic_algorithms(mode=True, warn_only=True)
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warning)
