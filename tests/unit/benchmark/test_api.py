"""What a notebook calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pvrbench as pvr
from pvrbench.benchmark.config import ConfigError


def test_settings_are_python_values_or_words_of_the_command_line() -> None:
    words = pvr.plan("preset=quickstart", "num_demos=[5,10]", "train.num_updates=7", "encoders=[pixels_7]")
    values = pvr.plan(preset="quickstart", num_demos=[5, 10], train={"num_updates": 7}, encoders=["pixels_7"])
    assert words.cells == values.cells
    assert words.config.model_dump(exclude={"deviations"}) == values.config.model_dump(exclude={"deviations"})
    assert {item.of for item in values.config.deviations} == {item.of for item in words.config.deviations}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_demo": [5]}, "Unknown setting 'num_demo'. Did you mean 'num_demos'?"),
        ({"train": {"num_update": 5}}, "Unknown setting 'train.num_update'. Did you mean 'train.num_updates'?"),
        ({"num_demos": 0}, "num_demos.0=0 is not valid"),
        ({"preset": "quickstrt"}, "Unknown preset 'quickstrt'. Did you mean 'quickstart'?"),
        ({"looks": ["light/briter"]}, "Unknown look 'light/briter'. Did you mean 'light/brighter'?"),
        ({"looks": ["light/brighter@7"]}, "asks for level 7 of light/brighter, which has 3"),
        ({"episode_schedule": "fixd"}, "Unknown schedule 'fixd'. Did you mean 'fixed'?"),
        ({"engine": {"executor": "lsf"}}, "Unknown executor 'lsf'"),
        ({"demo_end": "sometime"}, "demo_end='sometime' is not valid"),
        ({"looks": ["nominal", "light/darker"], "engine": {"keep_policies": False}}, "Several looks share one"),
    ],
)
def test_a_setting_that_is_not_valid_is_named(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")) as error:
        pvr.plan("preset=quickstart", **settings)
    assert "\n" not in str(error.value)


def test_encoders_are_listed_loaded_and_checked() -> None:
    assert pvr.list_encoders()["zoo_mae"].licence == "MIT"
    encoder = pvr.load_encoder("pixels_7")
    images = torch.from_numpy(np.zeros((2, 32, 32, 3), np.uint8))
    assert encoder.encode(images).grid is not None
    assert all(verdict.is_kept for verdict in pvr.check_encoder("pixels_7"))


def test_a_run_is_ranked(made_up_run: Path) -> None:
    assert pvr.rank(made_up_run)["ranking"][0]["encoder"] == "oracle"


def test_a_task_is_loaded() -> None:
    states = pvr.load_task("metaworld/assembly-v3").initial_states("test", 2)
    assert states.seeds == (2_000_000, 2_000_001)


def test_a_name_that_is_not_public_is_answered_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="it has check_encoder, list_encoders"):
        pvr.runn  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
    assert set(pvr.__all__) == set(dir(pvr))


def test_an_unknown_name_of_the_configuration_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        pvr.plan("num_demoz=[5]")


def test_importing_costs_nothing() -> None:
    code = "import sys, pvrbench; sys.exit(len({'torch', 'pandas', 'numpy', 'pydantic', 'hydra'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
