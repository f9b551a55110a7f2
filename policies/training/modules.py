"""Heads that are any torch module: a plain training loop, one policy after another.

A head subclasses `ModuleHead` and `ModulePolicy`, and says what its network is, what its loss is and how it acts.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import JsonValue
from torch import Tensor, nn

from pvrbench.policies.base import Observation, Policy, State, TrainedPolicy, Training, TrainJob, side_inputs
from pvrbench.policies.spec import HeadSpec, TrainSettings, Tuning
from pvrbench.policies.training.log import checkpoint_updates, failure_of, loss_log
from pvrbench.policies.training.normalization import Scaling
from pvrbench.policies.training.training_set import TrainingSet, jobs_on, training_set
from pvrbench.policies.training.tuning import EncoderOptimizer, encoder_parameters, random_shift, read_in_precision

# The decay of the average is 1 - (1 + update) ** -power, bounded: the settings of Chi et al. 2023.
EMA_POWER, MAX_EMA_DECAY = 0.75, 0.9999


class Normalized(nn.Module):
    """A network with the scaling of its inputs and actions, and BatchNorm on its inputs where it is asked for."""

    def __init__(self, network: nn.Module, inputs: Scaling, actions: Scaling, *, has_batch_norm: bool) -> None:
        super().__init__()
        self.network = network
        self.batch_norm = nn.BatchNorm1d(len(inputs.mean)) if has_batch_norm else nn.Identity()
        self.input_mean, self.input_std = nn.Buffer(inputs.mean), nn.Buffer(inputs.std)
        self.action_mean, self.action_std = nn.Buffer(actions.mean), nn.Buffer(actions.std)

    def normalize(self, inputs: Float[Tensor, "B I"]) -> Float[Tensor, "B I"]:
        """What the network reads."""
        return self.batch_norm((inputs - self.input_mean) / self.input_std)

    def unscale(self, scaled: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """Actions in [-1, 1] from what the network predicts."""
        return (scaled * self.action_std + self.action_mean).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class ModulePolicy(TrainedPolicy, ABC):
    """A trained module; a subclass adds how rows act.

    Attributes:
        module: the network, in evaluation mode.
        use_proprio: whether proprioception is read.
    """

    module: Normalized
    use_proprio: bool

    @torch.no_grad()
    def act(self, observation: Observation, states: Sequence[State]) -> Float[Tensor, "B K A"]:
        """Actions in [-1, 1]; a row's actions do not depend on the other rows, to the last bit."""
        inputs = torch.cat([self._inputs(observation, row) for row in range(len(states))])
        return self.act_rows(inputs, states).clamp(-1, 1)

    @abstractmethod
    def act_rows(self, inputs: Float[Tensor, "B I"], states: Sequence[State]) -> Float[Tensor, "B K A"]:
        """Actions from normalized inputs.

        Layers must be `pvrbench.policies.row_products.RowLinear`, or work on rows one by one, so that rows stay
        independent.
        """

    def _inputs(self, observation: Observation, row: int) -> Float[Tensor, "1 I"]:
        vectors = observation.features[row : row + 1].clone()
        if self.trained_readout is not None:
            vectors = cast("Tensor", self.trained_readout(vectors))
        told = None if observation.instruction is None else observation.instruction[row : row + 1]
        side = side_inputs(observation.proprio[row : row + 1], told, use_proprio=self.use_proprio)
        return self.module.normalize(torch.cat([vectors, side], dim=1))

    def export(self) -> tuple[Mapping[str, Tensor], Mapping[str, JsonValue]]:
        """Tensors and description, see `pvrbench.policies.base.Policy`."""
        module = self.module
        return module.state_dict(), {
            "input_dim": len(module.input_mean),
            "action_dim": len(module.action_mean),
            "has_batch_norm": isinstance(module.batch_norm, nn.BatchNorm1d),
            "use_proprio": self.use_proprio,
        }


