"""Runs imaginations: what is recorded is compared with today's inputs, the rest is computed and recorded."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from pvrbench.benchmark.engine.context import RunContext, open_context
from pvrbench.benchmark.engine.hardware import cache_root
from pvrbench.benchmark.engine.identity import digests_of
from pvrbench.benchmark.engine.imagined_task import EncodedTask, PreparedTasks, TaskMaterial
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.engine.provenance import processor, provenance
from pvrbench.benchmark.engine.resuming import recorded_before, refuse_changed_inputs, write_config
from pvrbench.benchmark.engine.runner import fit_to_machine
from pvrbench.benchmark.imagination.config import RANDOM_ACTIONS, SIMULATOR
from pvrbench.benchmark.imagination.horizon import (
    HeldOut,
    error_curves,
    fit_positions,
    position_columns,
    rollouts,
)
from pvrbench.benchmark.imagination.latents import LatentMap, fit_latents
from pvrbench.benchmark.imagination.pairs import pairs_digest
from pvrbench.benchmark.imagination.pictures import draw_futures, nearest
from pvrbench.benchmark.imagination.plan import ImaginationJob, ImaginationPlan
from pvrbench.benchmark.imagination.planning import (
    LatentPlanner,
    Planner,
    PlanningSite,
    RandomPlanner,
    SimulatorPlanner,
    run_plans,
)
from pvrbench.benchmark.records.imagination_schema import ErrorCurves, ImaginationRecord, PlanEpisode
from pvrbench.benchmark.records.imagination_store import ImaginationStore
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.benchmark.records.probe_schema import Picture
from pvrbench.benchmark.records.schema import Digests
from pvrbench.benchmark.records.store import RecordError, sole_writer
from pvrbench.common.files import write_atomically
from pvrbench.envs.base import Array
from pvrbench.envs.demos.trajectories import Trajectories
from pvrbench.envs.pictures.context import gl_renderer
from pvrbench.policies.transitions.base import Sequences, Transition
from pvrbench.policies.transitions.linear import train_linear
from pvrbench.policies.transitions.options import TransformerOptions
from pvrbench.policies.transitions.storage import StoredTransition, load_transition, save_transition
from pvrbench.policies.transitions.transformer import train_transformer

# Horizons of which pictures are drawn, in blocks.
SHOWN = (1, 2, 4, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class ImaginationResult:
    """What a call did.

    Attributes:
        num_recorded: imaginations recorded.
        num_skipped: those that were recorded before.
        errors: for each that could not be made, why.
    """

    num_recorded: int
    num_skipped: int
    errors: Mapping[str, str]


def run_imaginations(plan: ImaginationPlan, run_dir: Path, listener: Listener) -> ImaginationResult:
    """Makes the imaginations that are not recorded yet. One that fails is reported, and the others go on.

    Raises:
        RecordError: the folder cannot be written, holds results under other settings, or of inputs that have changed.
        WeightsError: an encoder's weights cannot be had.
    """
    config = fit_to_machine(plan.config)
    store = ImaginationStore(run_dir)
    recorded = recorded_before(store, {item.key: item.settings for item in plan.jobs})
    errors: dict[str, str] = {}
    num_recorded = 0
    cache_dir = cache_root(config.engine.cache_dir)
    with sole_writer(run_dir), open_context(config, run_dir, cache_dir, listener, run_dir, {}) as context:
        left = [item for item in plan.jobs if item.key not in recorded]
        context.encoders.check_weights({item.job.encoder.name: item.job.encoder for item in left}.values())
        listener.finished(len(recorded))
        write_config(run_dir, config)
        with PreparedTasks(context) as tasks:
            for planned in plan.jobs:
                item = replace(planned, job=planned.job.fitted(config))
                try:
                    imagination = _Imagination(item, tasks, context, run_dir)
                    if item.key in recorded:
                        imagination.compare(recorded[item.key])
                        continue
                    store.write(imagination.record())
                    num_recorded += 1
                    listener.finished(1)
                except RecordError:
                    raise
                except Exception as error:  # noqa: BLE001 - the boundary at which the failure of one ends
                    errors[item.name] = f"{error}" or type(error).__name__
                    write_atomically(run_dir / "errors" / f"{item.key.slug}.txt", traceback.format_exc())
                    listener.say(f"failed: {item.name}: {errors[item.name]}")
    return ImaginationResult(num_recorded, len(recorded), errors)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A model with what it predicts.

    Attributes:
        model: the model.
        latents: from tokens to its latents.
        train: latents of the training trajectories.
        test: latents of the held-out trajectories.
        train_s: seconds of training; 0 where the model was stored.
    """

    model: Transition
    latents: LatentMap
    train: Sequences
    test: Sequences
    train_s: float


