"""Options of heads: what is valid, and what is said of what is not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import HeadOptionError, HeadOptions, HeadSpec


def test_options_change_by_name_and_the_rest_stays() -> None:
    spec = HEADS["gmm"].with_options({"hidden": [64, 32], "num_modes": 3})
    assert spec.options.model_dump(mode="json") == {
        **HEADS["gmm"].options.model_dump(mode="json"),
        "hidden": [64, 32],
        "num_modes": 3,
    }
    assert HEADS["gmm"].with_options({}) == HEADS["gmm"]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("mlp", {"hiden": [64]}, "Head 'mlp' has no option 'hiden'. Did you mean 'hidden'? Its options: hidden,"),
        ("mlp", {"hidden": []}, "Head 'mlp': option hidden=[] is not valid. Give at least one."),
        ("mlp", {"hidden": 64}, "Head 'mlp': option hidden=64 is not valid. Input should be a valid"),
        ("mlp", {"hidden": ["64"]}, 'option hidden=["64"] is not valid at position 0. Input should be a valid integer'),
        ("mlp", {"hidden": [0]}, "option hidden=[0] is not valid at position 0. Input should be greater than 0"),
        ("mlp", {"activation": "gelu"}, "option activation=\"gelu\" is not valid. Input should be 'relu' or 'tanh'"),
        ("mlp", {"last_layer_scale": float("nan")}, "option last_layer_scale=NaN is not valid."),
        ("linear", {"hidden": [64]}, "option hidden=[64] is not valid."),
        ("gmm", {"num_modes": 0}, "option num_modes=0 is not valid. Input should be greater than 0"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadOptionError) as found:
        HEADS[name].with_options(given)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_a_head_without_options_has_a_forecast_and_says_that_it_has_none() -> None:
    spec = HeadSpec(name="own", entry_point="own:Head", description="one's own")
    assert spec.options.num_weights(100, 4) == HEADS["mlp"].options.num_weights(100, 4)
    assert isinstance(spec.options, HeadOptions)
    with pytest.raises(HeadOptionError, match=r"Head 'own' has no option 'hidden'. It has no options"):
        spec.with_options({"hidden": [64]})


def test_the_catalog_loads_no_torch() -> None:
    code = "import sys, pvrbench.policies.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_are_counted_for_the_forecast() -> None:
    assert HEADS["linear"].options.num_weights(10, 4) == 40
    assert HEADS["mlp"].options.num_weights(10, 4) == 10 * 256 + 256 * 256 + 256 * 4
    assert HEADS["gmm"].options.num_weights(10, 4) == 10 * 256 + 256 * 256 + 256 * 45
