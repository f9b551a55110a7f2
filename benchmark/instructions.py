"""What policies are told: the wordings of a run, and which tasks one policy can learn together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pvrbench.benchmark.config import ConfigError
from pvrbench.encoders.text.spec import TextEncoderSpec
from pvrbench.envs.instructed import instruction_of
from pvrbench.envs.spec import TaskSpec

# What one policy needs alike in all of its tasks.
ALIKE = ("action_dim", "proprio_dim", "state_dim", "control_hz")


@dataclass(frozen=True, slots=True)
class Wording:
    """An instruction that is given in rollouts.

    Attributes:
        kind: `paraphrase`, `swapped` or `given`; empty for the wording of the training.
        text: the instruction.
    """

    kind: str
    text: str


def check_alike(taught: Sequence[TaskSpec]) -> None:
    """Refuses tasks that one policy cannot learn together.

    Raises:
        ConfigError: their vectors are of different widths, or their default cameras differ.
    """
    first = taught[0]
    for task in taught[1:]:
        pairs = {name: (getattr(first, name), getattr(task, name)) for name in ALIKE}
        pairs["default camera"] = (first.cameras[0], task.cameras[0])
        for name, (one, other) in pairs.items():
            if one != other:
                raise ConfigError(
                    f"With text_encoders one policy learns all tasks of a run, and {first.name} and {task.name} differ "
                    f"in {name} ({one} and {other}). Run them apart."
                )


def wordings_of(
    task: TaskSpec, taught: Sequence[TaskSpec], names: Sequence[str], text_encoder: TextEncoderSpec
) -> list[Wording]:
    """The instructions that a policy is given in a task, each once.

    Args:
        task: the evaluated task.
        taught: the tasks that the policy learns, in order.
        names: `trained`, `paraphrases`, `swapped`, or texts in which `{object}` stands for the task's object.
        text_encoder: how they are embedded.

    Raises:
        ConfigError: a text is empty, names no object of the scene or cannot be embedded, or there is no other task.
    """
    own, found = instruction_of(task), list[Wording]()
    for name in names:
        if name == "trained":
            found.append(Wording("", own.text))
        elif name == "paraphrases":
            found += [Wording("paraphrase", text) for text in own.paraphrases]
        elif name == "swapped":
            found.append(Wording("swapped", _of_the_next(task, taught)))
        else:
            found.append(Wording("given", _given(name, task, taught, text_encoder)))
    return list(dict.fromkeys(found))


def _of_the_next(task: TaskSpec, taught: Sequence[TaskSpec]) -> str:
    names = [each.name for each in taught]
    if len(names) < 2:
        raise ConfigError(f"wordings: 'swapped' needs another task beside {task.name}. Add one to tasks.")
    return instruction_of(taught[(names.index(task.name) + 1) % len(names)]).text


def _given(text: str, task: TaskSpec, taught: Sequence[TaskSpec], text_encoder: TextEncoderSpec) -> str:
    if not text.strip():
        raise ConfigError("wordings: an empty instruction says nothing. Write a text, or trained.")
    if not text_encoder.reads_words:
        raise ConfigError(
            f"wordings: {text!r} cannot be embedded by text encoder {text_encoder.name!r}, which knows the wordings of "
            "its tasks alone. Use trained, paraphrases or swapped, or a text encoder that reads words."
        )
    objects = [name for each in taught if (name := instruction_of(each).object)]
    filled = text.replace("{object}", instruction_of(task).object)
    if objects and not any(name in filled.lower().split() for name in objects):
        raise ConfigError(
            f"wordings: {text!r} names none of the objects that are there: {', '.join(objects)}. Name one of them, or "
            "write {object} for the object of each task."
        )
    return filled
