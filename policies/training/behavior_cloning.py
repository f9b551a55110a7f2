"""Behaviour cloning of many heads at once, each as if it were trained alone.

Heads with inputs and outputs of one shape are stacked: one batched product a layer serves all, whatever their
demonstrations, seeds and regularisation. Initialisation, batches and dropout of each head come from generators seeded
by that head, and a batched product computes each aligned member the same way whatever its companions, so on the CPU a
head's parameters are the same bits alone or in company. Heads whose shapes do not align, and those with convolutions or
attention in front, are trained one after another. This holds for one and the same number of threads; several may share
out a product otherwise than one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from pvrbench.policies.base import TrainedHead, TrainJob, UntrainedHead
from pvrbench.policies.heads.network import ACTIVATIONS, Layer, forward, initial_layers
from pvrbench.policies.spec import HeadSpec, TrainSettings
from pvrbench.policies.training.cloned_head import BatchNorm, ClonedHead, build_output
from pvrbench.policies.training.training_set import fault, training_set

NUM_LOGGED = 50

# A matrix product takes other instructions, and rounds otherwise, where its operands do not start at 64 bytes.
ALIGNED_FLOATS = 16

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1


def train_heads(
    spec: HeadSpec, jobs: Sequence[TrainJob], settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0
) -> list[TrainedHead]:
    """Trains one head for each job, those of one shape in one batched computation.

    Args:
        spec: the head, its options included.
        jobs: demonstrations, regularisation and seed of each head.
        settings: optimisation; the parameters after the last update are returned.
        device: where to train.
        num_checkpoints: evenly spaced parameter sets to keep, the last of which is that of the last update.

    Returns:
        The heads in the order of the jobs. One whose training set, loss or parameters are not finite has its
        `failure` set.

    Raises:
        ValueError: a job's features, proprioception and actions are of different lengths.
    """
    jobs = _on(jobs, device)
    groups: dict[object, list[int]] = {}
    trained: dict[int, TrainedHead] = {}
    for index, job in enumerate(jobs):
        found = fault(job)
        if found is not None:
            trained[index] = UntrainedHead(found)
            continue
        alone = None if _can_be_stacked(spec, job, settings) else index
        groups.setdefault((_shape(job), alone), []).append(index)
    for members in groups.values():
        stack = _Stack(spec, [jobs[index] for index in members], settings, device)
        stack.kept_updates = checkpoint_updates(settings.num_updates, num_checkpoints)
        stack.train()
        trained.update(zip(members, stack.heads(), strict=True))
    return [trained[index] for index in range(len(jobs))]


def checkpoint_updates(num_updates: int, num_checkpoints: int) -> tuple[int, ...]:
    """After which updates parameters are kept, each once; the last one is left to the head itself."""
    updates = {round(num_updates * position / num_checkpoints) for position in range(1, num_checkpoints)}
    return tuple(sorted(updates - {0, num_updates}))


def _can_be_stacked(spec: HeadSpec, job: TrainJob, settings: TrainSettings) -> bool:
    """Whether a head's last bits stay what they are alone when others lie beside it.

    Each member of a stack must start where it would start alone. Of trainable readouts, linear maps of vectors can be
    stacked; convolutions and attention take other paths in company, and gain nothing by it (`docs/performance.md`).
    """
    vectors, front_sizes = job.features[:1], list[int]()
    if job.front is not None:
        parts = list(job.front.parameters())
        if parts and (job.features.ndim > 2 or any(part.ndim != 2 for part in parts)):
            return False
        front_sizes = [settings.batch_size * vectors.shape[1], *(part.numel() for part in parts)] if parts else []
        vectors = cast("Tensor", job.front(vectors))
    num_inputs = vectors.shape[1] + (job.proprio.shape[1] if settings.use_proprio else 0)
    hidden = cast("Sequence[int]", spec.options["hidden"])
    widths = [num_inputs, *hidden, build_output(spec).width(job.actions.shape[1])]
    members = [settings.batch_size * width for width in widths] + [first * second for first, second in pairwise(widths)]
    # With a single column, a product alone becomes that of a matrix and a vector, which rounds otherwise.
    return min(widths) > 1 and all(size % ALIGNED_FLOATS == 0 for size in (*members, *front_sizes))


def _shape(job: TrainJob) -> object:
    front = None
    if job.front is not None:
        front = (type(job.front), tuple((name, tuple(value.shape)) for name, value in job.front.state_dict().items()))
    return tuple(job.features.shape[1:]), job.proprio.shape[1], job.actions.shape[1], front


def _on(jobs: Sequence[TrainJob], device: str) -> list[TrainJob]:
    """The jobs with all their tensors on a device, what they share there once; the caller's readouts stay."""
    if device == "cpu":
        return list(jobs)
    there = {
        id(part): part.to(device)
        for job in jobs
        for part in (job.features, job.proprio, job.actions, job.rows)
        if part is not None
    }
    return [
        replace(
            job,
            features=there[id(job.features)],
            proprio=there[id(job.proprio)],
            actions=there[id(job.actions)],
            rows=None if job.rows is None else there[id(job.rows)],
            front=None if job.front is None else copy.deepcopy(job.front).to(device),
        )
        for job in jobs
    ]


