"""Instructions in a plan: one policy for all tasks of a run, the wordings that it is given, and what is refused."""

from __future__ import annotations

import pytest

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import ConfigError
from pvrbench.benchmark.plan import Plan, make_plan
from pvrbench.benchmark.records.keys import Cell, EvalKey, TrainKey

ROW = ("tasks=[coloured_row]", "encoders=[oracle]", "baselines=[]", "num_demos=[5]", "seeds=[0]")


def plan_of(*overrides: str) -> Plan:
    return make_plan(compose_config([*ROW, *overrides]))


def test_one_policy_learns_all_tasks_and_is_tried_in_each() -> None:
    cells = plan_of("text_encoders=[one_hot]").cells
    names = tuple(f"language/touch_{colour}" for colour in ("red", "green", "blue", "yellow"))
    assert {cell.train.tasks for cell in cells} == {names}
    assert len(dict.fromkeys(cell.train for cell in cells)) == 1
    assert [(cell.task, cell.instruction, cell.wording) for cell in cells] == [
        (name, f"touch the {name.rpartition('_')[2]} cube", "") for name in names
    ]


def test_without_a_text_encoder_each_task_has_a_policy_of_its_own() -> None:
    cells = plan_of().cells
    assert len(dict.fromkeys(cell.train for cell in cells)) == len(cells) == 4
    assert all((cell.instruction, cell.text_encoder, cell.conditioning) == ("", "", "") for cell in cells)


def test_text_encoders_conditionings_and_wordings_are_axes() -> None:
    axes = "text_encoders=[one_hot,constant]", "conditionings=[concat,film]", "wordings=[trained,paraphrases,swapped]"
    cells = plan_of(*axes).cells
    assert len(dict.fromkeys(cell.train for cell in cells)) == 4
    assert len(cells) == 4 * 4 * 5
    blue = {(cell.wording, cell.instruction) for cell in cells if cell.task == "language/touch_blue"}
    assert ("swapped", "touch the yellow cube") in blue
    assert ("paraphrase", "reach for the blue one") in blue
    assert len(blue) == 5


def test_an_instruction_of_ones_own_names_the_object_of_each_task() -> None:
    cells = plan_of("text_encoders=[minilm]", 'wordings=["go to the {object} thing"]').cells
    assert {cell.wording for cell in cells} == {"given"}
    assert [cell.instruction for cell in cells][2] == "go to the blue thing"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            ["text_encoders=[minilm]", 'wordings=["touch the purple cube"]'],
            r"'touch the purple cube' names none of the objects that are there: red, green, blue, yellow\. Name one",
        ),
        (["text_encoders=[minilm]", 'wordings=["  "]'], r"an empty instruction says nothing\. Write a text"),
        (["text_encoders=[minilm]", 'wordings=[""]'], r"wordings\.0='' is not valid"),
        (
            ["text_encoders=[one_hot]", 'wordings=["go to the {object} thing"]'],
            r"cannot be embedded by text encoder 'one_hot', which knows the wordings of its tasks alone",
        ),
        (["wordings=[swapped]"], r"no policy of this run is told any\. Name a text encoder"),
        (
            ["text_encoders=[one_hot]", "tasks=[language/touch_red]", "wordings=[swapped]"],
            r"'swapped' needs another task beside language/touch_red",
        ),
        (
            ["text_encoders=[one_hot]", "tasks=[coloured_row,two_cubes]"],
            r"language/touch_red and language/stack_red_on_green differ in state_dim \(33 and 30\)\. Run them apart",
        ),
        (["text_encoders=[one_hot]", "adaptations=[lora]"], r"do not go together: instructed policies read frozen"),
        (["text_encoders=[one_hot]", "engine.keep_policies=false"], r"the tasks share one trained policy"),
        (["text_encoders=[one_hot]", "conditionings=[sum]"], r"conditionings\.0='sum' is not valid"),
        (["text_encoders=[one_hot]", "num_demos=[60]"], r"num_demos=60 is more than the 50 demonstrations of the pool"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_line(overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        plan_of(*overrides)
    assert "\n" not in str(caught.value)


def test_tasks_with_scenes_of_their_own_say_nothing_about_language() -> None:
    notes = make_plan(compose_config(["tasks=[mt10]", "encoders=[oracle]", "text_encoders=[one_hot]"])).notes
    assert any("has a scene of its own, so the picture says what to do" in note for note in notes)
    assert not any("scene of its own" in note for note in plan_of("text_encoders=[one_hot]").notes)


def test_cells_without_instructions_are_named_as_before() -> None:
    """The keys of earlier records do not change because a policy may be told something."""
    train = TrainKey(tasks=("a/b",), camera="c", encoder="e", readout="r", head="h", num_demos=1, seed=0)
    cell = Cell(train=train, evaluation=EvalKey(task="a/b", camera="c"))
    assert set(cell.train.model_dump()) == {
        *("tasks", "camera", "encoder", "adaptation", "readout", "head", "num_demos", "seed")
    }
    assert set(cell.evaluation.model_dump()) == {"task", "instruction", "camera", "look", "split"}
    told = cell.model_copy(update={"train": train.model_copy(update={"text_encoder": "minilm"})})
    assert told.key != cell.key
