from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pvrbench.benchmark.catalog import UnknownNameError, encoders, expand_tasks
from pvrbench.benchmark.composition import check_end, compose_config, compose_evaluation, preset_names
from pvrbench.benchmark.config import ConfigError, validate_config
from pvrbench.benchmark.plan import make_plan
from pvrbench.benchmark.plan_notes import peculiarities
from pvrbench.benchmark.records.schema import Settings
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.spec import Measured

SMALL = ["tasks=[metaworld/assembly-v3]", "encoders=[oracle,pixels_14]", "readouts=[grid4]", "num_demos=[5,10]"]


def test_lists_with_slashes_and_references_are_read_as_printed() -> None:
    config = compose_config(["preset=quickstart", *SMALL, "seeds=[0,1,2]", "num_episodes=50"])
    assert config.preset == "quickstart"
    assert config.tasks == ("metaworld/assembly-v3",)
    assert config.num_demos == (5, 10)
    assert config.num_episodes == 50


@pytest.mark.parametrize("name", ["study/a", "v[2]", "café", "a b", "it's", "v#2", "${oc.env:HOME}"])
def test_a_run_has_the_name_that_was_typed_in_the_folder_of_runs(name: str) -> None:
    assert compose_config([f"name={name}"]).output_dir == Path("results") / "runs" / name


