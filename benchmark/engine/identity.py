"""Identity by content: the digests of every input of a job, and what changed since a cell was recorded."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import cast

from pvrbench.benchmark.engine.context import RunContext, load_task
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.instructed import text_digest
from pvrbench.benchmark.engine.provenance import simulator_versions
from pvrbench.benchmark.plan import Job
from pvrbench.benchmark.records.keys import NOMINAL, Cell, TrainKey, digest_of
from pvrbench.benchmark.records.probe_schema import ProbeKey
from pvrbench.benchmark.records.schema import CellRecord, Digests, Settings
from pvrbench.benchmark.records.store import RecordError
from pvrbench.common.code import code_digest
from pvrbench.common.files import locked
from pvrbench.encoders.identity import EncoderIdentity
from pvrbench.envs.base import InitialStates, Task
from pvrbench.envs.demos.collection import collect_demos
from pvrbench.envs.demos.demo_set import DemoSet, demo_path
from pvrbench.envs.demos.demo_union import Demonstrations, DemoUnion
from pvrbench.envs.looks import look_members
from pvrbench.envs.pictures.context import gl_renderer
from pvrbench.envs.spec import LOOKS_VERSION, Look, Scenery, TaskSpec

NAMES: Mapping[str, str] = {
    "initial_states": "the initial states of {task}",
    "demos": "the demonstrations of {task}",
    "encoder": "the encoder {encoder}",
    "adaptation": "the code of the adaptation {adaptation}",
    "readout": "the code of the readout {readout}",
    "head": "the code of the head {head}",
    "text_encoder": "the text encoder {text_encoder} or the instructions of the training",
    "look": "the code of the look {look}",
    "train_looks": "the code of the looks of the demonstrations of {task}",
    "simulator": "the simulator of {task}",
    "renderer": "the OpenGL renderer",
}
"""How the inputs of a cell are named to the user."""

OF_POLICY = ("demos", "encoder", "adaptation", "readout", "head", "renderer")
"""Inputs of the training."""

SHARED_BY_TASK = ("initial_states", "demos", "simulator", "renderer")
"""Inputs that all cells of a task share."""

PARTS = ("encoder", "adaptation", "readout", "head")
"""Inputs that cells share where they have the same one, by its name."""


def demonstrations_of(job: Job, context: RunContext, task: Task) -> Demonstrations:
    """The demonstrations that a job's policies learn from, collected where they are missing."""
    pools = [
        pool_of(spec, job.config.demo_pool, context, task if spec == job.task else load_task(spec))
        for spec in job.lesson.tasks
    ]
    return pools[0] if len(pools) == 1 else DemoUnion(pools)


def pool_of(spec: TaskSpec, wanted: int, context: RunContext, task: Task) -> DemoSet:
    """The demonstrations of one task, collected where they are missing."""
    path = demo_path(context.cache_dir, spec)

    def are_there() -> bool:
        return path.exists() and len(DemoSet.open(path, spec, spec.demo_noise, spec.demo_end)) >= wanted

    if are_there():
        return DemoSet.open(path, spec, spec.demo_noise, spec.demo_end, wanted)
    # Several runs or workers may share the cache: one of them collects, the others wait for it.
    with locked(path):
        if are_there():
            return DemoSet.open(path, spec, spec.demo_noise, spec.demo_end, wanted)
        context.listener.stage(f"{spec.name}: collecting demonstrations", wanted)
        collect_demos(task, wanted, path, context.listener.advance, spec.demo_noise, spec.demo_end)
    return DemoSet.open(path, spec, spec.demo_noise, spec.demo_end, wanted)


def digests_of(
    job: Job, context: RunContext, states: InitialStates | None, demos: Demonstrations | None
) -> dict[Cell, Digests]:
    """The digests of the inputs of each cell, but for the policy.

    Args:
        job: the cells.
        context: where encoders are.
        states: the evaluated initial states; None leaves their digest empty.
        demos: the demonstrations; None leaves their digest empty.
    """
    identity = context.encoders.identity(job.encoder, job.config.image_px)
    common = Digests(
        initial_states=states.digest if states else "",
        demos=demos.digest if demos else "",
        encoder=encoder_digest(identity),
        encoder_parts=_parts(identity),
        # Features that are not finite are told where they are trained on.
        encoder_probe=tuple(value if math.isfinite(value) else 0.0 for value in identity.probe),
        adaptation=component_digest(job.adaptation.entry_point, job.adaptation.options),
        train_looks=train_looks_digest(job),
        text_encoder=text_digest(job.lesson),
        look="" if job.view is None else look_digest(job.view.look, job.task),
        simulator=simulator_versions(job.task, job.config.render),
        renderer=gl_renderer().partition(" (")[0] if job.view is not None else "",
    )
    readouts = {
        name: component_digest(
            spec.entry_point, {**spec.options, **({"shift_px": spec.shift_px} if spec.shift_px else {})}
        )
        for name, spec in job.readouts.items()
    }
    heads = {name: component_digest(spec.entry_point, {}) for name, spec in job.heads.items()}
    return {
        cell: common.model_copy(update={"readout": readouts[cell.readout], "head": heads[cell.head]})
        for cell in job.cells
    }


