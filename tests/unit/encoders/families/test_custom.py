"""Encoders of one's own: what is accepted, and what a user is told where it is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pvrbench.encoders.base import EncoderFaultError, Features
from pvrbench.encoders.families.custom import as_features, load
from pvrbench.encoders.reference import spec_for
from pvrbench.encoders.spec import EncoderSpec

OWN = """
import torch
from torch import nn

print("hello from the encoder")
TEXT = "no encoder"

class P14(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 8, 14, stride=14)
    def forward(self, x):
        assert x.shape[1] % 14 == 0, "H must be a multiple of 14"
        return self.net(x.movedim(-1, 1).float())

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.pos = nn.Conv2d(3, 8, 16, stride=16), nn.Parameter(torch.zeros(1, 8, 14, 14))
    def forward(self, x):
        return self.net(x.movedim(-1, 1).float()) + self.pos

class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 8, 16, stride=16)
    def forward(self, x):
        return self.net(x.movedim(-1, 1).float())

class NeedsArguments:
    def __init__(self, width, depth, *rest, size=3): pass
    def __call__(self, x): return x

class Fails:
    def __init__(self): raise RuntimeError("no such file")
    def __call__(self, x): return x

def key(x): raise KeyError("proj")
def numbers(x): return 3
def two(x): return x, x
def nothing(x): return None
def leaves(x): raise SystemExit(0)
class Leaves:
    def __init__(self): raise SystemExit(3)
    def __call__(self, x): return x
def prints(x):
    print("encoding")
    return x.float().mean((1, 2))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("reference", "image_px", "outputs", "grid_side"),
    [
        ("mine:P14", 224, ("grid",), 16),
        ("mine:P14", 112, ("grid",), 8),
        ("mine:Fixed", 224, ("grid",), 14),
        ("mine:Fixed", None, ("grid",), 14),
        ("mine:Patches", 112, ("grid",), 7),
        ("mine:prints", 64, ("pooled",), 0),
    ],
)
def test_an_encoder_is_asked_at_the_size_that_will_be_used(
    reference: str, image_px: int | None, outputs: tuple[str, ...], grid_side: int
) -> None:
    spec = spec_for(reference, image_px)
    assert spec.outputs == outputs
    assert spec.grid_side == grid_side


def test_what_an_encoder_prints_stays_out_of_the_output_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    spec_for("mine:prints", 64)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hello from the encoder" in printed.err


def test_what_c_code_and_children_print_stays_out_of_it_too(folder: Path) -> None:
    (folder / "loud.py").write_text(
        "import os, sys\nprint('python')\nos.system('echo child')\nos.write(1, b'descriptor\\n')\n"
        "sys.__stdout__.write('stream\\n')\ndef encoder(x):\n"
        "    os.write(1, b'call\\n')\n    return x.float().mean((1, 2))\n"
    )
    code = "from pvrbench.encoders.reference import spec_for; spec_for('loud:encoder', 64); print('result')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    assert {"python", "child", "descriptor", "stream", "call"} <= {*done.stderr.split()}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "mine:P14",
            r"fails on pictures of 64 x 64 pixels: AssertionError: H must be .*\(mine.py, line 13\)\. .* choose",
        ),
        ("mine:key", r"fails on pictures of 64 x 64 pixels: KeyError: 'proj' \(mine.py, line"),
        ("mine:NeedsArguments", r"is a class that needs arguments: width, depth\. Give them defaults"),
        ("mine:Fails", r"cannot be made: RuntimeError: no such file \(mine.py, line"),
        ("mine:TEXT", "'mine:TEXT' is no encoder but an object of type str"),
        ("mine:numbers", "returned an object of type int; expected a tensor or numpy array"),
        ("mine:nothing", r"returned nothing \(None\); expected a tensor"),
        ("mine:leaves", r"fails on pictures of 64 x 64 pixels: SystemExit: 0 \(mine.py, line"),
        ("mine:Leaves", r"cannot be made: SystemExit: 3 \(mine.py, line"),
        ("mine:", r"Encoder 'mine:' is not an entry point\. Write it as module:attribute\.$"),
        ("mine:two", "returned a tuple; expected .* Return the entry that holds the features"),
        ("mine:Absent", "mine has no attribute 'Absent'"),
        ("os:getcwd", r"'os:getcwd' is no encoder: it cannot be called with one argument"),
        ("os:path", "'os:path' is no encoder but a module"),
        ("json:dumps", r"fails on pictures of 64 x 64 pixels: TypeError: Object of type Tensor is not JSON"),
        (
            "absent_package.thing:Encoder",
            r"ModuleNotFoundError: No module named 'absent_package'\. Write it as module:",
        ),
    ],
)
def test_what_is_no_encoder_is_told_so_in_one_line(reference: str, message: str) -> None:
    with pytest.raises(EncoderFaultError, match=message) as error:
        spec_for(reference, 64)
    assert "\n" not in str(error.value)
    assert reference in str(error.value)


