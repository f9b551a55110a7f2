"""Runs probes: what is recorded is compared with today's inputs, the rest is computed and recorded."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from pvrbench.benchmark.engine.context import RunContext, load_task, open_context
from pvrbench.benchmark.engine.features import FrameFeatures, NonFiniteError, TileEncoder, demo_features
from pvrbench.benchmark.engine.hardware import cache_root
from pvrbench.benchmark.engine.identity import (
    NAMES,
    component_digest,
    digests_of,
    look_digest,
    pool_of,
    shared_inputs,
)
from pvrbench.benchmark.engine.listener import Listener
from pvrbench.benchmark.engine.provenance import processor, provenance
from pvrbench.benchmark.engine.resuming import recorded_before, refuse_changed_inputs, write_config
from pvrbench.benchmark.engine.runner import fit_to_machine
from pvrbench.benchmark.engine.training import features_at
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.probe_plan import ProbeJob, ProbePlan
from pvrbench.benchmark.probes.base import Frames, load_probe
from pvrbench.benchmark.probes.spec import Option
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.benchmark.records.probe_schema import ProbeRecord
from pvrbench.benchmark.records.probe_store import ProbeStore
from pvrbench.benchmark.records.schema import Digests
from pvrbench.benchmark.records.store import RecordError
from pvrbench.common.files import write_atomically
from pvrbench.encoders.base import Encoder, Features
from pvrbench.encoders.readouts.base import load_readout
from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.envs.base import Array, Task
from pvrbench.envs.demos.demo_set import DemoSet
from pvrbench.envs.demos.straying import stray
from pvrbench.envs.pictures.context import gl_renderer
from pvrbench.envs.spec import View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a call did.

    Attributes:
        num_recorded: probes recorded.
        num_skipped: probes that were recorded before.
        errors: for each probe that could not be made, why.
    """

    num_recorded: int
    num_skipped: int
    errors: Mapping[str, str]


@dataclass
class _Material:
    """What encoders share on one task: made by the first that needs it, kept until the next task.

    Attributes:
        task: the task.
        demos: its demonstrations.
        shared: what probes made for all encoders of the task.
    """

    task: Task
    demos: DemoSet
    shared: dict[Hashable, object] = field(default_factory=dict[Hashable, object])


