"""Identity: whatever changes an encoder's features changes it, and an encoder that cannot be ranked is refused."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pvrbench.encoders.base import EncoderFaultError
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.families.baseline import load as load_baseline
from pvrbench.encoders.families.custom import CustomEncoder, load
from pvrbench.encoders.families.timm_backbone import TimmEncoder
from pvrbench.encoders.families.timm_backbone import load as load_timm
from pvrbench.encoders.identity import EncoderIdentity, check_deterministic, identify
from pvrbench.encoders.probe_pictures import probe_pictures
from pvrbench.encoders.reference import spec_for
from pvrbench.encoders.spec import EncoderSpec

PX = 32


def custom(function: Callable[[Tensor], object]) -> CustomEncoder:
    spec = EncoderSpec(name="mine", entry_point="pvrbench.encoders.families.custom:load", objective="", image_size=0)
    return CustomEncoder(spec, function)


def identity_of(reference: str) -> EncoderIdentity:
    """The identity of an encoder in the current folder; nothing that was imported before is used again."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"own", "prep", "tools"}]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return identify(load(spec_for(reference, PX)), PX)


ENCODER = """
import json, os
from pathlib import Path
import numpy as np
import torch
from torch import nn
from prep import GAIN
import tools.colour

TABLE = np.load("table.npy")

class Module(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, images):
        return self.net(tools.colour.scaled(images)) * GAIN

class Plain:
    def __init__(self):
        self.scale = float(os.environ.get("SCALE", "1"))
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return images.float().mean((1, 2)) * self.scale

class Extra(Module):
    def get_extra_state(self):
        return {"version": json.loads(Path("version.json").read_text())}

    def set_extra_state(self, state):
        pass

def function(images):
    return images.float().mean((1, 2)) @ torch.from_numpy(TABLE)

def reads_a_file(images):
    return images.float().mean((1, 2)) * float(Path("gain.txt").read_text())

LAZY = None

@torch.no_grad()
def lazy(images):
    global LAZY
    if LAZY is None:
        torch.manual_seed(3)
        LAZY = nn.Conv2d(3, 4, 8, stride=8)
    return LAZY(tools.colour.scaled(images))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of somebody's own, from which encoders are loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    # Files are rewritten within a second, which compiled files would not notice.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "own.py").write_text(ENCODER)
    (tmp_path / "prep.py").write_text("GAIN = 1\n")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("")
    (tmp_path / "tools" / "colour.py").write_text(
        "from .deep import DIVISOR\ndef scaled(images): return images.movedim(-1, 1).float() / DIVISOR\n"
    )
    (tmp_path / "tools" / "deep.py").write_text("DIVISOR = 255\n")
    (tmp_path / "unrelated.py").write_text("X = 1\n")
    (tmp_path / "gain.txt").write_text("1")
    (tmp_path / "version.json").write_text("1")
    _write_table(tmp_path, 1)
    return tmp_path


def _write_table(folder: Path, seed: int) -> None:
    np.save(folder / "table.npy", np.random.default_rng(seed).standard_normal((3, 5)).astype(np.float32))


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("reference", "change", "part"),
    [
        ("own:Module", partial(_write, name="prep.py", text="GAIN = 3\n"), "code"),
        ("own:Module", partial(_write, name="tools/deep.py", text="DIVISOR = 128\n"), "code"),
        ("own:function", partial(_write_table, seed=2), "weights"),
        ("own:Extra", partial(_write, name="version.json", text="2"), "weights"),
        ("own:reads_a_file", partial(_write, name="gain.txt", text="2"), "features of the probe pictures"),
    ],
)
def test_what_changes_features_changes_the_identity(
    folder: Path, reference: str, change: Callable[[Path], None], part: str
) -> None:
    before, again = identity_of(reference), identity_of(reference)
    assert before == again
    assert again.changes(before) == []
    change(folder)
    after = identity_of(reference)
    assert part in after.changes(before)
    assert after.digest != before.digest


def test_a_plain_attribute_counts_and_a_counter_does_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = identity_of("own:Plain")
    monkeypatch.setenv("SCALE", "2")
    twice = identity_of("own:Plain")
    monkeypatch.delenv("SCALE")
    assert "weights" in twice.changes(once)
    assert identity_of("own:Plain").changes(once) == []


def test_a_file_that_nothing_imports_does_not_count(folder: Path) -> None:
    before = identity_of("own:Module")
    (folder / "unrelated.py").write_text("X = 2\n")
    assert identity_of("own:Module") == before


def test_a_network_that_is_made_at_the_first_call_is_found(folder: Path) -> None:
    before = identity_of("own:lazy")
    assert identity_of("own:lazy") == before
    (folder / "own.py").write_text(ENCODER.replace("manual_seed(3)", "manual_seed(4)"))
    assert {"weights", "code"} <= {*identity_of("own:lazy").changes(before)}


def test_shipped_encoders_are_identified_by_weights_preprocessing_and_features() -> None:
    spec = ENCODERS["random_resnet18_64"]
    recorded = identify(load_timm(spec), PX)
    assert identify(load_timm(spec), PX) == recorded
    assert json.loads(json.dumps(asdict(recorded)))["digest"] == recorded.digest
    seeded = identify(load_timm(replace(spec, options={**spec.options, "seed": 1})), PX)
    assert "weights" in seeded.changes(recorded)
    smoothed = identify(load_timm(replace(spec, interpolation="bilinear")), PX)
    assert smoothed.changes(recorded) == ["preprocessing", "features of the probe pictures"]
    renamed = identify(load_timm(replace(spec, name="other", licence="MIT")), PX)
    assert renamed == recorded


def test_one_weight_is_enough() -> None:
    spec = ENCODERS["random_resnet18_64"]
    recorded = identify(load_timm(spec), PX)
    encoder: TimmEncoder = load_timm(spec)
    with torch.no_grad():
        next(encoder.network.parameters())[0, 0, 0, 0] += 1e-3
    assert "weights" in identify(encoder, PX).changes(recorded)


def test_last_bits_of_another_processor_are_no_change_and_a_percent_is() -> None:
    recorded = identify(load_baseline(ENCODERS["pixels_7"]), PX)
    near = replace(recorded, probe=tuple(value * (1 + 1e-5) for value in recorded.probe), digest="")
    far = replace(recorded, probe=tuple(value * 1.01 for value in recorded.probe), digest="")
    assert near.changes(recorded) == []
    assert far.changes(recorded) == ["features of the probe pictures"]


@pytest.mark.parametrize("name", ["proprio", "oracle", "expert"])
def test_baselines_that_read_no_pictures_have_an_identity(name: str) -> None:
    found = identify(load_baseline(ENCODERS[name]), PX)
    assert found.probe == ()
    assert found == identify(load_baseline(ENCODERS[name]), PX)


def test_a_baseline_is_the_same_wherever_its_code_lies() -> None:
    spec = ENCODERS["pixels_7"]
    assert load_baseline(replace(spec, entry_point="elsewhere:load")).digest == load_baseline(spec).digest
    assert load_baseline(ENCODERS["pixels_14"]).digest != load_baseline(spec).digest


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)

    def pixels(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.movedim(-1, 1).float() / 255, 4)


class Random(Base):
    def forward(self, images: Tensor) -> Tensor:
        return self.pixels(images) + torch.rand(())


class Stateful(Base):
    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.pixels(images) * self.calls


class BatchDependent(Base):
    def forward(self, images: Tensor) -> Tensor:
        return self.pixels(images) - self.pixels(images).mean(dim=0)


class InPlace(Base):
    def forward(self, images: Tensor) -> Tensor:
        result = self.pixels(images)
        images //= 2
        return result


class Trains(Base):
    """Goes into train mode when it is called."""

    def forward(self, images: Tensor) -> Tensor:
        self.train()
        return self.drop(self.norm(self.pixels(images)))


class OneRow(Base):
    def forward(self, images: Tensor) -> Tensor:
        return self.pixels(images)[:1]


class Fixed(Base):
    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1] % 14 == 0, "H must be a multiple of 14"
        return self.pixels(images)


class HiddenDropout:
    """A callable that is no module and forgot to call eval on the one that it holds."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))

    def __call__(self, images: Tensor) -> Tensor:
        return self.net(images.float())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Random, "gives the same pictures other features the second time, .*: it draws random numbers"),
        (Stateful, "gives the same pictures other features the second time, .*: it keeps a state"),
        (BatchDependent, "when its place or the other pictures in the batch change"),
        (InPlace, "changes the pictures that it is given"),
        (Trains, r"is in train mode \((BatchNorm2d norm|Dropout drop)\)"),
        (OneRow, "returned 1 rows of grid for 2 pictures"),
        (Fixed, r"fails on pictures of 32 x 32 pixels: AssertionError: H must be a multiple of 14.*\(test_identity"),
        (HiddenDropout, r"it draws random numbers\. Its network is in train mode \(Dropout 1\): call eval\(\) on it"),
    ],
)
def test_an_encoder_that_cannot_be_ranked_is_refused_by_name(kind: Callable[[], Any], message: str) -> None:
    with pytest.raises(EncoderFaultError, match=message) as error:
        identify(custom(kind()), PX)
    assert "\n" not in str(error.value)
    assert "'mine'" in str(error.value)


def test_the_check_leaves_random_numbers_of_the_process_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_deterministic(load_baseline(ENCODERS["pixels_7"]), PX)
    assert torch.equal(torch.rand(3), expected)


def test_an_encoder_is_probed_at_the_size_that_is_used() -> None:
    assert identify(custom(Fixed()), 28).probe != identify(custom(Fixed()), 56).probe


@pytest.mark.parametrize("side", [1, 14, 64, 224])
def test_probe_pictures_differ_and_use_the_whole_range(side: int) -> None:
    pictures = probe_pictures(side)
    assert pictures.shape == (3, side, side, 3)
    assert not torch.equal(pictures[0], pictures[1])
    if side > 14:
        assert int(pictures.max()) > 200
        assert int(pictures.min()) < 50
        assert float(pictures.float().std()) > 30


def test_probe_pictures_are_the_same_on_every_machine() -> None:
    found = hashlib.sha256(probe_pictures(64).numpy().tobytes()).hexdigest()
    assert found[:16] == "911dc7c8bf0e241b"