class ModuleHead(ABC):
    """A head that is a torch module, trained by a plain loop.

    Attributes:
        policy: what training returns.
        horizon: actions that are predicted from one observation.
        is_averaged: whether an exponential moving average of the parameters is what acts.
        fits_range: whether actions are put into [-1, 1] whatever `TrainSettings.action_norm` says.
    """

    policy: ClassVar[type[ModulePolicy]]
    horizon: int
    is_averaged: ClassVar[bool] = False
    fits_range: ClassVar[bool] = False

    def __init__(self, spec: HeadSpec) -> None:
        self.spec = spec

    @abstractmethod
    def network(self, input_dim: int, action_dim: int, dropout: float) -> nn.Module:
        """A new network, initialised by torch's global generator, which is seeded by the job."""

    @abstractmethod
    def loss(
        self,
        network: nn.Module,
        inputs: Float[Tensor, "B I"],
        actions: Float[Tensor, "B K A"],
        is_real: Bool[Tensor, "B K"],
    ) -> Float[Tensor, ""]:
        """The loss of a batch.

        Args:
            network: the network.
            inputs: normalized.
            actions: scaled; after the end of a demonstration, its last action again.
            is_real: whether an action comes before the end of its demonstration.
        """

    def fit(self, job: TrainJob, settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0) -> Policy:
        """Trains one policy, see `pvrbench.policies.base.Head`."""
        devices = [] if device == "cpu" else [torch.device(device)]
        # Modules and dropout draw from the global generators; these are put back afterwards.
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.manual_seed(job.seed)
            return self._fit(
                jobs_on([job], device)[0], settings, checkpoint_updates(settings.num_updates, num_checkpoints)
            )

    def restore(
        self, tensors: Mapping[str, Tensor], description: Mapping[str, JsonValue], training: Training
    ) -> Policy:
        """A policy from what its `export` gave."""
        input_dim, action_dim = cast("int", description["input_dim"]), cast("int", description["action_dim"])
        with torch.random.fork_rng([]):
            module = Normalized(
                self.network(input_dim, action_dim, 0.0),
                Scaling(torch.zeros(input_dim), torch.ones(input_dim)),
                Scaling(torch.zeros(action_dim), torch.ones(action_dim)),
                has_batch_norm=bool(description["has_batch_norm"]),
            )
        module.load_state_dict(tensors)
        module.eval().requires_grad_(requires_grad=False)
        return self.policy(training=training, module=module, use_proprio=bool(description["use_proprio"]))

    def _fit(self, job: TrainJob, settings: TrainSettings, kept_updates: Sequence[int]) -> Policy:
        job = replace(job, trained_readout=copy.deepcopy(job.trained_readout))
        data = _Data.of(job, settings, self.horizon, fits_range=self.fits_range)
        network = self.network(len(data.inputs.mean), job.actions.shape[1], job.regularisation.dropout)
        module = Normalized(network, data.inputs, data.scaling, has_batch_norm=settings.input_norm == "batch")
        module = module.to(job.actions.device)
        trained = [*module.parameters(), *data.readout_parameters]
        tuned = [] if job.tuning is None else encoder_parameters(cast("nn.Module", data.readout))
        encoder = None if job.tuning is None else EncoderOptimizer(tuned, job.tuning, settings)
        others = [part for part in trained if not any(part is own for own in tuned)]
        optimizer, schedule = _optimizer(others, job, settings)
        average = [part.detach().clone() for part in trained] if self.is_averaged else None
        losses = torch.zeros(settings.num_updates)
        kept: dict[int, Policy] = {}
        for update in range(settings.num_updates):
            picked = torch.randint(data.num_rows, (settings.batch_size,)).to(job.actions.device)
            inputs = module.normalize(data.raw_inputs(picked))
            loss = self.loss(module.network, inputs, data.chunks[picked], data.is_real[picked])
            optimizer.zero_grad(set_to_none=True)
            if encoder is not None:
                encoder.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if encoder is not None:
                encoder.step()
            losses[update] = loss.detach()
            if average is not None:
                _follow(average, trained, update)
            if update + 1 in kept_updates:
                kept[update + 1] = self._policy(module, data, average, losses[: update + 1])
        return replace(self._policy(module, data, average, losses), checkpoints=kept)

    def _policy(
        self, module: Normalized, data: _Data, average: Sequence[Tensor] | None, losses: Float[Tensor, " U"]
    ) -> ModulePolicy:
        """The policy after some updates, with parameters of its own."""
        own, readout = copy.deepcopy((module, data.readout))
        parts = [*own.parameters()]
        num_params = {"head": sum(part.numel() for part in parts)}
        if data.readout_parameters:
            parts += cast("nn.Module", readout).parameters()
        num_params["trained_readout"] = sum(part.numel() for part in parts) - num_params["head"]
        for part, mean in zip(parts, average or (), strict=average is not None):
            part.data.copy_(mean)
        for part in (own, readout):
            if part is not None:
                part.eval().requires_grad_(requires_grad=False)
        failure = failure_of(losses, parts)
        log = loss_log(losses, data.feature_dim, failure)
        return self.policy(
            training=Training(
                spec=self.spec, num_params=num_params, train_log=log, failure=failure, trained_readout=readout
            ),
            module=own,
            use_proprio=data.use_proprio,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    """What one policy learns from: T transitions, unscaled inputs and scaled chunks of actions."""

    prepared: TrainingSet
    proprio: Float[Tensor, "T P"]
    chunks: Float[Tensor, "T K A"]
    is_real: Bool[Tensor, "T K"]
    readout: nn.Module | None
    readout_parameters: Sequence[nn.Parameter]
    use_proprio: bool
    tuning: Tuning | None

    @classmethod
    def of(cls, job: TrainJob, settings: TrainSettings, horizon: int, *, fits_range: bool) -> _Data:
        parameters = [] if job.trained_readout is None else list(job.trained_readout.parameters())
        if fits_range:
            settings = replace(settings, action_norm="standard")
        prepared = training_set(job, settings, is_trained=bool(parameters), is_bounded=fits_range)
        rows = torch.arange(len(job.actions), device=job.actions.device) if job.rows is None else job.rows
        chunks, is_real = action_chunks(prepared.actions, job.episodes[rows], horizon)
        return cls(
            prepared=prepared,
            proprio=job.proprio[rows] if settings.use_proprio else job.proprio.new_zeros(len(rows), 0),
            chunks=chunks,
            is_real=is_real,
            readout=job.trained_readout,
            readout_parameters=parameters,
            use_proprio=settings.use_proprio,
            tuning=job.tuning,
        )

    @property
    def inputs(self) -> Scaling:
        return self.prepared.inputs

    @property
    def scaling(self) -> Scaling:
        return self.prepared.action_scaling

    @property
    def num_rows(self) -> int:
        return len(self.chunks)

    @property
    def feature_dim(self) -> int:
        return self.prepared.feature_dim

    def raw_inputs(self, picked: Int[Tensor, " B"]) -> Float[Tensor, "B I"]:
        features = self.prepared.features[self.prepared.rows[picked]]
        if not self.prepared.is_read:
            features = random_shift(features, self.prepared.shift_px, None)
            features = read_in_precision(cast("nn.Module", self.readout), features, self.tuning)
        return torch.cat([features, self.proprio[picked]], dim=1)


@torch.no_grad()
def _follow(average: Sequence[Tensor], parameters: Sequence[Tensor], update: int) -> None:
    """One step of the exponential moving average, which weighs old parameters more as training goes on."""
    decay = min(1 - (1 + update) ** -EMA_POWER, MAX_EMA_DECAY)
    for mean, part in zip(average, parameters, strict=True):
        mean.lerp_(part, 1 - decay)


def action_chunks(
    actions: Float[Tensor, "T A"], episodes: Int[Tensor, " T"], length: int
) -> tuple[Float[Tensor, "T K A"], Bool[Tensor, "T K"]]:
    """The next actions after each transition, itself included, and which of them its demonstration still has.

    After the end of a demonstration, its last action is repeated.
    """
    counts = cast("Tensor", torch.unique_consecutive(episodes, return_counts=True)[1])
    last = counts.cumsum(0).repeat_interleave(counts) - 1
    wanted = torch.arange(len(actions), device=actions.device)[:, None] + torch.arange(length, device=actions.device)
    return actions[wanted.minimum(last[:, None])], wanted <= last[:, None]


def _optimizer(
    parameters: Sequence[Tensor], job: TrainJob, settings: TrainSettings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    decay = job.regularisation.weight_decay
    optimizer = kind(parameters, lr=settings.learning_rate, weight_decay=decay)
    if settings.schedule == "cosine":
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.num_updates)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
