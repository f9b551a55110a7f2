"""What a plan does with looks: the nominal one beside them, published sets, and looks that a task cannot have."""

from __future__ import annotations

import pytest

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import ConfigError
from pvrbench.benchmark.engine import identity
from pvrbench.benchmark.engine.identity import look_digest, train_looks_digest
from pvrbench.benchmark.engine.probing import probe_digest
from pvrbench.benchmark.plan import Plan, make_plan
from pvrbench.benchmark.probe_plan import make_probe_plan
from pvrbench.envs.catalog import TASKS

SMALL = ["preset=quickstart", "encoders=[pixels_7]", "baselines=[]"]


def planned(*overrides: str) -> Plan:
    return make_plan(compose_config([*SMALL, *overrides]))


def looks_of(plan: Plan, task: str) -> list[str]:
    return list(dict.fromkeys(cell.look for cell in plan.cells if cell.task == task))


def test_the_nominal_look_is_evaluated_beside_every_other_one() -> None:
    plan = planned("tasks=[metaworld/assembly-v3]", "looks=[light/darker@2,camera/position]")
    assert looks_of(plan, "metaworld/assembly-v3") == ["nominal", "light/darker@2", "camera/position@1"]
    assert any("The nominal look is evaluated as well" in note for note in plan.notes)
    assert not any("nominal look" in note for note in planned("tasks=[metaworld/assembly-v3]").notes)


def test_a_published_set_stands_for_its_looks_and_says_where_it_deviates() -> None:
    plan = planned("tasks=[metaworld/assembly-v3]", "looks=[burns]")
    looks = looks_of(plan, "metaworld/assembly-v3")
    assert len(looks) == 11
    assert looks[0] == "nominal"
    (note,) = [note for note in plan.notes if note.startswith("looks=burns")]
    assert "the shifted scenes were not released" in note


def test_a_look_that_a_task_cannot_have_is_refused_where_it_was_named_and_left_out_of_sets() -> None:
    tasks = "tasks=[robosuite/pick_place_can,robosuite/lift]"
    with pytest.raises(ConfigError, match="pick_place_can cannot have the look distractors@2") as refused:
        planned(tasks, "looks=[burns,distractors@2]")
    assert "\n" not in str(refused.value)
    plan = planned(tasks, "looks=[burns]")
    assert not any(look.startswith("distractors") for look in looks_of(plan, "robosuite/pick_place_can"))
    assert "distractors@3" in looks_of(plan, "robosuite/lift")
    assert any("robosuite/pick_place_can cannot have the look distractors@3" in note for note in plan.notes)


def test_training_looks_are_refused_without_saying_where_policies_are_tried() -> None:
    with pytest.raises(ConfigError, match="was given without looks") as refused:
        planned("tasks=[metaworld/assembly-v3]", "train_looks=[light/darker@2]")
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="train_looks: 'light/darker@7' asks for level 7"):
        planned("tasks=[metaworld/assembly-v3]", "train_looks=[light/darker@7]", "looks=[nominal]")
    with pytest.raises(ConfigError, match="train_looks: robosuite/pick_place_can cannot have the look distractors@1"):
        planned("tasks=[robosuite/pick_place_can]", "train_looks=[distractors]", "looks=[nominal]")


def test_training_looks_are_settings_of_their_own_and_nominal_ones_change_no_identity() -> None:
    task = "tasks=[metaworld/assembly-v3]"
    varied = planned(task, "train_looks=[nominal,light/darker]", "looks=[nominal]").jobs[0]
    plain = planned(task, "looks=[nominal]").jobs[0]
    assert varied.train_looks == ("nominal", "light/darker@1")
    (name,) = varied.heads
    assert varied.settings[name].of_training["train_looks"] == ["nominal", "light/darker@1"]
    assert "train_looks" not in plain.settings[name].of_training
    assert plain.settings[name].differences(varied.settings[name]) == ["train_looks"]
    assert train_looks_digest(plain) == ""
    assert train_looks_digest(varied)
    assert any(item.of == "train_looks" for item in varied.settings[name].deviations)


def test_a_look_is_identified_by_what_it_does_and_by_what_it_does_it_to() -> None:
    assembly, lift = TASKS["metaworld/assembly-v3"], TASKS["robosuite/lift"]
    found = [look_digest("table_texture/red_wood@1", task) for task in (assembly, lift)]
    assert len({*found}) == 2
    assert look_digest("light/darker@1", assembly) == look_digest("light/darker@1", lift)
    assert look_digest("light/darker@1", assembly) != look_digest("light/brighter@1", assembly)
    assert look_digest("nominal", assembly) == ""


def test_a_probe_that_uses_looks_is_another_one_when_they_draw_other_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose_config(
        [*SMALL, "tasks=[metaworld/assembly-v3]", "readouts=[grid_pca]", "probes=[correspondence,state_regression]"]
    )

    def digests() -> dict[str, str]:
        return {item.probe.name: probe_digest(item) for item in make_probe_plan(config).jobs}

    before = digests()
    monkeypatch.setattr(identity, "LOOKS_VERSION", identity.LOOKS_VERSION + 1)
    after = digests()
    assert before["correspondence"] != after["correspondence"]
    assert before["state_regression"] == after["state_regression"]


def test_probes_measure_nominal_demonstrations() -> None:
    config = compose_config(
        [*SMALL, "tasks=[metaworld/assembly-v3]", "train_looks=[light/darker@2]", "looks=[nominal]"]
    )
    with pytest.raises(ConfigError, match="Probes measure features of nominal demonstrations"):
        make_probe_plan(config)
