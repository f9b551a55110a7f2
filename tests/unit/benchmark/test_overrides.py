"""What people type as `key=value` is taken as it is written, or refused in words that need no manual of a parser."""

from __future__ import annotations

import re

import pytest

from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError
from pvrbench.benchmark.engine.forecast import check_training_memory
from pvrbench.benchmark.overrides import read_overrides
from pvrbench.benchmark.plan import make_plan

TEXTS = [
    *("2025_11_24", "1e3", "007", "-1", "0x10", "1_000", "nan", "inf", "true", "True", "None", "NULL"),
    *("café", "日本", "🤖", "~/r", "a=b", "a==b", "v#2", "my runs/r"),
    *("run(1)", "a:b", "+x", "@x", "%x", "!", "a&b", "<b>"),
    *("it's", 'say "x"', "a'b\"c", "'", '"', "a\\b", "\\", "x\\'y", "tab\tx", "a;b", "*", "?", "(", "*.pt", "."),
    *("{a}", "a{b", "[x]", "a]", "a[0]", "$HOME", "${oc.env:HOME}", "${name}", "trail ", "  lead"),
]
REFUSED = re.compile("mismatched|LexerNo|viable|antlr|hydra|omegaconf|extraneous|grammar", re.IGNORECASE)


def values(override: str) -> object:
    (value,) = read_overrides([override], BenchmarkConfig).values()
    return value


@pytest.mark.parametrize("key", ["name", "run_dir", "episode_schedule", "render"])
@pytest.mark.parametrize("text", [*TEXTS, "a,b", "a, b"])
def test_a_text_is_taken_as_written(key: str, text: str) -> None:
    assert values(f"{key}={text}") == text


@pytest.mark.parametrize("text", [text for text in TEXTS if text == text.strip() and not text.startswith("[")])
def test_an_entry_of_a_list_is_taken_as_written(text: str) -> None:
    assert values(f"encoders=[{text}]") == [text]
    assert values(f"encoders=[{text}, pixels_7]") == [text, "pixels_7"]
    assert values(f"encoders={text}") == [text]


def test_quotation_marks_hold_what_would_end_an_entry() -> None:
    assert values("""encoders=["file:/a, b/[1].pt?model=x",'it',mae]""") == ["file:/a, b/[1].pt?model=x", "it", "mae"]
    assert values("name='null'") == "null"
    assert values("name=null") is None


def test_the_three_numbers_of_a_normalisation_belong_to_their_checkpoint() -> None:
    uri = "file:/a.pt?model=vit_tiny_patch16_224&mean=0.5,0.4,.3&std=1,1,1"
    assert values(f"encoders=[pixels_7,{uri},pixels_14]") == ["pixels_7", uri, "pixels_14"]


@pytest.mark.parametrize("text", ["5,10", "[5,10]", "[ 5 , 10 ]"])
def test_lists_of_numbers_need_no_brackets(text: str) -> None:
    assert compose_config([f"num_demos={text}"]).num_demos == (5, 10)


def test_tables_hold_numbers_words_and_texts() -> None:
    assert values("head_options={hidden:[64, 32],squash:true,name:'1',x: null,y:-1e-3}") == {
        "hidden": [64, 32],
        "squash": True,
        "name": "1",
        "x": None,
        "y": -0.001,
    }


