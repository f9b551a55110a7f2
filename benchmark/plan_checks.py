"""What a plan refuses before it is expanded: settings that do not suit one another, or that name nothing."""

from __future__ import annotations

from pvrbench.benchmark.catalog import executors, heads, schedules
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError
from pvrbench.benchmark.records.keys import FROZEN


def check_config(config: BenchmarkConfig) -> None:
    """Refuses what no machine could run.

    Raises:
        UnknownNameError: the executor or the schedule is in no catalog.
        ConfigError: a variant of a head bears a name of the catalog, or the schedule does not suit the other settings.
    """
    for name in {*heads()} & {*config.head_variants}:
        raise ConfigError(f"head_variants.{name} has the name of a head of the catalog. Give it another name.")
    _check_instructions(config)
    executor, schedule = executors()[config.engine.executor], schedules()[config.episode_schedule]
    if config.num_episodes < schedule.fewest_episodes:
        raise ConfigError(
            f"episode_schedule={schedule.name} needs num_episodes={schedule.fewest_episodes} or more, and "
            f"{config.num_episodes} were asked for: with fewer states it finds much less than the fixed design. Plan "
            "more, or use episode_schedule=fixed."
        )
    if schedule.spans_run and (config.checkpoint_evaluations or not config.engine.keep_policies):
        key = "checkpoint_evaluations=0" if config.checkpoint_evaluations else "engine.keep_policies=true"
        raise ConfigError(f"episode_schedule={schedule.name} evaluates stored policies round by round. It needs {key}.")
    if schedule.spans_run and executor.is_remote and not config.cluster.follow:
        raise ConfigError(f"episode_schedule={schedule.name} hands in round after round. It needs cluster.follow=true.")


def _check_instructions(config: BenchmarkConfig) -> None:
    if not config.text_encoders and config.wordings != ("trained",):
        raise ConfigError(
            f"wordings={list(config.wordings)} are instructions, and no policy of this run is told any. "
            "Name a text encoder with text_encoders=[...]."
        )
    trained = [name for name in config.adaptations if name != FROZEN]
    if config.text_encoders and trained:
        raise ConfigError(
            f"text_encoders and adaptations=[{trained[0]}] do not go together: instructed policies read frozen "
            "encoders. "
            "Use adaptations=[frozen]."
        )