def test_one_name_may_stand_for_a_list() -> None:
    config = compose_config(["tasks=metaworld5", "encoders=oracle", "num_demos=5"])
    assert len({cell.task for cell in make_plan(config).cells}) == 5


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_valid(preset: str) -> None:
    assert compose_config([f"preset={preset}"]).preset == preset


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("preset=quickstrat", "Unknown preset 'quickstrat'. Did you mean 'quickstart'?"),
        ("num_demo=[5]", "Unknown setting 'num_demo'. Did you mean 'num_demos'?"),
        ("num_demos=[-5]", "num_demos.0=-5 is not valid"),
        ("num_demos=[]", "num_demos=[] is not valid"),
        ("num_demos=[80]", "num_demos=80 is more than the 50 demonstrations of the pool"),
        ("render=ful", "render='ful' is not valid: input should be 'full' or 'lean'"),
        ("train.learning_rate=nan", "train.learning_rate=nan is not valid"),
        ("checkpoint_evaluations=9000000", "checkpoint_evaluations=9000000 is more than train.num_updates="),
        ("history=3", "history=3 and fusion=none do not go together"),
        ("num_demos", "'num_demos' is not a setting. Write key=value"),
        ("engine.device=gpu", "engine.device='gpu' is not valid: it is not a device; write auto, cpu, cuda or"),
        ("engine.device=mps", "engine.device='mps' is not valid: it is not a device"),
        ("engine.device=cpu:0", "engine.device='cpu:0' is not valid: it is not a device"),
        ("name=..", "name='..' is not valid: it is the name of a folder in results/runs"),
        ("name=../../x", "name='../../x' is not valid: it is the name of a folder in results/runs"),
        ("name=/tmp/x", "name='/tmp/x' is not valid: it is the name of a folder in results/runs"),
        (f"name={'é' * 200}", "a name of 400 bytes is too long for a folder"),
        ("tasks=[metaworld/assembly-v3", "Cannot read the settings"),
    ],
)
def test_bad_settings_are_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config([override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoders=[pixel_14]", "Unknown encoder 'pixel_14'. Did you mean 'pixels_14'?"),
        ("tasks=[metaworld/asembly-v3]", "Unknown task 'metaworld/asembly-v3'. Did you mean 'metaworld/assembly-v3'?"),
        ("heads=[gnm]", "Unknown head 'gnm'. Did you mean 'gmm'?"),
        ("readouts=[class_tokn]", "Unknown readout 'class_tokn'. Did you mean 'class_token'?"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(override: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        make_plan(compose_config([*SMALL, override]))
    assert message in str(caught.value)


def test_a_camera_that_a_task_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match="has no camera 'moon'"):
        make_plan(compose_config([*SMALL, "cameras=[moon]"]))


def test_a_task_without_simulator_state_has_no_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    stateless = replace(TASKS["metaworld/assembly-v3"], name="metaworld/stateless", state_dim=0)
    monkeypatch.setitem(TASKS, stateless.name, stateless)  # pyright: ignore[reportArgumentType] - a dictionary
    with pytest.raises(ConfigError, match="reads the simulator's state, and task 'metaworld/stateless' offers none"):
        make_plan(compose_config([*SMALL, "tasks=[metaworld/stateless]"]))
    plan = make_plan(compose_config([*SMALL, "tasks=[metaworld/stateless]", "encoders=[pixels_14]"]))
    assert "oracle" not in {job.encoder.name for job in plan.jobs}
    assert "metaworld/stateless offers no simulator state; oracle is left out there." in plan.notes


def test_the_baselines_of_the_standard_protocol_hold_one_that_is_not_frozen() -> None:
    plan = make_plan(compose_config(["encoders=[pixels_7]"]))
    names = {job.encoder.name for job in plan.jobs}
    assert {"expert", "oracle", "proprio", "pixels_14", "random_resnet18", "end_to_end_cnn"} < names
    assert {cell.readout for cell in plan.cells if cell.encoder == "end_to_end_cnn"} == {"cnn"}
    assert "not frozen" in encoders()["end_to_end_cnn"].objective


def test_the_plan_is_the_product_of_the_axes_and_drops_what_does_not_apply() -> None:
    plan = make_plan(compose_config([*SMALL, "readouts=[class_token,grid4]", "seeds=[0,1]", "baselines=[]"]))
    by_encoder = {job.encoder.name: job.cells for job in plan.jobs}
    assert len(by_encoder["pixels_14"]) == 4  # 2 N x 2 seeds, grid4 only
    assert {cell.readout for cell in by_encoder["oracle"]} == {"pooled"}
    assert any("pixels_14 has no features for class_token" in note for note in plan.notes)
    assert len(set(plan.cells)) == len(plan.cells) == 8


def test_the_order_of_names_does_not_change_a_cell() -> None:
    one = make_plan(compose_config(SMALL)).cells
    other = make_plan(compose_config([*SMALL, "encoders=[pixels_14,oracle]"])).cells
    assert {cell.key for cell in one} == {cell.key for cell in other}


@pytest.mark.parametrize("override", ["head_options.hidden=[64,32]", "head_options={hidden:[64,32]}"])
def test_options_of_a_head_are_settings_like_any_other(override: str) -> None:
    assert compose_config([*SMALL, override]).head_options == {"hidden": [64, 32]}


VARIANTS = "head_variants={mlp_dropout:{head:mlp,train:{dropout:0.1}},mlp_small:{head:mlp,options:{hidden:[32]}}}"


def test_variants_of_a_head_stand_beside_it_with_settings_of_their_own() -> None:
    plan = make_plan(compose_config([*SMALL, "heads=[mlp,mlp_dropout,mlp_small]", VARIANTS, "train.batch_size=64"]))
    job = plan.jobs[0]
    assert {cell.head for cell in job.cells} == {"mlp", "mlp_dropout", "mlp_small"}
    assert {name: found.train["dropout"] for name, found in job.settings.items()} == {
        "mlp": 0.0,
        "mlp_dropout": 0.1,
        "mlp_small": 0.0,
    }
    assert all(found.train["batch_size"] == 64 for found in job.settings.values())
    assert job.settings["mlp_small"].head_options["hidden"] == [32]
    assert job.settings["mlp"].head_options["hidden"] == [256, 256]
    (said,) = [found for found in job.settings["mlp"].deviations if found.of == "heads"]
    assert said.here == "mlp_dropout (mlp with dropout=0.1), mlp_small (mlp with hidden=[32])"


@pytest.mark.parametrize(
    ("variants", "complaint"),
    [
        ("{mlp:{head:gmm,train:{dropout:0.1}}}", "has the name of a head of the catalog"),
        ("{other:{head:mlp,train:{dropout:0.1}}}", "head_variants.other is not among heads=[mlp,wide]"),
        ("{wide:{head:mpl,train:{dropout:0.1}}}", "Unknown head 'mpl'. Did you mean 'mlp'?"),
        ("{wide:{head:mlp,train:{dropuot:0.1}}}", "head_variants.wide.train.dropuot=0.1 is not valid"),
        ("{wide:{head:mlp,train:{dropout:1.5}}}", "head_variants.wide.train.dropout=1.5 is not valid"),
        (
            "{wide:{head:mlp,options:{hiden:[8]}}}",
            "head_variants.wide.options: Head 'wide' has no option 'hiden'. Did you mean 'hidden'?",
        ),
        ("{wide:{head:mlp}}", "head_variants.wide differs from mlp in nothing"),
        ("{wide:{head:mlp,train:{dropout:0.0},options:{hidden:[256,256]}}}", "wide differs from mlp in nothing"),
        (
            "{wide:{head:mlp,options:{hidden:64}}}",
            "head_variants.wide.options: Head 'wide': option hidden=64 is not valid",
        ),
        ("{wide:{head:mlp,options:{hidden:[64,0]}}}", "option hidden=[64, 0] is not valid at position 1"),
        (
            "{wide:{head:mlp,options:{activation:gelu}}}",
            "option activation=\"gelu\" is not valid. Input should be 'relu' or",
        ),
        ("{wide:{head:gmm,options:{num_modes:0}}}", "option num_modes=0 is not valid"),
        ("{wide:{head:gmm,options:{min_std:-1}}}", "option min_std=-1 is not valid"),
        ("{wide:{train:{dropout:0.1}}}", "head_variants.wide.head is missing"),
    ],
)
def test_a_faulty_variant_is_refused_in_one_line(variants: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as error:
        make_plan(compose_config([*SMALL, "heads=[mlp,wide]", f"head_variants={variants}"]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", preset_names())
def test_a_job_can_be_sent_to_another_machine(preset: str) -> None:
    plan = make_plan(compose_config([f"preset={preset}"]))
    sent = pickle.loads(pickle.dumps(plan))  # noqa: S301 - our own
    assert sent.jobs == plan.jobs
    assert sent.cells == plan.cells
    for job in plan.jobs:
        assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301


def test_of_several_heads_the_one_trained_least_bounds_the_checkpoints() -> None:
    variant = "head_variants={short:{head:mlp,train:{num_updates:3}}}"
    with pytest.raises(ConfigError, match=r"more than head_variants\.short\.train\.num_updates=3"):
        compose_config([*SMALL, "heads=[mlp,short]", variant, "checkpoint_evaluations=5"])


def test_a_variant_is_told_of_the_heads_alone() -> None:
    variant = "head_variants={mean:{head:mlp,train:{dropout:0.1}}}"
    config = compose_config(["preset=r3m", "heads=[mlp_tanh,mean]", "readouts=[grid4,mean]", variant])
    said = {found.of: found.here for found in config.deviations if found.override}
    assert said["heads"] == "mean (mlp with dropout=0.1)"
    assert said["readouts"] == "grid4"


def test_configurations_from_before_variants_are_read() -> None:
    values = compose_config(SMALL).model_dump(mode="json")
    del values["head_variants"]
    assert validate_config(values).head_variants == {}
    del values["tasks"]
    with pytest.raises(ConfigError, match=r"^tasks is missing$"):
        validate_config(values)


def test_variants_of_different_heads_under_one_name_are_not_compared() -> None:
    def settings(head: str) -> Settings:
        variant = f"head_variants={{x:{{head:{head},train:{{dropout:0.1}}}}}}"
        return make_plan(compose_config([*SMALL, "heads=[x]", variant])).jobs[0].settings["x"]

    assert settings("mlp").differences(settings("gaussian")) == ["variant_of", "head_options"]
    assert settings("mlp").variant_of == "mlp"


def test_a_preset_whose_demonstrations_end_too_early_is_refused_unless_it_says_so() -> None:
    given = compose_config(["preset=r3m"])
    early = given.model_copy(update={"demo_end": "first_success"})
    with pytest.raises(ConfigError, match="none shows how to keep the task solved"):
        check_end(early)
    stated = given.deviations[0].model_copy(update={"of": "demo_end"})
    check_end(early.model_copy(update={"deviations": (stated,)}))


def test_a_plan_says_what_its_results_will_not_show() -> None:
    def notes(*overrides: str) -> str:
        return " ".join(make_plan(compose_config(["encoders=[zoo_mae]", "baselines=[]", *overrides])).notes)

    assert "no ranks are given" in notes("seeds=[3]")
    assert "share 100% of them on average" in notes("demo_pool=25")
    assert "share" not in notes()
    seen = "Pretrained on pictures of metaworld/sweep-into-v3: zoo_mae. They get curves but no rank in this run."
    assert seen in notes("tasks=[metaworld/sweep-into-v3,metaworld/assembly-v3]")
    assert "Pretrained" not in notes()


def test_a_plan_warns_of_a_task_that_needs_no_images() -> None:
    found = Measured(num_demos=25, num_states=20, num_seeds=1, oracle=1.0, proprio=0.95, expert=1.0)
    task = replace(TASKS["metaworld/door-close-v3"], measured=found)
    config = compose_config(["baselines=[]"])
    (note,) = [text for text in peculiarities(config, config, [], [task]) if "hardly" in text]
    assert "policies without images solve 95% of it and the oracle 100% (N = 25, 20 states, 1 seed)" in note
    much = replace(found, proprio=0.2)
    assert not peculiarities(config, config, [], [replace(task, measured=much)])


@pytest.mark.parametrize("preset", preset_names())
def test_no_preset_evaluates_a_task_that_the_zoo_was_pretrained_on(preset: str) -> None:
    evaluated = expand_tasks(compose_config([f"preset={preset}"]).tasks)
    assert not {*evaluated} & {*encoders()["zoo_mae"].pretraining_tasks}


OWN_ENCODERS = """
def mean(images):
    return images.float().mean((1, 2))

def grid(images):
    return images[:, ::16, ::16].float().movedim(-1, 1)
"""


@pytest.fixture
def own_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_encoders.py").write_text(OWN_ENCODERS)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_an_evaluation_on_other_pictures_says_which_ones_its_policies_learnt_from() -> None:
    trained = compose_config([*SMALL, "image_px=64", "render=lean"])
    given = compose_evaluation(trained, ["image_px=96", "render=full"])
    before = next(iter(make_plan(trained).jobs[0].settings.values()))
    after = next(iter(make_plan(given, trained).jobs[0].settings.values()))
    assert (before.trained_image_px, before.trained_render) == (0, "")
    assert (after.trained_image_px, after.trained_render) == (64, "lean")


@pytest.mark.usefixtures("own_encoders")
def test_an_encoder_may_have_a_short_name_of_the_users() -> None:
    plan = make_plan(compose_config([*SMALL, "encoders=[short=own_encoders:mean]", "baselines=[]"]))
    assert {cell.encoder for cell in plan.cells} == {"short"}
    assert plan.jobs[0].encoder.options["reference"] == "own_encoders:mean"


@pytest.mark.usefixtures("own_encoders")
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("pixels_7=own_encoders:mean", "gives an encoder the name of another of the catalog"),
        ("a=own_encoders:mean,a=own_encoders:grid", "Two encoders have the name a. Give one of them another."),
        ("a=timm:vit_tiny_patch16_224.augreg_in21k", "weights of the hub are kept by their own name"),
    ],
)
def test_one_name_never_stands_for_two_encoders(names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(compose_config([*SMALL, f"encoders=[{names}]", "baselines=[]"]))