class _Stack:
    """Heads of one shape in training."""

    def __init__(self, spec: HeadSpec, jobs: Sequence[TrainJob], settings: TrainSettings, device: str) -> None:
        self.spec, self.settings, self.device = spec, settings, device
        self.jobs = jobs
        self.output = build_output(spec)
        self.activation = cast("str", spec.options["activation"])
        self.generators = [torch.Generator().manual_seed(job.seed) for job in jobs]
        self.action_dim = jobs[0].actions.shape[1]
        self._prepare_fronts()
        self._prepare_inputs()
        hidden = cast("Sequence[int]", spec.options["hidden"])
        widths = [self.input_dim, *hidden, self.output.width(self.action_dim)]
        scale = cast("float", spec.options["last_layer_scale"])
        self.layers = [
            Layer(*(part.to(device).requires_grad_() for part in (layer.weight, layer.bias)))
            for layer in initial_layers(widths, scale, self.generators)
        ]
        self.losses = torch.zeros(settings.num_updates, len(jobs), device=device)
        self.kept_updates: tuple[int, ...] = ()
        self.checkpoints: list[dict[int, TrainedHead]] = [{} for _ in jobs]

    def _prepare_fronts(self) -> None:
        """A readout without parameters is applied once; one with parameters is trained with the head."""
        fronts = [job.front for job in self.jobs]
        self.front_params: dict[str, Tensor] = {}
        self.front_buffers: dict[str, Tensor] = {}
        self.front_model: nn.Module | None = None
        if fronts[0] is None:
            return
        modules = [cast("nn.Module", front) for front in fronts]
        if not any(True for _ in modules[0].parameters()):
            return
        params, buffers = stack_module_state(modules)  # pyright: ignore[reportArgumentType]
        self.front_model = modules[0]
        self.front_params = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
        self.front_buffers = dict(buffers)

    def _prepare_inputs(self) -> None:
        self.sets = [
            training_set(
                job,
                self.settings,
                is_trained=self.front_model is not None,
                is_bounded=self.output.is_bounded,
            )
            for job in self.jobs
        ]
        self.feature_dim = self.sets[0].feature_dim
        self.input_dim = self.feature_dim + self.sets[0].proprio.shape[1]
        kind = self.settings.input_norm
        shape = (len(self.jobs), 1, self.input_dim)
        self.norm_scale = torch.ones(shape, device=self.device, requires_grad=kind == "batch")
        self.norm_shift = torch.zeros(shape, device=self.device, requires_grad=kind == "batch")
        self.running_mean = torch.zeros(shape, device=self.device)
        self.running_var = torch.ones(shape, device=self.device)

    def train(self) -> None:
        """All updates."""
        settings = self.settings
        trainable = [part for layer in self.layers for part in (layer.weight, layer.bias)]
        trainable += list(self.front_params.values())
        if settings.input_norm == "batch":
            trainable += [self.norm_scale, self.norm_shift]
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        # Fused, an update is one pass over the parameters instead of ten, which is most of the time of wide inputs. Its
        # vectors' ends round otherwise, so it is for parameters of which every head's share fills whole vectors.
        is_whole = [part[0].numel() % ALIGNED_FLOATS == 0 for part in trainable]
        groups: list[dict[str, object]] = [
            {
                "params": [part for part, whole in zip(trainable, is_whole, strict=True) if whole is fused],
                "fused": fused,
            }
            for fused in (True, False)
        ]
        # Without decay, which is each head's own.
        optimizer = kind([group for group in groups if group["params"]], lr=settings.learning_rate, weight_decay=0.0)
        schedule = (
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.num_updates)
            if settings.schedule == "cosine"
            else None
        )
        shape = (settings.num_updates, settings.batch_size)
        batches = [
            torch.randint(len(each.rows), shape, generator=generator)
            for each, generator in zip(self.sets, self.generators, strict=True)
        ]
        for update in range(settings.num_updates):
            rows = [batch[update].to(self.device) for batch in batches]
            inputs = self._normalise(self._inputs(rows))
            outputs = forward(self.layers, inputs, ACTIVATIONS[self.activation], self._drop)
            targets = torch.stack([each.actions[row] for each, row in zip(self.sets, rows, strict=True)])
            loss = self.output.loss(outputs, targets)
            self.losses[update] = loss.detach()
            optimizer.zero_grad(set_to_none=True)
            # The losses are summed, not averaged: each head's gradient is its own, whatever their number.
            loss.sum().backward()
            self._decay(trainable, cast("float", optimizer.param_groups[0]["lr"]))
            optimizer.step()
            if schedule is not None:
                schedule.step()
            if update + 1 in self.kept_updates:
                for index, kept in enumerate(self.checkpoints):
                    kept[update + 1] = self._head(index)

    def _inputs(self, rows: Sequence[Tensor]) -> Float[Tensor, "K B I"]:
        features = torch.stack([each.features_of(row) for each, row in zip(self.sets, rows, strict=True)])
        proprio = torch.stack([each.proprio[row] for each, row in zip(self.sets, rows, strict=True)])
        if self.front_model is not None:
            features = torch.vmap(self._front)(self.front_params, self.front_buffers, features)
        return torch.cat([features, proprio], dim=2)

    def _front(self, params: dict[str, Tensor], buffers: dict[str, Tensor], features: Tensor) -> Tensor:
        return functional_call(cast("nn.Module", self.front_model), (params, buffers), (features,))

    def _normalise(self, inputs: Float[Tensor, "K B I"]) -> Float[Tensor, "K B I"]:
        if self.settings.input_norm != "batch":
            return inputs
        mean, var = inputs.mean(dim=1, keepdim=True), inputs.var(dim=1, keepdim=True, unbiased=False)
        with torch.no_grad():
            correction = inputs.shape[1] / max(1, inputs.shape[1] - 1)
            self.running_mean += BATCH_NORM_MOMENTUM * (mean - self.running_mean)
            self.running_var += BATCH_NORM_MOMENTUM * (var * correction - self.running_var)
        return (inputs - mean) / (var + BATCH_NORM_EPS).sqrt() * self.norm_scale + self.norm_shift

    def _drop(self, hidden: Float[Tensor, "K B H"]) -> Float[Tensor, "K B H"]:
        rates = [job.regularisation.dropout for job in self.jobs]
        if not any(rates):
            return hidden
        # A head without dropout draws nothing, and is multiplied by one.
        kept = [
            torch.rand(hidden.shape[1:], generator=generator) >= rate if rate else torch.ones(hidden.shape[1:]).bool()
            for rate, generator in zip(rates, self.generators, strict=True)
        ]
        return hidden * torch.stack(kept).to(self.device) / self._by_head([1 - rate for rate in rates], hidden)

    @torch.no_grad()
    def _decay(self, trainable: Sequence[Tensor], learning_rate: float) -> None:
        """Each head's weight decay, as torch's Adam and AdamW have it; nothing at all where none has any."""
        decays = [job.regularisation.weight_decay for job in self.jobs]
        if not any(decays):
            return
        for part in trainable:
            if self.settings.optimizer == "adamw":
                part.mul_(self._by_head([1 - learning_rate * decay for decay in decays], part))
            elif part.grad is not None:
                part.grad.add_(part * self._by_head(decays, part))

    def _by_head(self, values: Sequence[float], like: Float[Tensor, "K ..."]) -> Float[Tensor, "K ..."]:
        """A number for each head, to be broadcast over what the heads have."""
        return torch.tensor(values, device=self.device).view(-1, *(1,) * (like.ndim - 1))

    def heads(self) -> list[TrainedHead]:
        """The trained heads, taken apart."""
        return [replace(self._head(index), checkpoints=self.checkpoints[index]) for index in range(len(self.jobs))]

    def _head(self, index: int) -> ClonedHead:
        layers = tuple(
            Layer(layer.weight[index : index + 1].detach().clone(), layer.bias[index : index + 1].detach().clone())
            for layer in self.layers
        )
        front, batch_norm = self._trained_front(index), self._batch_norm(index)
        # Copied, so that sums over a head's losses do not depend on how many heads lie beside it.
        losses = self.losses[:, index].cpu().contiguous()
        diverged = (~torch.isfinite(losses)).nonzero()[:, 0]
        failure = None
        if len(diverged):
            failure = f"the loss was not finite at update {int(diverged[0])} of {self.settings.num_updates}"
        elif not _are_finite(layers, front, batch_norm):
            failure = "the parameters were not finite after the last update, though the losses were"
        num_params = {
            "head": sum(part.numel() for layer in layers for part in (layer.weight, layer.bias))
            + (2 * self.input_dim if self.settings.input_norm == "batch" else 0),
            "front": sum(part[index].numel() for part in self.front_params.values()),
        }
        return ClonedHead(
            spec=self.spec,
            layers=layers,
            output=self.output,
            inputs=self.sets[index].inputs,
            actions=self.sets[index].action_scaling,
            batch_norm=batch_norm,
            front=front,
            num_params=num_params,
            train_log=_log(losses, self.feature_dim, failure),
            failure=failure,
            noise_dim=self.output.noise_dim(self.action_dim),
            use_proprio=self.settings.use_proprio,
        )

    def _trained_front(self, index: int) -> nn.Module | None:
        if self.front_model is None:
            return self.jobs[index].front
        module = copy.deepcopy(cast("nn.Module", self.jobs[index].front))
        state = {name: value[index].detach() for name, value in {**self.front_params, **self.front_buffers}.items()}
        module.load_state_dict(state, strict=False)
        return module.eval().requires_grad_(requires_grad=False)

    def _batch_norm(self, index: int) -> BatchNorm | None:
        if self.settings.input_norm != "batch":
            return None
        scale = self.norm_scale[index, 0].detach() / (self.running_var[index, 0] + BATCH_NORM_EPS).sqrt()
        return BatchNorm(scale, self.norm_shift[index, 0].detach() - self.running_mean[index, 0] * scale)


def _are_finite(layers: Sequence[Layer], front: nn.Module | None, batch_norm: BatchNorm | None) -> bool:
    """Whether the last update, after which no loss was computed, left numbers to act by."""
    parts = [part for layer in layers for part in (layer.weight, layer.bias)]
    parts += [] if front is None else list(front.parameters())
    parts += [] if batch_norm is None else [batch_norm.scale, batch_norm.shift]
    return all(bool(torch.isfinite(part).all()) for part in parts)


def _log(losses: Float[Tensor, " U"], feature_dim: int, failure: str | None) -> dict[str, object]:
    """Losses over the updates, JSON-ready; without them where they are not finite."""
    num_updates = len(losses)
    log: dict[str, object] = {"num_updates": num_updates, "feature_dim": feature_dim}
    if failure is None:
        at = sorted({round(position * (num_updates - 1) / (NUM_LOGGED - 1)) for position in range(NUM_LOGGED)})
        log["updates"] = [int(update) for update in at]
        log["losses"] = [float(losses[update]) for update in at]
        log["final_loss"] = float(losses[-100:].mean())
    return log
