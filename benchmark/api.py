"""What a notebook calls: `import pvrbench as pvr`. Heavy packages are imported by the calls that need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvrbench.benchmark.catalog import encoders, tasks
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.plan import Plan, make_plan

if TYPE_CHECKING:
    import pandas as pd

    from pvrbench.benchmark.engine.result import JobResult
    from pvrbench.common.verdict import Verdict
    from pvrbench.encoders.base import Encoder
    from pvrbench.encoders.spec import EncoderSpec
    from pvrbench.envs.base import Task


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended.

    Attributes:
        run_dir: its folder, with records, policies and report.
        result: what was done, and what failed.
    """

    run_dir: Path
    result: JobResult

    def records(self) -> pd.DataFrame:
        """A row for each episode, see `read_records`."""
        return read_records(self.run_dir)


def plan(*overrides: str, **settings: Any) -> Plan:
    """Checks settings, and says what a run would do. Nothing is run.

    Args:
        overrides: settings as on the command line, such as `"preset=quickstart"`.
        settings: the same as Python values, such as `num_demos=[5, 10]` or `train={"num_updates": 1000}`.

    Raises:
        ConfigError: a setting is not valid.
        UnknownNameError: a name is in no catalog.
    """
    return make_plan(compose_config(overrides, settings))


def run(*overrides: str, report: bool = True, **settings: Any) -> Run:
    """Runs what is not recorded yet; the same call goes on where an interrupted one stopped.

    Args:
        overrides: settings as on the command line, such as `"preset=quickstart"`.
        report: whether figures, tables and the page are written to `run_dir/report`.
        settings: the same as Python values, such as `num_demos=[5, 10]` or `train={"num_updates": 1000}`.

    Raises:
        ConfigError: a setting is not valid.
        RecordError: the folder holds results of another protocol, or of inputs that have changed.
        WeightsError: weights are missing.
    """
    from pvrbench.benchmark.engine.listener import LogListener
    from pvrbench.benchmark.engine.runner import run_plan
    from pvrbench.benchmark.reporting.report import write_report

    made = plan(*overrides, **settings)
    run_dir = made.config.output_dir
    result = run_plan(made, run_dir, LogListener())
    if report:
        write_report([run_dir], run_dir / "report")
    return Run(run_dir, result)


def read_records(path: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Records as a table with a row for each episode, see `pvrbench.benchmark.analysis.frame.read_records`."""
    from pvrbench.benchmark.analysis.frame import read_records as read

    return read(path)


def rank(*run_dirs: str | Path) -> Mapping[str, Any]:
    """The ranking of one or more runs, with intervals, comparisons and warnings, as `pvrbench rank --json` prints it.

    Raises:
        ReportError: there are no sound records, or the runs must not be compared.
    """
    from pvrbench.benchmark.analysis.comparison import load_runs
    from pvrbench.benchmark.analysis.ranking import ranking_json
    from pvrbench.benchmark.analysis.statistics import analyse

    records, refused = load_runs([Path(item) for item in run_dirs])
    analysis = analyse(records)
    return ranking_json(analysis, (*refused, *analysis.warnings))


def list_encoders() -> dict[str, EncoderSpec]:
    """The encoders that can be named, plug-ins among them, without loading one."""
    return encoders().usable()[0]


def load_encoder(name: str) -> Encoder:
    """An encoder with its weights: uint8 RGB images `B H W 3` in, features out.

    Args:
        name: catalog name, `module:attribute` or checkpoint URI.

    Raises:
        UnknownNameError: there is none of that name.
        WeightsError: its weights cannot be had.
    """
    from pvrbench.benchmark.engine.encoder_pool import load_encoder as load

    return load(encoders()[name])


def check_encoder(encoder: str | Encoder) -> list[Verdict]:
    """Checks an encoder against the contract, promise by promise.

    Args:
        encoder: a name, as for `load_encoder`, or a loaded encoder.
    """
    from pvrbench.encoders.checks import check_encoder as check

    return check(load_encoder(encoder) if isinstance(encoder, str) else encoder)


def load_task(name: str) -> Task:
    """A task: its environments, expert and initial states. Imports its simulator.

    Raises:
        UnknownNameError: there is none of that name.
    """
    from pvrbench.benchmark.engine.context import load_task as load

    return load(tasks()[name])
