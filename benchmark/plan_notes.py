"""What a plan tells its user: settings that are allowed and probably not meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pvrbench.benchmark.config import AXES, BenchmarkConfig
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.statement import is_uri, preprocessing_of
from pvrbench.envs.spec import TaskSpec


def peculiarities(
    config: BenchmarkConfig, trained: BenchmarkConfig, encoders: Sequence[EncoderSpec], tasks: Sequence[TaskSpec]
) -> list[str]:
    """What a user should know before the plan is run.

    Args:
        config: what is run.
        trained: the configuration under which the policies are, or were, trained.
        encoders: the encoders with their preprocessing.
        tasks: the tasks with the end of their demonstrations.
    """
    return [
        *_early_end(config, trained),
        *_preprocessing(config, encoders),
        *_repetitions(config),
        *_large_batches(trained, config.heads, tasks),
        *(
            f"The expert of {task.name} solves {100 * task.expert_success:.0f} % of starts; only solved ones "
            "demonstrate."
            for task in tasks
            if task.expert_success is not None
        ),
    ]


def _early_end(config: BenchmarkConfig, trained: BenchmarkConfig) -> list[str]:
    if config.success_rule != "last_step" or trained.demo_end != "first_success":
        return []
    text = (
        "Success counts at the last step, and demonstrations end at their first success: no policy is shown how to "
        "keep it. demo_end=full_horizon collects demonstrations that go on."
    )
    return [text]


def _preprocessing(config: BenchmarkConfig, encoders: Sequence[EncoderSpec]) -> list[str]:
    """Which encoders see another part of the frame than was asked for, and how a URI is read."""
    uncropped = [spec.name for spec in encoders if spec.modality == "image" and spec.image_size == 0]
    notes = [
        f"{spec.name} takes images {preprocessing_of(spec)}; mean=, std=, interpolation=, key= in its URI set that."
        for spec in encoders
        if is_uri(spec)
    ]
    if config.preprocessing == "official" and uncropped:
        notes.insert(0, f"{', '.join(uncropped)} see the whole frame: no preprocessing is published for them.")
    return notes


def _repetitions(config: BenchmarkConfig) -> list[str]:
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


def _large_batches(config: BenchmarkConfig, heads: Sequence[str], tasks: Sequence[TaskSpec]) -> list[str]:
    """Heads whose batches are larger than the smallest training set."""
    num_demos = min(config.num_demos)
    most = num_demos * max(task.horizon for task in tasks)
    return [
        f"train.batch_size={size} of {head} is more than the {most} frames that {num_demos} demonstrations have at "
        "most: each batch repeats frames."
        for head in dict.fromkeys(heads)
        if (size := config.train_of(head).batch_size) > most
    ]