def train_looks_digest(job: Job) -> str:
    """Digest of the looks of a job's demonstrations; empty where they are nominal or not seen."""
    if job.demo_view is None or job.train_looks == (NOMINAL,):
        return ""
    return digest_of([look_digest(look, job.task) for look in job.train_looks])


def look_digest(name: str, task: TaskSpec) -> str:
    """Digest of what a look does to the pictures of a task: its functions, their options, and the parts it changes."""
    if name == NOMINAL:
        return ""
    look = Look.parse(name)
    members = look_members(look, task.scenery or Scenery())
    parts = {part for member in members for part in member.needs}
    return digest_of(
        {
            "functions": [component_digest(member.entry_point, member.options) for member in members],
            "scenery": str(task.scenery) if parts else "",
            "version": LOOKS_VERSION,
        }
    )


def encoder_digest(identity: EncoderIdentity) -> str:
    """Digest of what an encoder is, the same on every machine: its weights, preprocessing and code."""
    return digest_of(_parts(identity))


def _parts(identity: EncoderIdentity) -> dict[str, str]:
    return {"weights": identity.weights, "preprocessing": identity.preprocessing, "code": identity.code}


def component_digest(entry_point: str, options: Mapping[str, object]) -> str:
    """Digest of a part that is code: its function or class, its options, and its source where it is not of pvrbench."""
    module, _, name = entry_point.partition(":")
    return digest_of([name, {key: str(value) for key, value in options.items()}, code_digest([module])])


def policy_digest(job: Job, cell: Cell, digests: Digests, encoder: TileEncoder) -> str:
    """Name of a trained policy: a digest of everything that determines its parameters, before it is trained."""
    view = job.demo_view
    settings = {
        name: value for name, value in job.settings[cell.head].of_training.items() if name not in ("render", "image_px")
    }
    return digest_of(
        {
            "key": cell.train.model_dump(mode="json"),
            "settings": settings,
            "view": None if view is None else [view.camera, view.image_px, view.render],
            "inputs": {name: getattr(digests, name) for name in OF_POLICY},
            **({"train_looks": digests.train_looks} if digests.train_looks else {}),
            **({"text_encoder": digests.text_encoder} if digests.text_encoder else {}),
            # What moves the last bits of the features, and with them the parameters.
            "features": encoder.key(""),
        }
    )


def check_inputs(jobs: Sequence[Job], recorded: Sequence[CellRecord], context: RunContext) -> None:
    """Compares the inputs of what is recorded in a run's folder with what they are now.

    Records of other cells than a job's are compared as well in what they share with it, such as its task, its encoder
    or its head: all records of a folder are reported together.

    Initial states are compared where the job has cells left to run, since they have to be made for that, and
    demonstrations where there are some.

    Args:
        jobs: all jobs of the plan.
        recorded: all records of the folder.
        context: where encoders are.

    Raises:
        RecordError: an input is another than when a cell was recorded.
    """
    for job in jobs:
        own = [record for record in recorded if record.cell in job.cells]
        # One cell of each kind stands for all.
        cells = {(cell.readout, cell.head): cell for cell in job.cells}.values()
        beside = [
            (record, cell, names)
            for record in recorded
            for cell in cells
            if (names := shared_inputs(record.cell, cell))
        ]
        if not (own or beside) or job.encoder.modality == "expert":
            continue
        task, is_whole = load_task(job.task), len(own) == len(job.cells)
        states = None if is_whole else task.initial_states(job.cells[0].split, job.config.num_episodes)
        # Stored policies keep what they learnt from, whatever is in the cache.
        is_there = not job.needs_policies and all(
            demo_path(context.cache_dir, spec).exists() for spec in job.lesson.tasks
        )
        now = digests_of(job, context, states, demonstrations_of(job, context, task) if is_there else None)
        for record in own:
            refuse_changes(record, now[record.cell], context)
        for record, cell, names in beside:
            refuse_changes(record, now[cell], context, names)


