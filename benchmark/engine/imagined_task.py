"""What imaginations share on a task: trajectories, pairs, environments; and on an encoder: tokens of all frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pvrbench.benchmark.engine.context import RunContext, load_task
from pvrbench.benchmark.engine.features import NonFiniteError, TileEncoder, demo_features
from pvrbench.benchmark.imagination.config import ImaginationConfig
from pvrbench.benchmark.imagination.latents import pooled_tokens
from pvrbench.benchmark.imagination.pairs import Pair, make_pairs
from pvrbench.benchmark.imagination.plan import ImaginationJob
from pvrbench.envs.base import Array, Observation, Task, TaskEnv
from pvrbench.envs.demos.straying import observe_states
from pvrbench.envs.demos.trajectories import (
    Trajectories,
    TrajectorySettings,
    load_trajectories,
    load_trajectory_frames,
)
from pvrbench.envs.spec import Split, View


@dataclass
class TaskMaterial:
    """What encoders share on one task.

    Attributes:
        task: the task.
        settings: of the imaginations.
        context: caches and listener.
    """

    task: Task
    settings: ImaginationConfig
    context: RunContext

    @cached_property
    def train(self) -> Trajectories:
        """The training trajectories."""
        return self._trajectories("demos", self.settings.num_trajectories)

    @cached_property
    def test(self) -> Trajectories:
        """The held-out trajectories."""
        return self._trajectories("selection", self.settings.num_test_trajectories)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Starts and goals."""
        return make_pairs(self.task, self.settings.num_pairs, self.settings.goal_steps)

    @cached_property
    def env(self) -> TaskEnv:
        """An environment that renders nothing."""
        return self.task.make_env(None)

    def close(self) -> None:
        """Frees the environment."""
        if "env" in self.__dict__:
            self.env.close()

    def _trajectories(self, split: Split, number: int) -> Trajectories:
        settings = TrajectorySettings(
            split=split,
            num_trajectories=number,
            num_blocks=self.settings.num_blocks,
            block_steps=self.settings.block_steps,
            noise=self.settings.noise,
        )
        listener = self.context.listener
        listener.stage(f"{self.task.spec.name}: trajectories", number)
        return load_trajectories(self.task, settings, self.context.cache_dir, listener.advance)


@dataclass(frozen=True, slots=True)
class TrajectoryFrames:
    """Pictures of all instants, memory-mapped.

    Attributes:
        train: of the training trajectories.
        test: of the held-out trajectories.
    """

    train: list[UInt8[Array, "N H W 3"]]
    test: list[UInt8[Array, "N H W 3"]]


