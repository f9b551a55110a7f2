"""What the documentation says of encoders is made from the catalog, and says all of it."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest

from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.rows.parity import PARITY, parity_of

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_of_comparisons_is_that_of_the_rows(reference: ModuleType) -> None:
    assert reference.parity_table() in (DOCS / "parity.md").read_text(), "run `python docs/reference.py`"


def test_every_row_with_published_weights_says_what_it_was_compared_with_or_why_not() -> None:
    published = [row for row in ENCODERS.values() if row.weights is not None or row.parts]
    rows = [row for row in published if not row.name.startswith("zoo_")]
    assert [row.name for row in rows if parity_of(row) is None] == []
    used = {parity_of(row) for row in rows}
    assert [entry.rows for entry in PARITY if entry not in used] == []
    assert [entry.rows for entry in PARITY if bool(entry.official) == bool(entry.reason)] == []


def test_a_new_row_is_not_said_to_agree_because_its_name_begins_like_another() -> None:
    assert parity_of(replace(ENCODERS["dino_vits16"], name="dino_vits99")) is None


def test_the_page_on_encoders_names_every_non_commercial_row_with_its_licence() -> None:
    lines = [line for line in (DOCS / "encoders.md").read_text().splitlines() if line.startswith("| ")]
    named = {pattern: line for line in lines for pattern in re.findall(r"`([a-z0-9_*]+)`", line)}
    for row in ENCODERS.values():
        if row.non_commercial:
            found = [line for pattern, line in named.items() if fnmatch(row.name, pattern)]
            assert any(row.licence.partition(" (")[0] in line for line in found), row.name


def test_the_page_of_encoders_has_a_row_for_each_with_tokens_licence_and_comparison(reference: ModuleType) -> None:
    page = reference.catalog_page("encoders")
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(ENCODERS) <= set(lines)
    assert "| 5 + 256 |" in lines["dinov2_vits14"]
    assert "| 10 + 196 |" in lines["cradio_v4_so400m16"]
    assert "| 256 |" in lines["siglip2_so400m14"]
    assert "The AI Institute, non-commercial research (non-commercial)" in lines["theia_tiny_cdiv"]
    assert (
        "`RadioModel` (NVIDIA), two blocks of 48 channels, table of positions resampled: 3.3e-06"
        in lines["cradio_v3_vitb16"]
    )
    assert "not compared: neither code nor file was seen" in lines["stp_vitb16"]
    assert "not compared at this size; `mocov3_vits16` is the same network" in lines["mocov3_vitb16"]
    assert lines["efficientnet_lite0"].endswith("| opened |")
    assert lines["r3m_resnet50"].endswith("| never opened |")
