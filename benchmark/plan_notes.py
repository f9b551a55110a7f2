"""What a plan tells its user: settings that are allowed and probably not meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pvrbench.benchmark.config import AXES, BenchmarkConfig
from pvrbench.envs.spec import TaskSpec


def repetitions(config: BenchmarkConfig) -> list[str]:
    """What the lists of a configuration name more than once."""
    lists: dict[str, tuple[object, ...]] = {
        axis: getattr(config, axis) for axis in (*AXES, "encoders", "baselines", "num_demos", "seeds")
    }
    return [
        f"{key} names {item} {count} times; it counts once."
        for key, items in lists.items()
        for item, count in Counter(items).items()
        if count > 1
    ]


def large_batches(config: BenchmarkConfig, heads: Iterable[str], tasks: Sequence[TaskSpec]) -> list[str]:
    """Heads whose batches are larger than the smallest training set."""
    num_demos = min(config.num_demos)
    most = num_demos * max(task.horizon for task in tasks)
    return [
        f"train.batch_size={size} of {head} is more than the {most} frames that {num_demos} demonstrations have at "
        "most: each batch repeats frames."
        for head in heads
        if (size := config.train_of(head).batch_size) > most
    ]
