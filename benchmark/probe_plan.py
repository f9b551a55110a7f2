"""Configuration -> probes of encoders on tasks; pure, and checked whole before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pvrbench.benchmark.catalog import probes, unknown
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError
from pvrbench.benchmark.plan import Job, make_plan
from pvrbench.benchmark.probes.spec import ProbeSpec, lacks
from pvrbench.benchmark.records.keys import NOMINAL
from pvrbench.benchmark.records.probe_schema import ProbeKey, ProbeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeJob:
    """One probe of one encoder on one task.

    Attributes:
        job: task, views, encoder, adaptation and readouts, as a run has them; its cells only stand for them.
        probe: the probe, with the options of the run.
        key: what the record is found by.
        settings: what else determines the numbers.
    """

    job: Job
    probe: ProbeSpec
    key: ProbeKey
    settings: ProbeSettings

    @property
    def name(self) -> str:
        """Probe and place, for readers."""
        return f"{self.probe.name}: {self.job.name}"


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """Everything that `pvrbench probe` will do.

    Attributes:
        config: what was asked for.
        jobs: the work; those of one task and encoder are neighbours.
        notes: what was left out, and why.
    """

    config: BenchmarkConfig
    jobs: tuple[ProbeJob, ...]
    notes: tuple[str, ...]


def make_probe_plan(config: BenchmarkConfig) -> ProbePlan:
    """Expands a configuration into probes.

    Raises:
        UnknownNameError: a name is in no catalog.
        ConfigError: a camera or a combination cannot be had, options are given for a probe that is not asked for, or
            nothing is left to be probed.
    """
    if config.train_looks != (NOMINAL,):
        raise ConfigError("Probes measure features of nominal demonstrations. Leave train_looks out.")
    # The scene of the demonstrations is nominal; probes choose other looks themselves.
    plan = make_plan(config.model_copy(update={"looks": (NOMINAL,), "text_encoders": (), "wordings": ("trained",)}))
    wanted = {name: probes()[name] for name in dict.fromkeys(config.probes)}
    _check_options(config, wanted)
    specs = {name: spec.with_options(config.probe_options.get(name, {})) for name, spec in wanted.items()}
    jobs: list[ProbeJob] = []
    left_out: dict[str, list[str]] = {}
    for job in plan.jobs:
        if not job.adaptation.keeps_features:
            raise ConfigError(
                f"Probes measure frozen encoders, and adaptation {job.adaptation.name!r} trains them with the policy. "
                "Leave adaptations out."
            )
        for spec in specs.values():
            if reason := lacks(spec.needs, job.encoder):
                # Baselines of the preset that a probe does not apply to are no matter for the user.
                if job.encoder.name in config.encoders:
                    left_out.setdefault(f"{job.encoder.name} {reason}; {{}} left out for it.", []).append(spec.name)
                continue
            jobs.append(_probe_job(job, spec))
    notes = tuple(
        text.format(f"{', '.join(dict.fromkeys(names))} {'are' if len({*names}) > 1 else 'is'}")
        for text, names in left_out.items()
    )
    if not jobs:
        raise ConfigError(
            f"Nothing is left to be probed. {' '.join(notes)} Name other encoders or probes; "
            "`pvrbench list probes` shows all."
        )
    return ProbePlan(config, tuple(jobs), (*_of_probes(plan.notes), *notes))


def _of_probes(notes: Iterable[str]) -> Iterable[str]:
    """Notes of the plan of a run that concern probes: not those on success and starts."""
    return (note for note in notes if "Success counts" not in note)


def _check_options(config: BenchmarkConfig, wanted: dict[str, ProbeSpec]) -> None:
    for name, options in config.probe_options.items():
        if name not in wanted:
            raise ConfigError(
                f"probe_options.{name} is given, and probes=[{','.join(wanted)}]. Ask for that probe, or leave it out. "
                + ("" if name in probes() else unknown("probe", name, probes()))
            )
        for option in options:
            if option not in wanted[name].options:
                raise ConfigError(
                    f"probe_options.{name}.{option}: {name} has the options {', '.join(wanted[name].options)}."
                )


def _probe_job(job: Job, spec: ProbeSpec) -> ProbeJob:
    config = job.config
    key = ProbeKey(
        probe=spec.name,
        task=job.task.name,
        camera=job.cells[0].camera,
        encoder=job.encoder.name,
        adaptation=job.adaptation.name,
    )
    settings = ProbeSettings(
        render=config.render,
        image_px=config.image_px,
        preprocessing=config.preprocessing,
        precision=config.engine.precision,
        demo_pool=config.demo_pool,
        demo_end=config.demo_end,
        use_proprio=config.train.use_proprio,
        readouts=tuple(job.readouts) if spec.needs != "grid" else (),
        options=dict(spec.options),
    )
    return ProbeJob(job=job, probe=spec, key=key, settings=settings)
