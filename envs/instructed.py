"""Tasks in one scene that instructions tell apart: rows of the catalog, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping

from pvrbench.envs.spec import Instruction, TaskSpec

ROBOSUITE_CAMERAS = ("agentview", "frontview", "sideview", "birdview", "robot0_eye_in_hand")
"""Cameras of robosuite's scenes on a table."""


def instruction_of(task: TaskSpec) -> Instruction:
    """The instruction of a task; one that has its scene for itself is told what it is about."""
    return task.instruction or Instruction(scene=task.name, object="", text=task.description)


def _row(name: str, environment: str, instruction: Instruction, *, horizon: int, state_dim: int, rule: str) -> TaskSpec:
    return TaskSpec(
        name=f"language/{name}",
        entry_point="pvrbench.envs.simulators.robosuite_instructed:load_task",
        description=f"{instruction.text}; one of several tasks in the scene {instruction.scene}",
        horizon=horizon,
        control_hz=20,
        # The bins come without a camera from the side.
        cameras=tuple(camera for camera in ROBOSUITE_CAMERAS if (environment, camera) != ("FourObjects", "sideview")),
        proprio_dim=9,
        state_dim=state_dim,
        action_dim=7,
        success_rule=rule,
        packages=("robosuite", "mujoco", "numpy"),
        demo_noise=0.1,
        options={"environment": environment},
        instruction=instruction,
    )


def _touch(colour: str) -> TaskSpec:
    instruction = Instruction(
        scene="coloured_row",
        object=colour,
        text=f"touch the {colour} cube",
        paraphrases=(
            f"put your hand on the {colour} block",
            f"reach for the {colour} one",
            f"move the gripper to the cube that is {colour}",
        ),
    )
    rule = "the named cube lies between the fingers, and no other was touched or moved before"
    return _row(f"touch_{colour}", "ColouredRow", instruction, horizon=80, state_dim=33, rule=rule)


def _place(name: str, noun: str) -> TaskSpec:
    instruction = Instruction(
        scene="four_objects",
        object=name,
        text=f"put the {noun} into its compartment",
        paraphrases=(
            f"take the {noun} and place it in the other bin",
            f"please sort the {noun}",
            f"the {noun} belongs in its box, move it there",
        ),
    )
    rule = "the named object lies in its own compartment and the gripper is away"
    return _row(f"place_{name}", "FourObjects", instruction, horizon=300, state_dim=45, rule=rule)


def _stack(cube: str, base: str) -> TaskSpec:
    instruction = Instruction(
        scene="two_cubes",
        object=cube,
        text=f"put the {cube} cube on the {base} one",
        paraphrases=(
            f"stack the {cube} block on top of the {base} block",
            f"the {base} cube should carry the {cube} cube",
            f"build a tower with {cube} above {base}",
        ),
    )
    rule = "the named cube is lifted, lies on the other one and is let go"
    return _row(f"stack_{cube}_on_{base}", "Stack", instruction, horizon=200, state_dim=30, rule=rule)


_ROWS = (
    *(_touch(colour) for colour in ("red", "green", "blue", "yellow")),
    *(
        _place(name, noun)
        for name, noun in (("milk", "milk"), ("bread", "bread"), ("cereal", "cereal box"), ("can", "can"))
    ),
    *(_stack(cube, base) for cube, base in (("red", "green"), ("green", "red"))),
)

INSTRUCTED_TASKS: Mapping[str, TaskSpec] = {row.name: row for row in _ROWS}
