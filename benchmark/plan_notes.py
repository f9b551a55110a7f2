"""What a plan tells its user: what its results cannot show, and settings that are allowed and probably not meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pvrbench.benchmark.config import AXES, BenchmarkConfig
from pvrbench.benchmark.records.keys import NOMINAL
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.statement import is_uri, preprocessing_of
from pvrbench.encoders.weights.location import absent_files, weights_dir
from pvrbench.envs.instructed import instruction_of
from pvrbench.envs.looks import LOOK_SETS
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
        *_scenes(config, tasks),
        *_seeds(trained),
        *_pretrained(encoders, tasks),
        *_little_room(tasks),
        *_preprocessing(config, encoders),
        *_absent_weights(encoders),
        *_repetitions(config),
        *_looks(config),
        *_large_batches(trained, config.heads, tasks),
        *(
            f"The expert of {task.name} solves {100 * task.expert_success:.0f} % of starts; only solved ones "
            "demonstrate."
            for task in tasks
            if task.expert_success is not None
        ),
    ]


def _scenes(config: BenchmarkConfig, tasks: Sequence[TaskSpec]) -> list[str]:
    """Whether pictures tell the tasks apart, so that instructions add nothing."""
    scenes = [instruction_of(task).scene for task in tasks]
    if not config.text_encoders or len(set(scenes)) < len(scenes):
        return []
    text = (
        "Each task of this run has a scene of its own, so the picture says what to do: this is multi-task training, "
        "and says nothing about language."
    )
    return [text]


def _early_end(config: BenchmarkConfig, trained: BenchmarkConfig) -> list[str]:
    if config.success_rule != "last_step" or trained.demo_end != "first_success":
        return []
    text = (
        "Success counts at the last step, and demonstrations end at their first success: no policy is shown how to "
        "keep it. demo_end=full_horizon collects demonstrations that go on."
    )
    return [text]


def _seeds(config: BenchmarkConfig) -> list[str]:
    """What seeds and demonstrations do not allow to conclude."""
    most = max(config.num_demos)
    if len({*config.seeds}) == 1:
        return ["There is one training seed, so no ranks are given. seeds=[0,1,2] asks for three."]
    if 2 * most <= config.demo_pool:
        return []
    text = (
        f"N = {most} and a pool of {config.demo_pool} demonstrations: any two training seeds share "
        f"{most / config.demo_pool:.0%} of them on average, so intervals are conditional on the pool. "
        f"demo_pool={2 * most} gives each seed more of its own."
    )
    return [text]


def _pretrained(encoders: Sequence[EncoderSpec], tasks: Sequence[TaskSpec]) -> list[str]:
    """Encoders that saw pictures of a task before."""
    known: dict[tuple[str, ...], list[str]] = {}
    for spec in encoders:
        seen = tuple(task.name for task in tasks if task.name in spec.pretraining_tasks)
        known.setdefault(seen, []).append(spec.name)
    return [
        f"Pretrained on pictures of {', '.join(seen)}: {', '.join(names)}. They get curves but no rank in this run."
        for seen, names in known.items()
        if seen
    ]


def _little_room(tasks: Sequence[TaskSpec]) -> list[str]:
    """Tasks on which encoders can hardly differ."""
    return [
        f"{task.name} can hardly rank encoders: policies without images solve {found.proprio:.0%} of it and the "
        f"oracle {found.oracle:.0%} (N = {found.num_demos}, {found.num_states} states, {found.num_seeds} "
        f"seed{'s' * (found.num_seeds > 1)})."
        for task in tasks
        if (found := task.measured) and not found.can_rank
    ]


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


def _absent_weights(encoders: Sequence[EncoderSpec]) -> list[str]:
    """Encoders whose weights a run would not find, with the files."""
    absent = {spec.name: files for spec in encoders if (files := absent_files(spec))}
    if not absent:
        return []
    listed = "; ".join(f"{name} lacks {', '.join(files)}" for name, files in absent.items())
    text = (
        f"These weights are neither in {weights_dir()} nor in the caches of other tools, and the run needs them: "
        f"{listed}. `pvrbench weights fetch {' '.join(absent)}` gets them."
    )
    return [text]


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


def _looks(config: BenchmarkConfig) -> list[str]:
    """What is evaluated beside the looks that were named, and where sets of looks leave what was published."""
    notes = [
        f"looks={name} stands for {', '.join(row.looks)} ({row.source}). Differences: {'; '.join(row.deviations)}."
        for name in dict.fromkeys(config.looks)
        if (row := LOOK_SETS.get(name))
    ]
    if config.train_looks != (NOMINAL,):
        notes.append(
            f"Policies learn from demonstrations under {', '.join(config.train_looks)}, in turns, and are tried under "
            "other looks too. Reports keep them apart from policies of other training looks."
        )
    if NOMINAL not in config.looks:
        notes.append("The nominal look is evaluated as well: changed looks are reported against it.")
    return notes


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