def test_a_file_that_has_the_name_of_another_module_is_named(folder: Path) -> None:
    for name in ("random", "types"):
        (folder / f"{name}.py").write_text("raise SystemExit('shadowed')")
    (folder / "json.py").write_text("def encoder(x): return x")
    assert spec_for("mine:prints", 64).outputs == ("pooled",)
    with pytest.raises(
        EncoderFaultError, match=r"json\.py in this folder is shadowed by the module json at .*Rename it"
    ):
        spec_for("json:encoder", 64)


def test_a_folder_that_has_the_name_of_an_installed_package_is_named(folder: Path) -> None:
    (folder / "yaml").mkdir()
    (folder / "yaml" / "mine.py").write_text("def encoder(x): return x")
    __import__("yaml")
    with pytest.raises(EncoderFaultError, match=r"yaml/mine\.py in this folder is shadowed by the module yaml at"):
        spec_for("yaml.mine:encoder", 64)


def test_the_current_folder_is_searched_last(folder: Path) -> None:
    spec_for("mine:prints", 64)
    assert sys.path[-1] == str(folder)


def test_an_encoder_with_a_row_is_loaded_without_probing() -> None:
    spec = EncoderSpec(name="p", entry_point="", objective="", options={"reference": "mine:key"}, outputs=("pooled",))
    assert load(spec).spec.outputs == ("pooled",)


def as_array(tensor: Tensor) -> Any:
    return np.array(tensor.tolist(), np.float32)


TOKENS = torch.arange(2 * 10 * 3.0).reshape(2, 10, 3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TOKENS[:, 0], {"pooled": (2, 3)}),
        (as_array(TOKENS[:, 0]), {"pooled": (2, 3)}),
        (np.zeros((2, 3, 4, 4), np.float64), {"grid": (2, 3, 4, 4)}),
        (TOKENS[:, 1:], {"grid": (2, 3, 3, 3)}),
        (TOKENS, {"class_token": (2, 3), "grid": (2, 3, 3, 3)}),
        ({"last_hidden_state": TOKENS}, {"class_token": (2, 3), "grid": (2, 3, 3, 3)}),
        ({"class_token": TOKENS[:, 0], "grid": np.zeros((2, 3, 4, 4))}, {"class_token": (2, 3), "grid": (2, 3, 4, 4)}),
    ],
)
def test_outputs_with_one_meaning_are_taken(value: object, expected: dict[str, tuple[int, ...]]) -> None:
    found = as_features(value, "mine")
    shapes = {name: getattr(found, name) for name in ("class_token", "grid", "pooled")}
    assert {name: tuple(part.shape) for name, part in shapes.items() if part is not None} == expected
    assert all(part is None or part.dtype == torch.float32 for part in shapes.values())


def test_tokens_are_laid_out_row_by_row_after_the_class_token() -> None:
    found = as_features(TOKENS, "mine")
    assert found.class_token is not None
    assert found.grid is not None
    assert torch.equal(found.class_token, TOKENS[:, 0])
    assert torch.equal(found.grid[0, :, 0, 2], TOKENS[0, 3])
    assert torch.equal(found.grid[0, :, 1, 0], TOKENS[0, 4])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            torch.zeros(2, 14, 3),
            "returned 14 tokens, which are neither a square grid nor a class token and one. Return Feat",
        ),
        (torch.zeros(2), r"returned shape \(2,\)"),
        (torch.zeros(2, 3, 4, 4, 4), r"returned shape \(2, 3, 4, 4, 4\)"),
        ({"a": TOKENS, "b": TOKENS}, r"returned a dictionary with a, b\. Return one of them"),
        (np.array(["x"]), "returned an object of type ndarray of <U1"),
        (TOKENS.to(torch.complex64), r"returned an object of type Tensor of torch\.complex64"),
        (None, r"returned nothing \(None\)"),
    ],
)
def test_outputs_without_one_meaning_are_refused_with_a_way_out(value: object, message: str) -> None:
    with pytest.raises(EncoderFaultError, match=message):
        as_features(value, "mine")


def test_features_are_taken_as_they_are() -> None:
    given = Features(grid=torch.zeros(1, 2, 3, 3))
    assert as_features(given, "mine") is given
