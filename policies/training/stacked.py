"""Behaviour cloning of many networks at once, each as if it were trained alone.

Heads with inputs and outputs of one shape are stacked: one batched product a layer serves all, whatever their
demonstrations, seeds and regularisation. Initialisation, batches and dropout of each head come from generators seeded
by that head, and a batched product computes each aligned member the same way whatever its companions, so on the CPU a
head's parameters are the same bits alone or in company. Heads whose shapes do not align, and those with convolutions or
attention in front, are trained one after another. This holds for one and the same number of threads; several may share
out a product otherwise than one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from pvrbench.policies.base import Policy, Training, TrainJob, side_inputs
from pvrbench.policies.heads.network import ACTIVATIONS, Layer, NetworkOptions, Output, forward, initial_layers
from pvrbench.policies.row_products import ALIGNED_FLOATS
from pvrbench.policies.spec import HeadSpec, TrainSettings
from pvrbench.policies.training.log import checkpoint_updates, failure_of, loss_log
from pvrbench.policies.training.network_policy import BatchNorm, NetworkPolicy, restore_network
from pvrbench.policies.training.training_set import jobs_on, training_set
from pvrbench.policies.training.tuning import EncoderOptimizer, encoder_parameters, own_parameters, read_in_precision

BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1


class StackedHead:
    """A head that is one small network: `fit_many` trains those of one shape in one batched computation.

    Args:
        spec: the head.
        options: its options.
        output: what the last layer's numbers mean.
    """

    def __init__(self, spec: HeadSpec, options: NetworkOptions, output: Output) -> None:
        self.spec, self.options, self.output = spec, options, output

    def fit(self, job: TrainJob, settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0) -> Policy:
        """Trains one policy, see `pvrbench.policies.base.Head`."""
        return self.fit_many([job], settings, device, num_checkpoints)[0]

    def fit_many(
        self, jobs: Sequence[TrainJob], settings: TrainSettings, device: str = "cpu", num_checkpoints: int = 0
    ) -> list[Policy]:
        """Trains one policy for each job; each has the same bits as from `fit`."""
        jobs = jobs_on(jobs, device)
        groups: dict[object, list[int]] = {}
        for index, job in enumerate(jobs):
            alone = None if self._can_be_stacked(job, settings) else index
            groups.setdefault((_shape(job), alone), []).append(index)
        trained: dict[int, Policy] = {}
        for members in groups.values():
            stack = _Stack(self, [jobs[index] for index in members], settings, device)
            stack.kept_updates = checkpoint_updates(settings.num_updates, num_checkpoints)
            stack.train()
            trained.update(zip(members, stack.policies(), strict=True))
        return [trained[index] for index in range(len(jobs))]

    def restore(
        self, tensors: Mapping[str, Tensor], description: Mapping[str, JsonValue], training: Training
    ) -> Policy:
        """A policy from what its `export` gave."""
        return restore_network(tensors, description, training, self.options.activation, self.output)

    def _can_be_stacked(self, job: TrainJob, settings: TrainSettings) -> bool:
        """Whether a policy's last bits stay what they are alone when others lie beside it.

        Each member of a stack must start where it would start alone. Of trainable readouts, linear maps of vectors can
        be stacked; convolutions and attention take other paths in company, and gain nothing by it
        (`docs/performance.md`).
        """
        if job.tuning is not None:
            return False
        vectors, readout_sizes = job.features[:1], list[int]()
        if job.trained_readout is not None:
            parts = list(job.trained_readout.parameters())
            if parts and (job.features.ndim > 2 or any(part.ndim != 2 for part in parts)):
                return False
            sizes = [settings.batch_size * vectors.shape[1], *(part.numel() for part in parts)]
            readout_sizes = sizes if parts else []
            vectors = cast("Tensor", job.trained_readout(vectors))
        side = side_inputs(job.proprio[:1], _first(job.instructions), use_proprio=settings.use_proprio)
        num_inputs = vectors.shape[1] + side.shape[1]
        widths = [num_inputs, *self.options.hidden, self.output.width(job.actions.shape[1])]
        members = [settings.batch_size * width for width in widths]
        members += [first * second for first, second in pairwise(widths)]
        # With a single column, a product alone becomes that of a matrix and a vector, which rounds otherwise.
        return min(widths) > 1 and all(size % ALIGNED_FLOATS == 0 for size in (*members, *readout_sizes))


def _shape(job: TrainJob) -> object:
    readout = None
    if job.trained_readout is not None:
        readout = (
            type(job.trained_readout),
            tuple((name, tuple(value.shape)) for name, value in job.trained_readout.state_dict().items()),
        )
    told = None if job.instructions is None else job.instructions.shape[1]
    return tuple(job.features.shape[1:]), job.proprio.shape[1], told, job.actions.shape[1], readout


def _first(instructions: Tensor | None) -> Tensor | None:
    return None if instructions is None else instructions[:1]


class _Stack:
    """Heads of one shape in training."""

    def __init__(self, head: StackedHead, jobs: Sequence[TrainJob], settings: TrainSettings, device: str) -> None:
        self.spec, self.settings, self.device = head.spec, settings, device
        self.jobs, self.output, self.activation = jobs, head.output, head.options.activation
        self.generators = [torch.Generator().manual_seed(job.seed) for job in jobs]
        self.action_dim = jobs[0].actions.shape[1]
        self._prepare_readouts()
        self._prepare_inputs()
        widths = [self.input_dim, *head.options.hidden, self.output.width(self.action_dim)]
        scale = head.options.last_layer_scale
        self.layers = [
            Layer(*(part.to(device).requires_grad_() for part in (layer.weight, layer.bias)))
            for layer in initial_layers(widths, scale, self.generators)
        ]
        self.losses = torch.zeros(settings.num_updates, len(jobs), device=device)
        self.kept_updates: tuple[int, ...] = ()
        self.checkpoints: list[dict[int, Policy]] = [{} for _ in jobs]

    def _prepare_readouts(self) -> None:
        """A readout without parameters is applied once; one with parameters is trained with the head."""
        readouts = [job.trained_readout for job in self.jobs]
        self.readout_params: dict[str, Tensor] = {}
        self.readout_buffers: dict[str, Tensor] = {}
        self.readout_model: nn.Module | None = None
        # A readout that trains a part of the encoder is a network of its own and never stacked.
        self.tuned = copy.deepcopy(readouts[0]) if self.jobs[0].tuning is not None else None
        if readouts[0] is None or self.tuned is not None:
            return
        modules = [cast("nn.Module", readout) for readout in readouts]
        if not any(True for _ in modules[0].parameters()):
            return
        params, buffers = stack_module_state(modules)  # pyright: ignore[reportArgumentType]
        self.readout_model = modules[0]
        self.readout_params = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
        self.readout_buffers = dict(buffers)

    def _prepare_inputs(self) -> None:
        self.sets = [
            training_set(
                job,
                self.settings,
                is_trained=self.readout_model is not None or self.tuned is not None,
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
        trainable += list(self.readout_params.values())
        trainable += [] if self.tuned is None else own_parameters(self.tuned)
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
        tuning = self.jobs[0].tuning
        encoder = EncoderOptimizer(encoder_parameters(self.tuned), tuning, settings) if self.tuned and tuning else None
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
            if encoder is not None:
                encoder.zero_grad()
            # The losses are summed, not averaged: each head's gradient is its own, whatever their number.
            loss.sum().backward()
            self._decay(trainable, cast("float", optimizer.param_groups[0]["lr"]))
            optimizer.step()
            if schedule is not None:
                schedule.step()
            if encoder is not None:
                encoder.step()
            if update + 1 in self.kept_updates:
                for index, kept in enumerate(self.checkpoints):
                    kept[update + 1] = self._policy(index)

    def _inputs(self, rows: Sequence[Tensor]) -> Float[Tensor, "K B I"]:
        parts = zip(self.sets, rows, self.generators, strict=True)
        features = torch.stack([each.features_of(row, generator) for each, row, generator in parts])
        proprio = torch.stack([each.proprio[row] for each, row in zip(self.sets, rows, strict=True)])
        if self.readout_model is not None:
            features = torch.vmap(self._read)(self.readout_params, self.readout_buffers, features)
        if self.tuned is not None:
            inputs, width = self.sets[0].inputs, self.feature_dim
            vectors = read_in_precision(self.tuned, features[0], self.jobs[0].tuning)
            features = ((vectors - inputs.mean[:width]) / inputs.std[:width])[None]
        return torch.cat([features, proprio], dim=2)

    def _read(self, params: dict[str, Tensor], buffers: dict[str, Tensor], features: Tensor) -> Tensor:
        return functional_call(cast("nn.Module", self.readout_model), (params, buffers), (features,))

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

    def policies(self) -> list[Policy]:
        """The trained policies, taken apart."""
        return [replace(self._policy(index), checkpoints=self.checkpoints[index]) for index in range(len(self.jobs))]

    def _policy(self, index: int) -> NetworkPolicy:
        layers = tuple(
            Layer(layer.weight[index : index + 1].detach().clone(), layer.bias[index : index + 1].detach().clone())
            for layer in self.layers
        )
        readout, batch_norm = self._trained_readout(index), self._batch_norm(index)
        # Copied, so that sums over a network's losses do not depend on how many lie beside it.
        losses = self.losses[:, index].cpu().contiguous()
        failure = failure_of(losses, _parameters(layers, readout, batch_norm))
        num_params = {
            "head": sum(part.numel() for layer in layers for part in (layer.weight, layer.bias))
            + (2 * self.input_dim if self.settings.input_norm == "batch" else 0),
            "trained_readout": sum(part[index].numel() for part in self.readout_params.values())
            + (0 if self.tuned is None else sum(part.numel() for part in self.tuned.parameters())),
        }
        return NetworkPolicy(
            training=Training(
                spec=self.spec,
                num_params=num_params,
                train_log=loss_log(losses, self.feature_dim, failure),
                failure=failure,
                trained_readout=readout,
            ),
            layers=layers,
            activation=self.activation,
            output=self.output,
            inputs=self.sets[index].inputs,
            actions=self.sets[index].action_scaling,
            batch_norm=batch_norm,
            use_proprio=self.settings.use_proprio,
        )

    def _trained_readout(self, index: int) -> nn.Module | None:
        if self.tuned is not None:
            return copy.deepcopy(self.tuned).eval().requires_grad_(requires_grad=False)
        if self.readout_model is None:
            return self.jobs[index].trained_readout
        module = copy.deepcopy(cast("nn.Module", self.jobs[index].trained_readout))
        state = {name: value[index].detach() for name, value in {**self.readout_params, **self.readout_buffers}.items()}
        module.load_state_dict(state, strict=False)
        return module.eval().requires_grad_(requires_grad=False)

    def _batch_norm(self, index: int) -> BatchNorm | None:
        if self.settings.input_norm != "batch":
            return None
        scale = self.norm_scale[index, 0].detach() / (self.running_var[index, 0] + BATCH_NORM_EPS).sqrt()
        return BatchNorm(scale, self.norm_shift[index, 0].detach() - self.running_mean[index, 0] * scale)


def _parameters(layers: Sequence[Layer], readout: nn.Module | None, batch_norm: BatchNorm | None) -> list[Tensor]:
    parts = [part for layer in layers for part in (layer.weight, layer.bias)]
    parts += [] if readout is None else list(readout.parameters())
    return parts + ([] if batch_norm is None else [batch_norm.scale, batch_norm.shift])
