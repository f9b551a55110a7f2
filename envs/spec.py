"""What is known of a task without a simulator: plain data, importable in milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RenderMode = Literal["full", "lean"]
Split = Literal["demos", "selection", "test"]
EndRule = Literal["first_success", "hold", "full_horizon"]
ScenePart = Literal["table", "background", "objects", "workspace"]

# Initial states of a split, and demonstrations of a task, at most.
MAX_STATES = 1_000_000
# Raised whenever `lean` pictures change: they are another observation then.
LEAN_VERSION = 2
# Raised whenever a shipped look changes.
LOOKS_VERSION = 2


@dataclass(frozen=True, slots=True)
class DemoEnd:
    """Where a demonstration ends.

    Attributes:
        rule: `first_success` ends with the step that first solves the task; `hold` goes on for `hold_steps` more;
            `full_horizon` goes on to the task's horizon. Under the last two the task must be solved at the last step.
        hold_steps: steps after the first success; 0 unless the rule is `hold`.

    Raises:
        ValueError: `hold` without steps, or steps without `hold`.
    """

    rule: EndRule = "first_success"
    hold_steps: int = 0

    def __post_init__(self) -> None:
        if (self.rule == "hold") != (self.hold_steps > 0):
            raise ValueError(
                f"The end rule {self.rule!r} was given with {self.hold_steps} hold steps; 'hold' needs at least 1, "
                "the other rules 0. Write 'first_success', 'hold_<steps>' or 'full_horizon'."
            )

    def __str__(self) -> str:
        return f"hold_{self.hold_steps}" if self.rule == "hold" else self.rule

    @classmethod
    def parse(cls, text: str) -> DemoEnd:
        """The end that `first_success`, `hold_20` or `full_horizon` names.

        Raises:
            ValueError: it is written in another way.
        """
        if text == "first_success":
            return cls("first_success")
        if text == "full_horizon":
            return cls("full_horizon")
        found = re.fullmatch(r"hold_([1-9][0-9]{0,5})", text)
        if found is None:
            raise ValueError(
                f"{text!r} does not say where demonstrations end; write 'first_success', 'hold_<steps>' "
                "(such as 'hold_20') or 'full_horizon'."
            )
        return cls("hold", int(found[1]))


FIRST_SUCCESS = DemoEnd()


@dataclass(frozen=True, slots=True)
class Look:
    """How a scene is lit and coloured. It changes pictures alone, never the physics.

    Written `<axis>@<level>`, or `<axis>@<level>s<seed>` where the axis draws at random; `nominal` is the scene as the
    simulator has it.

    Attributes:
        axis: name of a row of `pvrbench.envs.looks.LOOKS`.
        level: strength, from 1; 0 for `nominal`.
        seed: of what the axis draws at random.
    """

    axis: str = "nominal"
    level: int = 0
    seed: int = 0

    def __str__(self) -> str:
        if self.level == 0:
            return self.axis
        return f"{self.axis}@{self.level}" + (f"s{self.seed}" if self.seed else "")

    @classmethod
    def parse(cls, text: str) -> Look:
        """The look that a text such as `light/brighter@2` names; the level is 1 where none is written.

        Raises:
            ValueError: it is written in another way.
        """
        if text == "nominal":
            return cls()
        found = re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_./-]*)(?:@([1-9])(?:s([0-9]{1,9}))?)?", text)
        if found is None or found[1] == "nominal":
            raise ValueError(
                f"{text!r} is not the name of a look; write 'nominal', '<axis>@<level>' (such as 'light/brighter@2') "
                "or '<axis>@<level>s<seed>'."
            )
        return cls(found[1], int(found[2] or 1), int(found[3] or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class LookSpec:
    """One row of the catalog of looks: one axis along which pictures change.

    Attributes:
        name: `<kind>/<variant>`.
        entry_point: `module:function`; the function is called as `apply(scene, rng, options)` with a
            `pvrbench.envs.pictures.looks.scene.LookScene`, a seeded `numpy.random.Generator` and the options of one
            level. It changes the scene in place: `scene.model` is an `mjModel` that physics does not use, and
            `scene.camera`, `scene.bodies` and `scene.filters` are the camera, further bodies and what is done to the
            finished picture.
        description: what changes, in one line.
        num_levels: levels of strength; level 1 is the weakest.
        options: for each option its values by level, as many as there are levels.
        needs: parts that a task must name in its `Scenery` for this look.
        members: names of rows that are applied one after another at the same level and seed; such a row needs no
            function of its own.
    """

    name: str
    entry_point: str = ""
    description: str
    num_levels: int = 1
    options: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, "tuple[float, ...]"])
    needs: tuple[ScenePart, ...] = ()
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LookSet:
    """Looks that stand for a published protocol.

    Attributes:
        name: of the set, which stands for its looks in `looks=[...]`.
        looks: their names.
        source: paper and code.
        deviations: where they differ from what was published.
    """

    name: str
    looks: tuple[str, ...]
    source: str
    deviations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workspace:
    """The top of a table, and the rectangle of it in which the robot works.

    Attributes:
        centre: of the rectangle, on the table's top, metres in the world.
        inner: half sides of the rectangle, which is kept free of foreign bodies.
        outer: half sides within which foreign bodies stand.
    """

    centre: tuple[float, float, float]
    inner: tuple[float, float]
    outer: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenery:
    """What a scene consists of, for looks. What is neither table, background nor robot is an object.

    Attributes:
        table: names of the bodies that are the table.
        background: names of the bodies that are floor and walls.
        workspace: where foreign bodies may stand; None where there is no room for them.
    """

    table: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    workspace: Workspace | None = None

    @property
    def parts(self) -> frozenset[ScenePart]:
        """The parts that looks can change."""
        there: dict[ScenePart, bool] = {
            "table": bool(self.table),
            "background": bool(self.background),
            "objects": bool(self.table and self.background),
            "workspace": self.workspace is not None,
        }
        return frozenset(part for part, is_there in there.items() if is_there)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How images are made.

    Attributes:
        camera: name of a camera of the task.
        image_px: side of the square image in pixels.
        render: `full` is the simulator's own picture; `lean` drops shadows, multi-sampling and
            reflections and decimates visual meshes. The two are never mixed in one comparison.
        look: a look's name, see `Look`; kept in its shortest form.

    Raises:
        ValueError: the look's name is written in another way.
    """

    camera: str
    image_px: int
    render: RenderMode
    look: str = "nominal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "look", str(Look.parse(self.look)))


