"""Configuration -> jobs: the cells that share what is expensive; pure, and checked whole before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pvrbench.benchmark.catalog import (
    encoder_spec,
    expand_tasks,
    readouts,
    tasks,
    text_encoders,
)
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError
from pvrbench.benchmark.instructions import check_alike, wordings_of
from pvrbench.benchmark.plan_checks import check_config
from pvrbench.benchmark.plan_notes import peculiarities
from pvrbench.benchmark.records.keys import NOMINAL, Cell, EvalKey, TrainKey
from pvrbench.benchmark.records.schema import Settings
from pvrbench.benchmark.resolution import (
    adapted_by,
    cameras_of,
    head_named,
    horizon_of,
    looks_of,
    settings_of,
    train_looks_of,
    with_end,
    with_preprocessing,
)
from pvrbench.encoders.adaptation.spec import AdaptationSpec, refusal
from pvrbench.encoders.readouts.spec import ReadoutSpec, applies
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.text.spec import TextEncoderSpec
from pvrbench.encoders.weights.location import weights_present
from pvrbench.envs.looks import refusal as refusal_of_look
from pvrbench.envs.spec import Look, TaskSpec, View
from pvrbench.policies.spec import HeadSpec


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a policy is taught.

    Attributes:
        tasks: the tasks whose demonstrations it learns from.
        text_encoder: how it is told which task is meant; None where it is not.
        conditioning: how the embedding of an instruction enters.
    """

    tasks: tuple[TaskSpec, ...]
    text_encoder: TextEncoderSpec | None = None
    conditioning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The cells that share task, place and encoder: they share demonstrations, features and rollouts.

    A job is plain data and can be sent to another process or machine.

    Attributes:
        config: how demonstrations, training and evaluation are done, and how the machine is used.
        task: the evaluated task.
        lesson: the tasks whose demonstrations the policies learn from, and how they are told which one is meant.
        horizon: control steps of an evaluation episode; demonstrations keep the task's own.
        demo_view: how pictures of the demonstrations are made; None where the encoder reads none.
        view: how pictures of the rollouts are made; None where the encoder reads none.
        encoder: the encoder.
        adaptation: what happens to it besides being read.
        readouts: specs of the readouts of the cells, by name.
        heads: specs of the heads of the cells, by name.
        settings: protocol of each cell, by head name.
        cells: the cells, sorted by readout, head, number of demonstrations and seed.
        train_looks: looks of the demonstrations, which take turns.
        needs_policies: whether the policies must be stored already, as for `pvrbench evaluate`.
        episodes: positions of the initial states that this round of the run evaluates, by cell; None where the job runs
            its cells to their end.
    """

    config: BenchmarkConfig
    task: TaskSpec
    lesson: Lesson
    horizon: int
    demo_view: View | None
    view: View | None
    encoder: EncoderSpec
    adaptation: AdaptationSpec
    readouts: Mapping[str, ReadoutSpec]
    heads: Mapping[str, HeadSpec]
    settings: Mapping[str, Settings]
    cells: tuple[Cell, ...]
    train_looks: tuple[str, ...] = (NOMINAL,)
    needs_policies: bool = False
    episodes: Mapping[Cell, tuple[int, ...]] | None = None

    @property
    def name(self) -> str:
        """Task, camera, look where it is not nominal, and encoder, for readers."""
        place = self.cells[0].evaluation
        look = "" if place.look == NOMINAL else f", {place.look}"
        told = f", {place.instruction!r}" if place.instruction else ""
        return f"{self.task.name} ({place.camera}{look}{told}) {self.encoder.name}"

    def fitted(self, config: BenchmarkConfig) -> Job:
        """The job under a configuration whose engine was fitted to a machine."""
        return replace(self, config=config)

    def only(self, cells: Iterable[Cell]) -> Job:
        """The job with some of its cells alone."""
        wanted = set(cells)
        return replace(self, cells=tuple(cell for cell in self.cells if cell in wanted))

    def round(self, episodes: Mapping[Cell, Sequence[int]]) -> Job:
        """The job with those of its cells that a round asks for, and their episodes."""
        wanted = {cell: tuple(episodes[cell]) for cell in self.cells if cell in episodes}
        return replace(self.only(wanted), episodes=wanted)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run will do.

    Attributes:
        config: what was asked for.
        jobs: the work; jobs of one task and view are neighbours.
        notes: what was left out or replaced, and why; shown to the user.
    """

    config: BenchmarkConfig
    jobs: tuple[Job, ...]
    notes: tuple[str, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order of the jobs."""
        return tuple(cell for job in self.jobs for cell in job.cells)


def make_plan(config: BenchmarkConfig, trained: BenchmarkConfig | None = None) -> Plan:
    """Expands a configuration into jobs.

    Args:
        config: what to run.
        trained: the configuration of a run whose stored policies are evaluated; `config` then says where they are
            tried. None trains the policies of `config` itself.

    Raises:
        UnknownNameError: a name is in no catalog.
        ConfigError: a camera or a combination cannot be had, or a variant of a head bears a name of the catalog.
    """
    expansion = _Expansion(config, trained)
    jobs = tuple(expansion.jobs())
    if config.text_encoders and not config.engine.keep_policies:
        raise ConfigError(
            "With text_encoders the tasks share one trained policy, which engine.keep_policies=false does not keep. "
            "Leave engine.keep_policies=true."
        )
    if len({job.cells[0].evaluation.look for job in jobs}) > 1 and not config.engine.keep_policies:
        raise ConfigError(
            "Several looks share one trained policy, which engine.keep_policies=false does not keep. "
            "Leave engine.keep_policies=true, or ask for one look."
        )
    return Plan(config=config, jobs=jobs, notes=tuple(dict.fromkeys(expansion.notes)))


class _Expansion:
    """The names of a configuration resolved, and the jobs that they make."""

    def __init__(self, config: BenchmarkConfig, trained: BenchmarkConfig | None) -> None:
        self.config, self.trained = config, trained or config
        self.is_evaluation = trained is not None
        check_config(config)
        self.notes: list[str] = []
        self.tasks = [with_end(tasks()[name], self.trained) for name in expand_tasks(config.tasks)]
        self.text_encoders = [text_encoders()[name] for name in dict.fromkeys(config.text_encoders)]
        self.taught = tuple(with_end(tasks()[name], self.trained) for name in expand_tasks(self.trained.tasks))
        if self.text_encoders:
            check_alike(self.taught)
        # By the name of the row: two names may stand for one.
        names = (*config.encoders, *config.baselines)
        named: dict[str, EncoderSpec] = {}
        for spec in self._present(names):
            if named.setdefault(spec.name, spec) != spec:
                raise ConfigError(f"Two encoders have the name {spec.name}. Give one of them another.")
        self.encoders = [with_preprocessing(spec, config) for spec in named.values()]
        self.adaptations = adapted_by(config, self.trained)
        self.looks = looks_of(config)
        self.heads = {name: head_named(config, name) for name in dict.fromkeys(config.heads)}
        asked = {name: readouts()[name] for name in dict.fromkeys(config.readouts)}
        self.readouts = {spec.name: self._readouts_for(spec, asked) for spec in self.encoders}
        self.notes += peculiarities(config, self.trained, self.encoders, self.tasks)

    def _present(self, names: Iterable[str]) -> Iterator[EncoderSpec]:
        """The encoders of some names; one that ends with `?` is left out where its weights are not on this machine."""
        for name in names:
            spec = encoder_spec(name.removesuffix("?"), self.trained.image_px)
            if not name.endswith("?") or weights_present(spec):
                yield spec
            else:
                self.notes.append(
                    f"{spec.name} is left out: its weights are not on this machine. "
                    f"`pvrbench weights fetch {spec.name}` gets them."
                )

    def jobs(self) -> Iterator[Job]:
        for task in self.tasks:
            settings = {name: settings_of(self.config, self.trained, task, head) for name, head in self.heads.items()}
            for train_camera, camera in self._cameras(task):
                for look in self._looks_for(task):
                    # Jobs that look through the camera come first, those that render nothing last, so that
                    # one set of environments serves neighbours.
                    for spec in sorted(self.encoders, key=lambda spec: spec.modality != "image"):
                        if self._is_offered(spec, task):
                            place = EvalKey(task=task.name, camera=camera, look=look, split=self.config.split)
                            for adaptation in self.adaptations:
                                if self._can_be_adapted(spec, adaptation):
                                    for lesson, told in self._lessons(task, place):
                                        yield self._job(task, lesson, settings, train_camera, told, spec, adaptation)

    def _lessons(self, task: TaskSpec, place: EvalKey) -> Iterator[tuple[Lesson, EvalKey]]:
        """What policies are taught, and the place with the instructions that they are given there."""
        if not self.text_encoders:
            yield Lesson((task,)), place
        for text_encoder in self.text_encoders:
            for conditioning in dict.fromkeys(self.config.conditionings):
                for wording in wordings_of(task, self.taught, self.config.wordings, text_encoder):
                    told = place.model_copy(update={"instruction": wording.text, "wording": wording.kind})
                    yield Lesson(self.taught, text_encoder, conditioning), told

    def _job(  # noqa: PLR0913, PLR0917 - what is taught, where it is tried, and what sees it
        self,
        task: TaskSpec,
        lesson: Lesson,
        settings: Mapping[str, Settings],
        train_camera: str,
        place: EvalKey,
        spec: EncoderSpec,
        adaptation: AdaptationSpec,
    ) -> Job:
        config, trained = self.config, self.trained
        cells = tuple(
            Cell(
                train=TrainKey(
                    tasks=tuple(each.name for each in lesson.tasks),
                    camera=train_camera,
                    encoder=spec.name,
                    adaptation=adaptation.name,
                    readout=readout,
                    head=head,
                    text_encoder=lesson.text_encoder.name if lesson.text_encoder else "",
                    conditioning=lesson.conditioning,
                    num_demos=num_demos,
                    seed=seed,
                ),
                evaluation=place,
            )
            for readout in self.readouts[spec.name]
            for head in self.heads
            for num_demos in sorted(set(config.num_demos))
            for seed in dict.fromkeys(config.seeds)
        )
        sees = spec.modality == "image"
        view = View(camera=place.camera, image_px=config.image_px, render=config.render, look=place.look)
        demo_view = View(camera=train_camera, image_px=trained.image_px, render=trained.render)
        return Job(
            config=config,
            task=task,
            lesson=lesson,
            horizon=horizon_of(task, config),
            demo_view=demo_view if sees else None,
            view=view if sees else None,
            encoder=spec,
            adaptation=adaptation,
            readouts=self.readouts[spec.name],
            heads=self.heads,
            settings={
                name: own.model_copy(update={"adaptation_options": dict(adaptation.options)})
                for name, own in settings.items()
            },
            cells=cells,
            train_looks=train_looks_of(self.trained),
            needs_policies=self.is_evaluation,
        )

    def _readouts_for(self, encoder: EncoderSpec, asked: Mapping[str, ReadoutSpec]) -> dict[str, ReadoutSpec]:
        fitting = {name: readout for name, readout in asked.items() if applies(readout, encoder)}
        left_out = ", ".join(name for name in asked if name not in fitting)
        if not fitting:
            fitting = {encoder.default_readout: readouts()[encoder.default_readout]}
            if encoder.modality == "image":
                self.notes.append(f"{encoder.name} has no features for {left_out}; {encoder.default_readout} is used.")
        elif left_out and encoder.modality == "image":
            self.notes.append(f"{encoder.name} has no features for {left_out}; left out.")
        return fitting

    def _cameras(self, task: TaskSpec) -> list[tuple[str, str]]:
        """Camera of the demonstrations and of the rollouts, each pair once."""
        places = cameras_of(self.config, task)
        if not self.is_evaluation:
            return [(camera, camera) for camera in places]
        there = cameras_of(self.trained, task)
        if self.config.cameras == self.trained.cameras:
            return list(zip(there, places, strict=True))
        return [(train_camera, camera) for train_camera in there for camera in places]

    def _looks_for(self, task: TaskSpec) -> list[str]:
        """The looks that a task can have; one that was named is not left out in silence.

        Raises:
            ConfigError: the task cannot have a look that was named.
        """
        for look in train_looks_of(self.trained):
            if (reason := refusal_of_look(Look.parse(look), task)) is not None:
                raise ConfigError(f"train_looks: {reason} Leave one of them out.")
        found: list[str] = []
        for look, is_named in self.looks.items():
            reason = refusal_of_look(Look.parse(look), task)
            if reason is None:
                found.append(look)
            elif is_named:
                raise ConfigError(f"looks: {reason} Leave one of them out.")
            else:
                self.notes.append(f"{reason} It is left out there.")
        return found

    def _is_offered(self, spec: EncoderSpec, task: TaskSpec) -> bool:
        if spec.modality != "state" or task.state_dim > 0:
            return True
        if spec.name not in self.config.encoders:
            # A baseline of the preset that this task cannot have is no reason to refuse the task.
            self.notes.append(f"{task.name} offers no simulator state; {spec.name} is left out there.")
            return False
        raise ConfigError(
            f"Encoder {spec.name!r} reads the simulator's state, and task {task.name!r} offers none. "
            "Leave one of them out."
        )

    def _can_be_adapted(self, spec: EncoderSpec, adaptation: AdaptationSpec) -> bool:
        reason = refusal(adaptation, spec)
        if reason is None:
            return True
        if spec.name not in self.config.encoders or any(refusal(other, spec) is None for other in self.adaptations):
            self.notes.append(f"{reason}; left out.")
            return False
        raise ConfigError(f"{reason}. Leave {spec.name} out, or add another adaptation such as frozen.")