class EncoderOnTask:
    """An encoder on a task; fulfils `pvrbench.benchmark.probes.base.Subject`.

    Args:
        job: the encoder and the task, as a run has them.
        context: caches, encoders and listener.
        material: what encoders share on this task.
    """

    def __init__(self, job: Job, context: RunContext, material: _Material) -> None:
        self._job, self._context, self._material = job, context, material
        self.task, self.demos = material.task, material.demos
        camera = job.cells[0].train.camera
        config = job.config
        self.view: View = job.demo_view or View(camera=camera, image_px=config.image_px, render=config.render)
        self.encoder: EncoderSpec = job.encoder
        self.readouts: Mapping[str, ReadoutSpec] = job.readouts
        self.use_proprio: bool = config.train.use_proprio

    @cached_property
    def _tiles(self) -> TileEncoder:
        # As a run calls it with these readouts: its features are found again.
        return self._encoder(keep_raw=any(spec.raw_grid for spec in self.readouts.values()))

    @cached_property
    def _raw_tiles(self) -> TileEncoder:
        return self._encoder(keep_raw=True)

    def _encoder(self, *, keep_raw: bool) -> TileEncoder:
        job = self._job
        return self._context.encoders.tiles(job.encoder, job.adaptation, job.config.image_px, keep_raw=keep_raw)

    def demonstrations(self) -> Frames:
        """All frames of all demonstrations; their features are those that a run trains on, and share its cache."""
        demos = [self.demos.demo(index) for index in range(len(self.demos))]
        found = features_at(range(len(self.demos)), self._job, self._context, self._tiles, self.demos)
        return Frames(
            privileged=np.concatenate([demo.privileged for demo in demos]),
            proprio=np.concatenate([demo.proprio for demo in demos]),
            actions=np.concatenate([demo.actions for demo in demos]),
            episodes=_numbered([len(demo.actions) for demo in demos]),
            features=self._read(list(found.values())),
        )

    def strayed(self, num_episodes: int, noise: float, stride: int) -> Frames:
        """Frames of held-out episodes in which the expert's actions are disturbed."""
        sees = self.encoder.modality == "image"
        view = self.view if sees else None
        episodes = self.shared(
            ("strayed", num_episodes, noise, stride, view), lambda: stray(self.task, view, num_episodes, noise, stride)
        )
        inputs = [episode.images if sees else episode.privileged for episode in episodes]
        found = demo_features(self._tiles, self._context.features, inputs)
        lengths = [len(episode.privileged) for episode in episodes]
        return Frames(
            privileged=np.concatenate([episode.privileged for episode in episodes]),
            proprio=np.concatenate([episode.proprio for episode in episodes]),
            actions=np.zeros((sum(lengths), self.task.spec.action_dim), np.float32),
            episodes=_numbered(lengths),
            features=self._read(found),
        )

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What does not depend on the encoder: made once for all encoders of a task, found again by its key."""
        kept = self._material.shared
        if key not in kept:
            kept[key] = make()
        return cast("T", kept[key])

    def encode(self, images: UInt8[Array, "N H W 3"]) -> Features:
        """Features of pictures, with the grid as the encoder made it."""
        found = demo_features(self._raw_tiles, self._context.features, [images])[0]
        if isinstance(found, NonFiniteError):
            raise found
        return found.compact if found.raw is None else found.raw

    def load(self) -> Encoder:
        """The encoder itself."""
        return self._raw_tiles.encoder

    def with_options(self, options: Mapping[str, Option]) -> EncoderOnTask:
        """The same weights on the same task with other options of the encoder."""
        spec = replace(self.encoder, options={**self.encoder.options, **options})
        return EncoderOnTask(replace(self._job, encoder=spec), self._context, self._material)

    def _read(self, found: Sequence[FrameFeatures | NonFiniteError]) -> dict[str, Tensor]:
        """What each readout's frozen stage gives.

        Raises:
            NonFiniteError: features of a frame are NaN or infinite.
        """
        sound: list[FrameFeatures] = []
        for each in found:
            if isinstance(each, NonFiniteError):
                raise each
            sound.append(each)
        return {
            name: torch.cat([load_readout(spec).read(each.of(spec)) for each in sound])
            for name, spec in self.readouts.items()
        }


def _numbered(lengths: Sequence[int]) -> Array:
    return np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)


def run_probes(plan: ProbePlan, run_dir: Path, listener: Listener) -> ProbeResult:
    """Makes the probes that are not recorded yet. A probe that fails is reported, and the others go on.

    Raises:
        RecordError: the folder cannot be written, holds results under other settings, or of inputs that have changed.
        WeightsError: an encoder's weights cannot be had.
    """
    config = fit_to_machine(plan.config)
    store = ProbeStore(run_dir)
    recorded = recorded_before(store, {item.key: item.settings for item in plan.jobs})
    records = store.read()[0]
    _refuse_other_settings(plan, records, run_dir)
    errors: dict[str, str] = {}
    num_recorded = 0
    with open_context(config, run_dir, cache_root(config.engine.cache_dir), listener, run_dir, {}) as context:
        left = [item for item in plan.jobs if item.key not in recorded]
        context.encoders.check_weights({item.job.encoder.name: item.job.encoder for item in left}.values())
        listener.finished(len(recorded))
        write_config(run_dir, config)
        prepared = _Prepared(context)
        for item in plan.jobs:
            item = replace(item, job=item.job.fitted(config))  # noqa: PLW2901 - the same job on this machine
            try:
                for record in records:
                    _refuse_changes(item, record, prepared, run_dir)
                if item.key in recorded:
                    continue
                store.write(_probed(item, prepared, context))
                num_recorded += 1
                listener.finished(1)
            except RecordError:
                raise
            except Exception as error:  # noqa: BLE001 - the boundary at which one probe's failure ends
                errors[item.name] = f"{error}" or type(error).__name__
                write_atomically(run_dir / "errors" / f"{item.key.slug}.txt", traceback.format_exc())
                listener.say(f"failed: {item.name}: {errors[item.name]}")
    return ProbeResult(num_recorded, len(recorded), errors)


class _Prepared:
    """Demonstrations and digests of tasks; those of the last task and encoder are kept."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._material: dict[str, _Material] = {}
        self._digests: dict[tuple[str, str], Digests] = {}

    def material(self, job: Job) -> _Material:
        """What encoders share on a job's task."""
        name = job.task.name
        if name not in self._material:
            self._material.clear()
            task = load_task(job.task)
            self._material[name] = _Material(task, pool_of(job.task, job.config.demo_pool, self._context, task))
        return self._material[name]

    def digests(self, job: Job) -> Digests:
        """The digests of a job's inputs."""
        key = (job.name, repr((job.encoder, job.adaptation)))
        if key not in self._digests:
            self._digests.clear()
            material = self.material(job)
            states = material.task.initial_states("selection", 1)
            every = digests_of(job, self._context, states, material.demos)
            readouts = sorted({found.readout for found in every.values()})
            self._digests[key] = next(iter(every.values())).model_copy(
                update={"readout": digest_of(readouts), "head": ""}
            )
        return self._digests[key]