# A task on which policies without images come as close to the oracle cannot rank encoders.
SMALLEST_ROOM = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the references reach on a task, as shares of episodes solved; `envs/measured.csv` holds the shipped ones.

    Attributes:
        num_demos: demonstrations of each policy.
        num_states: held-out initial states.
        num_seeds: training seeds.
        oracle: policies that read the simulator's state.
        proprio: policies that read proprioception alone.
        expert: the scripted expert.
    """

    num_demos: int
    num_states: int
    num_seeds: int
    oracle: float
    proprio: float
    expert: float

    def __str__(self) -> str:
        return f"{100 * self.oracle:.0f} / {100 * self.proprio:.0f} / {100 * self.expert:.0f}"

    @property
    def can_rank(self) -> bool:
        """Whether there is room for encoders between no image and the whole state."""
        return self.oracle - self.proprio >= SMALLEST_ROOM


@dataclass(frozen=True, slots=True)
class Quantity:
    """What some entries of the privileged state say.

    Attributes:
        name: `hand`, `object`, `goal`, `gripper`, ...
        start: first entry of the privileged state.
        stop: the entry behind the last one.
        unit: `m` for positions in metres, else empty.
    """

    name: str
    start: int
    stop: int
    unit: Literal["m", ""] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What tells apart tasks that share one scene.

    Attributes:
        scene: name of the scene; tasks of one scene have the same initial states and pictures, seed by seed.
        object: what the task is about, one of the objects of the scene.
        text: the wording that policies are trained with.
        paraphrases: other wordings, which are never trained with.
    """

    scene: str
    object: str
    text: str
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One row of the task catalog.

    Attributes:
        name: `<suite>/<task>`.
        entry_point: `module:function` that takes the spec and returns a `Task`.
        description: what the robot has to do, in one line; also the instruction where there is no other.
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
        demo_end: where demonstrations end.
        revision: raised when what the task shows or does is corrected; demonstrations of another revision are refused.
        expert_success: share of random starts that the expert solves, where it was measured to be less than 95 %.
        measured: what the references reach on it; None where it was not measured.
        options: constructor data of the adapter.
        quantities: parts of the privileged state that have a name, for linear probes; empty where nobody named them.
        scenery: what the scene consists of; None where nobody said, and looks that need it cannot be had.
        instruction: what tells it apart from other tasks in the same scene; None where it has the scene for itself.
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
    demo_end: DemoEnd = FIRST_SUCCESS
    revision: int = 0
    expert_success: float | None = None
    measured: Measured | None = None
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
    quantities: tuple[Quantity, ...] = ()
    scenery: Scenery | None = None
    instruction: Instruction | None = None