@pytest.mark.parametrize(
    "override",
    [
        *("name=", "encoders=", "num_demos=", "encoders=[a,,b]", "encoders=[a,]", "encoders=[]", "encoders=[a"),
        *("num_demos=[5", "num_demos=5]", "num_demos=[5,]", "num_demos=[[5]]", "num_demos={a:5}", "num_demos=[5 6]"),
        *(
            "head_options={a",
            "head_options={a:",
            "head_options={a}",
            "head_options={a:[1}",
            "head_options=x",
            "train=3",
        ),
        *("num_demos=range(3)", "~name", "~name=x", "=x", "train.=3", "horizon=soon", "encoders=[a]b"),
        *("num_episodes=1e9", "num_episodes=1000001", "horizon=10000000000", "seeds=[9223372036854775808]"),
        *("seeds=[-1]", "seeds=[true]", "num_episodes=true", "train.learning_rate=true", "train.batch_size=1000000000"),
        *("num_demos=[1.5]", "demo_pool=2000000", "history=100000", "budget_dim=1e9", "engine.num_workers=1000000"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line_that_names_it(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config([override])
    text = str(caught.value)
    assert override.partition("=")[0].lstrip("~") in text
    assert REFUSED.search(text) is None
    assert "\n" not in text
    assert "pars" not in text


NUMBERS = [
    *("num_episodes", "demo_pool", "image_px", "horizon", "history", "budget_dim", "num_demos", "seeds"),
    *("checkpoint_evaluations", "engine.num_workers", "engine.envs_per_worker", "engine.tile", "engine.hang_s"),
    *("engine.cache_gib", "train.num_updates", "train.batch_size", "train.learning_rate", "train.weight_decay"),
    "train.dropout",
]


@pytest.mark.parametrize("key", NUMBERS)
def test_no_number_is_negative_infinite_or_a_truth_value(key: str) -> None:
    for text in ("-1", "nan", "inf", "-inf", "1e400", "true", "abc", "٣x"):
        with pytest.raises(ConfigError, match=re.escape(key)):
            compose_config(["preset=quickstart", f"{key}={text}"])


def test_a_head_without_hidden_layers_is_asked_for_one() -> None:
    with pytest.raises(ConfigError, match=r"option hidden=\[\] is not valid. Give at least one"):
        make_plan(compose_config(["preset=quickstart", "head_options.hidden=[]"]))


def test_what_is_named_twice_is_said() -> None:
    plan = make_plan(compose_config(["preset=quickstart", "seeds=[0,1,0]", "encoders=[pixels_7,pixels_7,pixels_7]"]))
    assert "seeds names 0 2 times; it counts once." in plan.notes
    assert "encoders names pixels_7 3 times; it counts once." in plan.notes
    assert len({cell.key for cell in plan.cells}) == len(plan.cells)


def test_a_batch_that_must_repeat_frames_is_said() -> None:
    plan = make_plan(compose_config(["preset=quickstart", "num_demos=[1]", "train.batch_size=5000"]))
    assert any("train.batch_size=5000 of mlp is more than the" in note for note in plan.notes)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.batch_size=65536", "train.num_updates=100000"],
        ["head_options.hidden=[1000000000]"],
        ["heads=[gmm]", "head_options.num_modes=1000000000"],
        ["heads=[chunked]", "head_options.chunk=1000000000"],
    ],
)
def test_training_that_the_memory_cannot_hold_is_refused_before_anything_runs(overrides: list[str]) -> None:
    plan = make_plan(compose_config(["preset=quickstart", *overrides]))
    with pytest.raises(ConfigError, match="GiB of memory, and 16 GiB are free"):
        check_training_memory(plan, 16 * 1024.0)
    check_training_memory(make_plan(compose_config([])), 1024.0)


def test_an_adaptation_that_the_memory_cannot_hold_is_refused_by_the_plan() -> None:
    overrides = ["preset=quickstart", "encoders=[mae_vitl16]", "baselines=[]", "adaptations=[full]"]
    plan = make_plan(compose_config([*overrides, "train.batch_size=128"]))
    with pytest.raises(ConfigError, match=r"'full' of 'mae_vitl16' takes about .* Lower train\.batch_size"):
        check_training_memory(plan, 16 * 1024.0)
    check_training_memory(make_plan(compose_config([*overrides, "train.batch_size=8"])), 16 * 1024.0)


def test_stored_policies_are_evaluated_where_they_could_not_be_trained() -> None:
    trained = compose_config(["preset=quickstart", "train.batch_size=65536", "train.num_updates=100000"])
    check_training_memory(make_plan(trained, trained), 1024.0)