def shared_inputs(one: Cell | ProbeKey, other: Cell | ProbeKey) -> tuple[str, ...]:
    """The inputs that two results have in common."""
    parts = [part for part in PARTS if getattr(one, part, None) == getattr(other, part, "")]
    if one.task != other.task:
        return tuple(parts)
    # What a look does depends on the task.
    is_same_look = getattr(one, "look", None) == getattr(other, "look", "")
    return (*SHARED_BY_TASK, *parts, *(("look",) if is_same_look else ()))


def check_policies(jobs: Sequence[Job], trained: Mapping[TrainKey, CellRecord], context: RunContext) -> None:
    """Compares what stored policies read with what it was when they were trained.

    Raises:
        RecordError: an encoder, adaptation, readout or head is another, or the configuration of the run is not the one
            that they were trained by.
    """
    for job in jobs:
        records = [(cell, trained[cell.train]) for cell in job.cells if cell.train in trained]
        for cell, record in records:
            _refuse_other_training(record.settings, job.settings[cell.head], context)
        if records and job.encoder.modality != "expert":
            now = digests_of(job, context, None, None)
            for cell, record in records:
                here = now[cell].model_copy(update={"simulator": record.digests.simulator, "renderer": "", "look": ""})
                refuse_changes(record, here, context)


def _refuse_other_training(there: Settings, here: Settings, context: RunContext) -> None:
    pictures = {"render": here.trained_render or here.render, "image_px": here.trained_image_px or here.image_px}
    learnt, recorded = {**here.of_training, **pictures}, there.of_training
    differing = [
        f"{key} ({recorded.get(key)} in the records, {learnt.get(key)} in config.json)"
        for key in sorted({*recorded, *learnt})
        if _differs(recorded.get(key), learnt.get(key))
    ]
    if differing:
        raise RecordError(
            f"The config.json of the run in {context.policies.folder.parent} is not the one of its records: "
            f"{', '.join(differing)}. Bring the old one back: give the command of that run again."
        )


def _differs(recorded: object, here: object) -> bool:
    """Whether two values of a setting differ; options that earlier versions did not have are left aside."""
    if isinstance(recorded, Mapping) and isinstance(here, Mapping):
        there, now = cast("Mapping[str, object]", recorded), cast("Mapping[str, object]", here)
        return any(there[key] != now[key] for key in there.keys() & now.keys())
    return recorded != here


def refuse_changes(
    record: CellRecord, now: Digests, context: RunContext, names: Collection[str] = tuple(NAMES)
) -> None:
    """Refuses to mix a record with what was made of other inputs.

    Args:
        record: the record.
        now: the inputs as they are.
        context: the run.
        names: which inputs are compared.

    Raises:
        RecordError: an input changed; the text names it and what of it changed.
    """
    for name in (name for name in changed_inputs(record.digests, now) if name in names):
        words = NAMES[name].format(**record.cell.flat, adaptation=record.cell.adaptation, look=record.cell.look)
        raise RecordError(
            f"{words[0].upper()}{words[1:]} changed after {context.records.run_dir} was recorded"
            f"{what_changed(name, record.digests, now)}. Results of both must not be mixed: give this run a name of "
            "its own with name=..., or bring the old one back."
        )


def changed_inputs(there: Digests, here: Digests) -> list[str]:
    """Names of the inputs that differ; those that one of the two does not know are left aside."""
    found = [
        name for name in NAMES if name != "encoder" and (one := getattr(there, name)) and (other := getattr(here, name))
        and one != other
    ]  # fmt: skip
    return ["encoder", *found] if _encoder_changes(there, here) else found


def _encoder_changes(there: Digests, here: Digests) -> list[str]:
    """What of an encoder changed; nothing is known of records of earlier versions."""
    if not there.encoder_parts or not here.encoder_parts:
        return []
    then, now = (EncoderIdentity(**each.encoder_parts, probe=each.encoder_probe, digest="") for each in (there, here))
    return now.changes(then)


def what_changed(name: str, there: Digests, here: Digests) -> str:
    """What of an input changed, in brackets, as far as it is known."""
    if name == "encoder":
        return f" (its {' and '.join(_encoder_changes(there, here))})"
    if name == "simulator":
        versions = [
            f"{package} {there.simulator.get(package, 'absent')} there, {here.simulator.get(package, 'absent')} here"
            for package in sorted({*there.simulator, *here.simulator})
            if there.simulator.get(package) != here.simulator.get(package)
        ]
        return f" ({', '.join(versions)})"
    if name == "renderer":
        return f" ({there.renderer} there, {here.renderer} here)"
    return ""
