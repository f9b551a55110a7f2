"""What is known of a task without a simulator: plain data, importable in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RenderMode = Literal["full", "lean"]
Split = Literal["demos", "selection", "test"]

# Raised whenever `lean` pictures change: they are another observation then.
LEAN_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How images are made.

    Attributes:
        camera: name of a camera of the task.
        image_px: side of the square image in pixels.
        render: `full` is the simulator's own picture; `lean` drops shadows, multi-sampling and
            reflections and decimates visual meshes. The two are never mixed in one comparison.
    """

    camera: str
    image_px: int
    render: RenderMode


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One row of the task catalog.

    Attributes:
        name: `<suite>/<task>`.
        entry_point: `module:function` that takes the spec and returns a `Task`.
        description: what the robot has to do, in one line; also the language instruction.
        horizon: control steps after which an episode has failed.
        control_hz: control steps a second.
        cameras: names of the cameras that `View` may ask for; the first is the default.
        proprio_dim: width of the proprioception vector.
        state_dim: width of the privileged state vector; 0 where the task has none.
        action_dim: width of the action, each entry in [-1, 1].
        success_rule: in words, what `info["success"]` means.
        packages: distributions whose versions determine the physics and pictures.
        demo_noise: standard deviation of the noise that disturbs the executed actions while demonstrations are
            collected; what is recorded is the expert's own action.
        expert_success: share of random starts that the expert solves, where it was measured to be less than 95 %.
        options: constructor data of the adapter.
    """

    name: str
    entry_point: str
    description: str
    horizon: int
    control_hz: int
    cameras: tuple[str, ...]
    proprio_dim: int
    state_dim: int
    action_dim: int
    success_rule: str
    packages: tuple[str, ...]
    demo_noise: float = 0.0
    expert_success: float | None = None
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