class _Imagination:
    """One job with what it needs."""

    def __init__(self, item: ImaginationJob, tasks: PreparedTasks, context: RunContext, run_dir: Path) -> None:
        self.item, self.context, self.run_dir = item, context, run_dir
        self.settings = item.imagination
        self.material: TaskMaterial = tasks.material(item)
        self.encoded: EncodedTask = tasks.encoded(item)
        self.is_control = item.key.model in (SIMULATOR, RANDOM_ACTIONS)

    def digests(self) -> Digests:
        """Content hashes of the inputs."""
        job = self.item.job
        states = self.material.task.initial_states("test", 1)
        found = next(iter(digests_of(job, self.context, states, None).values()))
        return found.model_copy(update={"demos": self.material.train.digest, "readout": "", "head": ""})

    def compare(self, record: ImaginationRecord) -> None:
        """Refuses a record whose inputs have changed.

        Raises:
            RecordError: they have.
        """
        key = record.key
        names = {"task": key.task, "encoder": key.encoder, "adaptation": ""}
        refuse_changed_inputs(record.digests, self.digests(), self.run_dir, **names)

    def record(self) -> ImaginationRecord:
        """Trains, measures and plans."""
        item, context, started = self.item, self.context, time.monotonic()
        context.listener.stage(item.name, 1)
        digests, curves, pictures = self.digests(), tuple[ErrorCurves, ...](), tuple[Picture, ...]()
        ready = None
        if not self.is_control:
            digests = digests.model_copy(update={"policy": self._model_name(digests)})
            ready = self._ready(digests.policy)
            held_out = self._held_out(ready)
            curves, pictures = error_curves(ready.model, held_out), self._pictures(ready, held_out)
        measured = time.monotonic()
        episodes = self._episodes(ready)
        device = context.engine.device
        where = processor() if device == "cpu" else torch.cuda.get_device_name(device)
        gl = gl_renderer() if item.job.view is not None else ""
        return ImaginationRecord(
            key=item.key,
            settings=item.settings,
            digests=digests,
            test_trajectories="" if ready is None else self.material.test.digest,
            pairs=pairs_digest(self.material.pairs) if episodes else "",
            provenance=provenance(where, gl, context.engine, item.job.encoder, {}),
            num_params=0 if ready is None else _num_params(ready.model),
            curves=curves,
            episodes=episodes,
            pictures=pictures,
            timing={
                "train_s": 0.0 if ready is None else ready.train_s,
                "measure_s": measured - started,
                "plan_s": time.monotonic() - measured,
            },
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _model_name(self, digests: Digests) -> str:
        """Digest of everything that determines the model's parameters."""
        names = ("grid_side", "latent_dim", *TransformerOptions.model_fields)
        return digest_of(
            {
                "key": self.item.key.model_dump(mode="json"),
                "settings": self.settings.model_dump(mode="json", include={*names}),
                "inputs": [digests.demos, digests.encoder, digests.simulator, digests.renderer],
                "features": self.encoded.features_key,
            }
        )

    def _ready(self, name: str) -> _Ready:
        settings, key = self.settings, self.item.key
        folder = self.run_dir / "models"
        stored = load_transition(folder, name)
        latents = (
            fit_latents(self.encoded.train.flatten(0, 1), settings.latent_dim, key.projection, key.seed)
            if stored is None
            else LatentMap.of(stored.extra)
        )
        train = Sequences(latents(self.encoded.train), _actions(self.material.train))
        test = Sequences(latents(self.encoded.test), _actions(self.material.test))
        started = time.monotonic()
        if stored is not None:
            return _Ready(stored.model, latents, train, test, 0.0)
        is_linear = key.model == "linear"
        model = train_linear(train) if is_linear else train_transformer(train, settings, key.seed)
        num_tokens, latent_dim = train.latents.shape[2:]
        sizes = (num_tokens, latent_dim, train.actions.shape[2])
        options = None if is_linear else settings
        save_transition(StoredTransition(model, latents.tensors), folder, name, sizes, options)
        return _Ready(model, latents, train, test, time.monotonic() - started)

    def _held_out(self, ready: _Ready) -> HeldOut:
        train, test = self.material.train, self.material.test
        columns = position_columns(self.material.task.spec, train.privileged)
        truths = [torch.from_numpy(each.privileged[:, :, columns]) for each in (train, test)]
        probe = fit_positions(ready.train.latents, truths[0]) if columns else None
        return HeldOut(test, ready.test, truths[1], probe, self.settings.history, self.settings.error_horizon)

    def _pictures(self, ready: _Ready, held_out: HeldOut) -> tuple[Picture, ...]:
        """True and imagined frames from the first start of one held-out trajectory of each kind."""
        frames = self.encoded.frames
        if frames is None:
            return ()
        shown = [step for step in SHOWN if step <= held_out.horizon]
        known, length = ready.train.latents.flatten(0, 1), ready.train.latents.shape[1]
        start = int(held_out.starts[0])
        found: list[Picture] = []
        for kind in dict.fromkeys(self.material.test.kinds):
            index = self.material.test.kinds.index(kind)
            predicted = rollouts(ready.model, held_out, index)[0]
            rows = nearest(predicted[[step - 1 for step in shown]], known)
            true = [np.asarray(frames.test[index][start + step]) for step in shown]
            imagined = [np.asarray(frames.train[row // length][row % length]) for row in rows]
            title = f"{kind}: true (above) and imagined (below) after 0, {', '.join(map(str, shown))} blocks"
            found.append(draw_futures(title, np.asarray(frames.test[index][start]), true, imagined))
        return tuple(found)

    def _episodes(self, ready: _Ready | None) -> tuple[PlanEpisode, ...]:
        if not self.settings.num_pairs:
            return ()
        latents = self._oracle_latents() if ready is None else ready.latents
        encoded, env = self.encoded, self.material.env
        planner: Planner
        if ready is not None:
            planner = LatentPlanner(ready.model, self.settings, self.item.key.seed)
        elif self.item.key.model == SIMULATOR:
            planner = SimulatorPlanner(
                env, lambda seen: latents(encoded.tokens(seen)), self.settings, self.item.key.seed
            )
        else:
            planner = RandomPlanner(self.item.key.seed)
        pairs = self.material.pairs
        self.context.listener.stage(f"{self.item.name}: planning", len(pairs))

        def look(items: Sequence[tuple[int, Array]]) -> Tensor:
            return latents(encoded.look(items))

        site = PlanningSite(env, look, self.material.task.spec.action_dim)
        return run_plans(planner, site, pairs, self.settings, self.context.listener.advance)

    def _oracle_latents(self) -> LatentMap:
        return fit_latents(self.encoded.train.flatten(0, 1), self.settings.latent_dim, "", 0)


def _actions(trajectories: Trajectories) -> Tensor:
    return torch.from_numpy(trajectories.actions).flatten(2)


def _num_params(model: Transition) -> int:
    return sum(parameter.numel() for parameter in cast("nn.Module", model).parameters())