def _refuse_other_settings(plan: ProbePlan, records: Sequence[ProbeRecord], run_dir: Path) -> None:
    """Refuses to put probes beside records that were made under other settings: both are reported together.

    Raises:
        RecordError: there are some.
    """
    planned = {item.key.probe: item.settings for item in plan.jobs}
    for record in records:
        here = planned.get(record.key.probe, plan.jobs[0].settings)
        # Readouts are an encoder's own, and options a probe's.
        own = {"readouts", *(() if record.key.probe in planned else ("options",))}
        if names := [name for name in here.differences(record.settings) if name not in own]:
            texts = [f"{name} ({record.settings.value(name)} there, {here.value(name)} here)" for name in names]
            raise RecordError(
                f"{run_dir} holds {record.key.slug} under other settings: {', '.join(texts)}. Give this run a name of "
                "its own with name=..."
            )


def _refuse_changes(item: ProbeJob, record: ProbeRecord, prepared: _Prepared, run_dir: Path) -> None:
    """Refuses to put a probe beside a record of which an input that both have has changed.

    Raises:
        RecordError: it has; the text names it.
    """
    key = item.key
    shared = (*NAMES,) if record.key == key else shared_inputs(record.key, key)
    now = prepared.digests(item.job) if shared else record.digests
    names = {"task": key.task, "encoder": key.encoder, "adaptation": key.adaptation}
    refuse_changed_inputs(record.digests, now, run_dir, shared, **names)
    if record.key.probe == key.probe and record.probe != probe_digest(item):
        raise RecordError(
            f"The code of the probe {item.key.probe} changed after {run_dir} was recorded. Results of both must not be "
            "mixed: give this run a name of its own with name=..., or bring the old one back."
        )


def probe_digest(item: ProbeJob) -> str:
    """Digest of what a probe measures: its code and options, and the pictures of the looks that it names."""
    probe = item.probe
    own = component_digest(probe.entry_point, probe.options)
    looks = str(probe.options.get("looks", ""))
    return digest_of([own, *(look_digest(look, item.job.task) for look in looks.split("+"))]) if looks else own


def _probed(item: ProbeJob, prepared: _Prepared, context: RunContext) -> ProbeRecord:
    started = time.monotonic()
    probe = load_probe(item.probe)
    digests = prepared.digests(item.job)
    material = prepared.material(item.job)
    subject = EncoderOnTask(item.job, context, material)
    context.listener.stage(f"{item.job.task.name}: {item.job.encoder.name}: {item.probe.name}", 1)
    ready = time.monotonic()
    findings = probe.run(subject)
    device = context.engine.device
    where = processor() if device == "cpu" else torch.cuda.get_device_name(device)
    gl = gl_renderer() if item.job.demo_view is not None else ""
    demos = material.demos.manifest.summary()
    return ProbeRecord(
        key=item.key,
        settings=item.settings,
        digests=digests,
        probe=probe_digest(item),
        provenance=provenance(where, gl, context.engine, item.job.encoder, demos),
        measures=findings.measures,
        notes=findings.notes,
        pictures=findings.pictures,
        timing={"prepare_s": ready - started, "probe_s": time.monotonic() - ready},
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