@dataclass
class EncodedTask:
    """An encoder on a task: what it says of frames, as tokens before they are reduced.

    Attributes:
        item: encoder, view and settings.
        material: the task.
        seeing: environments that render, by view; shared with other encoders.
    """

    item: ImaginationJob
    material: TaskMaterial
    seeing: dict[View, TaskEnv] = field(default_factory=dict["View", "TaskEnv"])

    @cached_property
    def frames(self) -> TrajectoryFrames | None:
        """Pictures of all trajectories; None where the encoder reads none."""
        view, material = self.item.job.view, self.material
        if view is None:
            return None
        context = material.context

        def load(trajectories: Trajectories) -> list[UInt8[Array, "N H W 3"]]:
            context.listener.stage(f"{self.item.key.task}: rendering trajectories", len(trajectories))
            return load_trajectory_frames(
                material.task, trajectories, view, context.cache_dir, context.listener.advance
            )

        return TrajectoryFrames(load(material.train), load(material.test))

    @cached_property
    def train(self) -> Float[Tensor, "E N P C"]:
        """Tokens of the training trajectories."""
        return self._all(self.material.train, None if self.frames is None else self.frames.train)

    @cached_property
    def test(self) -> Float[Tensor, "E N P C"]:
        """Tokens of the held-out trajectories."""
        return self._all(self.material.test, None if self.frames is None else self.frames.test)

    @property
    def features_key(self) -> str:
        """What moves the last bits of the features."""
        return self._tiles.key("")

    def look(self, items: Sequence[tuple[int, Array]]) -> Float[Tensor, "B P C"]:
        """Tokens of simulator states, each given with the reset seed of its episode."""
        view = self.item.job.view
        env = self.material.env if view is None else self._seeing(view)
        seen: list[Observation] = []
        for seed, group in groupby(items, key=lambda item: item[0]):
            seen += observe_states(env, seed, [state for _, state in group])
        return self.tokens(seen)

    def tokens(self, seen: Sequence[Observation]) -> Float[Tensor, "B P C"]:
        """Tokens of what is seen."""
        if self.item.job.encoder.modality == "image":
            return self._pooled(self._tiles.encode(np.stack([each["image"] for each in seen]))["grid"])
        states, proprio = (np.stack([each[name] for each in seen]) for name in ("state", "proprio"))
        return torch.from_numpy(self._columns(states, proprio))[:, None]

    @cached_property
    def _tiles(self) -> TileEncoder:
        job = self.item.job
        return self.material.context.encoders.tiles(job.encoder, job.adaptation, job.config.image_px, keep_raw=False)

    def _all(self, trajectories: Trajectories, images: list[UInt8[Array, "N H W 3"]] | None) -> Tensor:
        if images is None:
            return torch.from_numpy(self._columns(trajectories.privileged, trajectories.proprio))[:, :, None]
        context, tokens = self.material.context, list[Tensor]()
        context.listener.stage(f"{self.item.key.task}: {self.item.key.encoder}: encoding", len(images))
        for found in demo_features(self._tiles, context.features, images):
            if isinstance(found, NonFiniteError):
                raise found
            if found.compact.grid is not None:
                tokens.append(self._pooled(found.compact.grid))
            context.listener.advance(1)
        return torch.stack(tokens)

    def _pooled(self, grid: Float[Tensor, "N C h w"]) -> Float[Tensor, "N P C"]:
        return pooled_tokens(grid, self.item.imagination.grid_side)

    def _columns(self, privileged: Array, proprio: Array) -> Array:
        """The named quantities of the state, or proprioception, for encoders that read no pictures."""
        if self.item.job.encoder.modality == "nothing":
            return proprio
        named = self.material.task.spec.quantities
        columns = [column for item in named for column in range(item.start, item.stop)]
        return privileged[..., columns] if columns else privileged

    def _seeing(self, view: View) -> TaskEnv:
        if view not in self.seeing:
            self.seeing[view] = self.material.task.make_env(view)
        return self.seeing[view]


class PreparedTasks:
    """The material of tasks; that of the last task and encoder is kept. Use as a context manager.

    Args:
        context: caches, encoders and listener.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._material: tuple[str, TaskMaterial] | None = None
        self._encoded: tuple[str, EncodedTask] | None = None
        self._seeing: dict[View, TaskEnv] = {}

    def __enter__(self) -> PreparedTasks:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def material(self, item: ImaginationJob) -> TaskMaterial:
        """What encoders share on a job's task."""
        name = item.job.task.name
        if self._material is None or self._material[0] != name:
            self._close()
            self._material = name, TaskMaterial(load_task(item.job.task), item.imagination, self._context)
        return self._material[1]

    def encoded(self, item: ImaginationJob) -> EncodedTask:
        """What a job's encoder says of it."""
        if self._encoded is None or self._encoded[0] != item.job.name:
            self._encoded = item.job.name, EncodedTask(item, self.material(item), self._seeing)
        return self._encoded[1]

    def _close(self) -> None:
        for env in self._seeing.values():
            env.close()
        self._seeing, self._encoded = {}, None
        if self._material is not None:
            self._material[1].close()
            self._material = None
