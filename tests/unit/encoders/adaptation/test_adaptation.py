"""Adaptations: `frozen` leaves an encoder as it is, and what is no adaptation is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvrbench.encoders.adaptation.base import Adaptation, load_adaptation
from pvrbench.encoders.adaptation.catalog import ADAPTATIONS
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.families.baseline import load


def test_frozen_returns_the_encoder_itself() -> None:
    spec = ADAPTATIONS["frozen"]
    adaptation = load_adaptation(spec)
    encoder = load(ENCODERS["pixels_7"])
    assert isinstance(adaptation, Adaptation)
    assert adaptation.prepare(encoder) is encoder
    assert spec.keeps_features
    assert adaptation.digest == load_adaptation(spec).digest != ""


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"Adaptation 'frozen' has no option 'rank'\. It has none\."):
        load_adaptation(replace(ADAPTATIONS["frozen"], options={"rank": 4}))


def test_an_entry_point_that_is_no_adaptation_is_refused() -> None:
    with pytest.raises(ValueError, match="gives a str, which lacks spec, digest or prepare"):
        load_adaptation(replace(ADAPTATIONS["frozen"], entry_point="builtins:repr"))
