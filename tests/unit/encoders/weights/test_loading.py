"""Weights are fetched, imported and verified; every kind of bad file is refused by name and with the remedy."""

from __future__ import annotations

import argparse
import http.server
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed
from torch import Tensor

from pvrbench.benchmark.cli import main
from pvrbench.encoders.catalog import ENCODERS
from pvrbench.encoders.families.timm_backbone import load
from pvrbench.encoders.rows.caches import PUBLISHED
from pvrbench.encoders.spec import EncoderSpec, WeightsSource
from pvrbench.encoders.weights.assurance import check_marks
from pvrbench.encoders.weights.caches import hub_files
from pvrbench.encoders.weights.loading import (
    WeightsError,
    assumption,
    fetch,
    import_weights,
    local_path,
    locate,
    origin,
    verify,
    weights_dir,
    weights_present,
)
from pvrbench.encoders.weights.location import together
from pvrbench.encoders.weights.official_file import read, sha256_of

SPEC = EncoderSpec(
    name="tiny",
    entry_point="pvrbench.encoders.families.timm_backbone:load",
    objective="test",
    image_size=32,
    feature_dim=192,
    weights=WeightsSource(uri="hf:someone/tiny/model.safetensors", revision="a" * 40),
    licence="CC-BY-NC 4.0",
    non_commercial=True,
    options={"model": "vit_tiny_patch16_224", "img_size": 32, "depth": 1},
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folders for weights and hub, and no network."""
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    # The hub's package reads its variables when it is imported.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def snapshot(folders: Path, repo: str, commit: str = "b" * 40, *, is_main: bool = True) -> Path:
    """An empty snapshot of a repository in the hub's cache."""
    folder = folders / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "snapshots" / commit).mkdir(parents=True)
    if is_main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
    return folder / "snapshots" / commit


def network(**options: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"img_size": 32, "depth": 1, **options}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **arguments)
    return cast("dict[str, Tensor]", model.state_dict())


def from_source(**columns: Any) -> EncoderSpec:
    source = cast("WeightsSource", SPEC.weights)
    return replace(SPEC, weights=replace(source, **columns))


def digest(spec: EncoderSpec) -> str:
    return load(spec).digest


@pytest.mark.parametrize("layout", ["flat", "model", "sequence", "data parallel", "safetensors", "with arguments"])
def test_official_files_of_every_layout_are_imported_alike(folders: Path, layout: str) -> None:
    weights, file = network(), folders / "official.tar"
    contents: dict[str, object] = {
        "flat": weights,
        "model": {"model": weights, "epoch": 3, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}},
        "sequence": (weights, {"state": {}}),
        "data parallel": {"state_dict": {f"module.{name}": value for name, value in weights.items()}},
        "with arguments": {"model": weights, "args": argparse.Namespace(lr=0.1)},
    }
    if layout == "safetensors":
        save_file(weights, file)
    else:
        torch.save(contents[layout], file)
    path = import_weights(SPEC, file)
    assert path == weights_dir() / "tiny.safetensors"
    expected = {name: value for name, value in weights.items() if not name.startswith("head")}
    found = load(SPEC).network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    note = json.loads(path.with_suffix(".json").read_text())
    assert note == {
        "encoder": "tiny",
        "source": "hf:someone/tiny/model.safetensors",
        "revision": "a" * 40,
        "official_sha256": sha256_of(file),
        "licence": "CC-BY-NC 4.0",
        "non_commercial": True,
        "sha256": sha256_of(path),
        "imported": True,
        "verified": False,
        "holds": note["holds"],
    }
    assert (note["holds"]["file"], note["holds"]["decoder"]) == ("official.tar", False)
    with cast("Any", safe_open(path, framework="pt")) as opened:
        header: dict[str, str] = opened.metadata()
    assert header["source"] == note["source"]
    assert header["official_sha256"] == note["official_sha256"]
    assert verify(SPEC) == ""
    assert sorted(item.name for item in weights_dir().iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_the_converter_of_a_source_is_called_on_the_loaded_content(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "their_format.py").write_text(
        "def rename(content):\n"
        "    return {name.removeprefix('net.'): value for name, value in content['released'].items()}\n"
    )
    monkeypatch.syspath_prepend(str(folders))
    spec = from_source(converter="their_format:rename")
    torch.save({"released": {f"net.{name}": value for name, value in network().items()}}, folders / "official.pt")
    import_weights(spec, folders / "official.pt")
    assert load(spec).network.state_dict().keys() <= network().keys()
    torch.save(network(), folders / "other.pt")
    with pytest.raises(
        WeightsError, match=r"other\.pt cannot be converted by their_format:rename .KeyError: 'released'"
    ):
        import_weights(spec, folders / "other.pt")


class Malicious:
    """Runs a command when it is unpickled without care."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return (subprocess.call, (["touch", str(self.witness)],))


@pytest.mark.parametrize("is_bare_pickle", [False, True])
def test_a_pickle_that_wants_more_than_tensors_is_refused_and_not_run(folders: Path, is_bare_pickle: bool) -> None:
    file, content = folders / "bad.pth", {"model": network(), "extra": Malicious(folders / "witness")}
    if is_bare_pickle:
        file.write_bytes(pickle.dumps(content["extra"], protocol=2))
    else:
        torch.save(content, file)
    with pytest.raises(WeightsError, match=r"bad\.pth is refused: it is a pickle that asks for \w+\.call.*torch\.save"):
        import_weights(SPEC, file)
    assert not (folders / "witness").exists()
    assert not local_path(SPEC).exists()


@pytest.mark.parametrize("kind", ["pt", "safetensors", "html", "empty", "log"])
def test_a_truncated_file_is_named(folders: Path, kind: str) -> None:
    file = folders / f"cut.{kind}"
    if kind == "safetensors":
        save_file(network(), file)
    elif kind == "pt":
        torch.save(network(), file)
    else:
        # A log that begins with a pickle's opcodes makes torch's unpickler fail in another way than a page.
        content = {"html": b"<html>", "empty": b"", "log": b"e: 1\n"}[kind]
        file.write_bytes(content * 1000)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    with pytest.raises(WeightsError, match=rf"cut\.{kind} is not a whole safetensors or PyTorch file.*get it again"):
        import_weights(SPEC, file)
    assert not local_path(SPEC).exists()


def test_another_digest_than_the_published_one_is_refused_with_both(folders: Path) -> None:
    file = folders / "official.pt"
    torch.save(network(), file)
    with pytest.raises(
        WeightsError, match=rf"published file of 'tiny': its SHA-256 is {sha256_of(file)}, expected 1111"
    ):
        import_weights(from_source(sha256="1" * 64), file)
    import_weights(from_source(sha256=sha256_of(file).upper()), file)


def test_weights_of_another_architecture_name_the_first_faults_and_the_likely_row(folders: Path) -> None:
    file = folders / "other.safetensors"
    model = timm.create_model("deit_tiny_patch16_224")
    save_file(cast("dict[str, Tensor]", model.state_dict()), file)
    with pytest.raises(WeightsError) as raised:
        import_weights(replace(SPEC, options={"model": "vit_tiny_patch16_224", "depth": 1}), file)
    assert "other.safetensors do not fit 'tiny' (unexpected blocks.1." in str(raised.value)
    assert "By its size it belongs to deit_tiny16" in str(raised.value)
    save_file(network(), file)
    with pytest.raises(WeightsError, match=r"missing blocks\.1\.[\w.]+, .* in all.*It holds 0\.6 million parameters"):
        import_weights(replace(SPEC, options={**SPEC.options, "depth": 2}), file)
    with pytest.raises(WeightsError, match=r"cls_token is \(1, 1, 192\), expected \(1, 1, 96\)"):
        import_weights(replace(SPEC, options={**SPEC.options, "embed_dim": 96}), file)


def test_a_file_of_another_row_that_fits_is_not_called_sound(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MAE's weights have the names and shapes of VC-1's."""
    small: dict[str, Any] = {"img_size": 32, "depth": 1, "embed_dim": 48, "num_heads": 4}
    row = replace(ENCODERS["vc1_vitb16"], image_size=32, options={"model": "vit_base_patch16_224", **small})
    file = folders / "mae_pretrain_vit_base.pth"
    model = timm.create_model("vit_base_patch16_224", num_classes=0, **small)
    torch.save({"model": model.state_dict()}, file)
    import_weights(row, file)
    assert verify(row) == ""
    said = assumption(row)
    assert "imported from mae_pretrain_vit_base.pth" in said
    assert "that name is of the file of mae_vitb16" in said
    assert "it holds no decoder" in said
    assert "mae_vitb16" in said.partition("files of ")[2]
    monkeypatch.setitem(cast("dict[str, Any]", PUBLISHED), "clip_vitb16", (sha256_of(file),))
    with pytest.raises(WeightsError, match=r"is the published file of 'clip_vitb16', not of 'vc1_vitb16'"):
        import_weights(row, file)
    monkeypatch.setitem(cast("dict[str, Any]", PUBLISHED), "clip_vitb16", ())
    monkeypatch.setitem(cast("dict[str, Any]", PUBLISHED), "vc1_vitb16", (sha256_of(file),))
    import_weights(row, file)
    assert assumption(row) == ""


def test_a_file_with_tensors_that_only_another_row_has_is_refused(folders: Path) -> None:
    """V-Gen's encoder has the shapes of V-Dual's."""
    names = {"voltron_vdual_small": "img_token", "voltron_vgen_small": "img_enc_token"}
    for name, token in names.items():
        other = names["voltron_vgen_small" if name == "voltron_vdual_small" else "voltron_vdual_small"]
        check_marks(ENCODERS[name], (token, "ctx_enc_pe"), "", folders / "file.pt")
        with pytest.raises(WeightsError, match=rf"file\.pt is not a file of '{name}': those hold a tensor {token}"):
            check_marks(ENCODERS[name], (other, "ctx_enc_pe"), "", folders / "file.pt")


def test_the_digits_in_a_name_of_pytorch_are_compared(folders: Path) -> None:
    file = folders / "file.pth"
    torch.save(network(), file)
    named = f"https://example.org/tiny-{sha256_of(file)[:8]}.pth"
    import_weights(from_source(uri=named), file)
    assert origin(SPEC)["verified"] is True
    import_weights(from_source(uri="https://example.org/tiny-00000000.pth"), file)
    assert origin(SPEC)["verified"] is False


def test_a_failed_import_leaves_what_was_there(folders: Path) -> None:
    torch.save(network(), folders / "good.pt")
    import_weights(SPEC, folders / "good.pt")
    torch.save(network(depth=2), folders / "bad.pt")
    with pytest.raises(WeightsError, match="do not fit"):
        import_weights(SPEC, folders / "bad.pt")
    assert verify(SPEC) == ""


def test_missing_files_and_folders_that_cannot_be_written_are_named(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=r"There is no .*absent\.pt\. Name the official file of 'tiny', published"):
        import_weights(SPEC, folders / "absent.pt")
    with pytest.raises(WeightsError, match="is a folder"):
        import_weights(SPEC, folders)
    (folders / "file").write_text("")
    torch.save(network(), folders / "official.pt")
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(folders / "file" / "weights"))
    with pytest.raises(WeightsError, match=r"Cannot write weights to .*file/weights.*with PVRBENCH_WEIGHTS"):
        import_weights(SPEC, folders / "official.pt")


def test_verify_says_what_is_wrong(folders: Path) -> None:
    assert verify(SPEC) == "absent; run `pvrbench weights fetch tiny`"
    torch.save(network(), folders / "official.pt")
    path = import_weights(SPEC, folders / "official.pt")
    assert "made from another file" in verify(from_source(sha256="1" * 64))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert verify(SPEC).startswith("changed since it was stored")
    path.with_suffix(".json").unlink()
    assert "no tiny.json beside it" in verify(SPEC)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_in_the_hubs_cache_is_used_as_it_is_and_stored_on_fetch(folders: Path, name: str) -> None:
    spec = replace(SPEC, weights=WeightsSource(uri="timm:some_quickgelu_model.tag"))
    folder = snapshot(folders, "timm/some_model.tag")
    assert not weights_present(spec)
    if name.endswith("bin"):
        torch.save(network(), folder / name)
    else:
        save_file(network(), folder / name)
    assert weights_present(spec)
    assert locate(spec) == folder / name
    before = digest(spec)
    assert not weights_dir().exists()
    assert fetch(spec) == local_path(spec)
    assert origin(spec)["revision"] == "b" * 40
    assert digest(spec) == before


def test_without_network_the_error_comes_at_once_and_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(WeightsError) as raised:
        fetch(SPEC)
    assert time.monotonic() - started < 4
    text = str(raised.value)
    assert "http://127.0.0.1:9 cannot be reached" in text
    assert "`pvrbench weights fetch tiny` and copy tiny.safetensors" in text
    assert str(weights_dir()) in text
    assert "huggingface.co/someone/tiny/blob/" in text
    assert "`pvrbench weights import tiny FILE`" in text


def test_what_stands_in_the_way_of_several_files_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    elsewhere = WeightsSource(uri="http://127.0.0.1:9/x.pth", mirrors=("hf:someone/tiny/x.pth",))
    errors: list[WeightsError] = []
    for spec in (replace(SPEC, name="other", weights=elsewhere), SPEC):
        with pytest.raises(WeightsError) as raised:
            fetch(spec)
        errors.append(raised.value)
    text = str(together(errors))
    assert text.count("http://127.0.0.1:9 cannot be reached") == 1
    assert "http://127.0.0.1:9/x.pth cannot be reached" in text


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`; `/page` is a web page, `/broken` breaks off half way."""

    content = b""
    head_delay_s = 0.0
    head_status = 200
    ranges: tuple[str, ...] = ()

    def do_HEAD(self) -> None:
        """As the hub describes a file."""
        time.sleep(self.head_delay_s)
        if self.path == "/" and self.head_status != 200:
            self.send_response(self.head_status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if "/resolve/" in self.path and "absent" in self.path:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", '"some-etag"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        type(self).ranges = (*self.ranges, asked or "")
        if start >= len(self.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "application/octet-stream")
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        end = len(self.content) // 2 if self.path == "/broken" and not start else None
        self.wfile.write(self.content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, folders: Path) -> Iterator[str]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    torch.save(network(), folders / "served.pt")
    Server.content, Server.ranges = (folders / "served.pt").read_bytes(), ()
    Server.head_delay_s, Server.head_status = 0.0, 200
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def test_mirrors_are_tried_in_order_with_progress(server: str) -> None:
    progress: list[tuple[int, int]] = []
    spec = from_source(uri="http://127.0.0.1:9/model.pt", mirrors=(f"{server}/page", f"{server}/model.pt"))
    path = fetch(spec, lambda done, total: progress.append((done, total)))
    assert progress[-1] == (len(Server.content), len(Server.content))
    assert origin(spec)["source"] == f"{server}/model.pt"
    assert sorted(item.name for item in path.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]
    Server.ranges = ()
    assert fetch(spec) == path
    assert Server.ranges == ()


def test_the_hubs_client_fetches_a_file_or_the_needed_files_of_a_folder(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server)
    single = from_source(uri="hf:someone/tiny/model.pt", revision=None)
    fetch(single)
    assert origin(single)["revision"] == "a" * 40
    assert verify(single) == ""
    spec = replace(SPEC, weights=WeightsSource(uri="hf:someone/folder", files=("vae/config.json", "vae/big.bin")))
    path = fetch(spec)
    assert (path / "vae" / "big.bin").read_bytes() == Server.content
    assert verify(spec) == ""
    lacking = replace(SPEC, weights=WeightsSource(uri="hf:someone/folder", files=("absent/config.json",)))
    with pytest.raises(WeightsError, match=r"the hub does not give absent/config\.json of someone/folder"):
        fetch(lacking)


def test_a_broken_download_goes_on_where_it_stopped(server: str) -> None:
    spec = from_source(uri=f"{server}/broken")
    with pytest.raises(WeightsError, match=r"broke off after \d+ of \d+ bytes; the same command goes on"):
        fetch(spec)
    fetch(spec)
    assert Server.ranges == ("", f"bytes={len(Server.content) // 2}-")
    assert origin(spec)["official_sha256"] == sha256_of(local_path(SPEC).parents[1] / "served.pt")


@pytest.mark.parametrize("more", [0, 100])
def test_a_part_that_is_as_long_as_the_file_is_kept_and_a_longer_one_is_begun_anew(server: str, more: int) -> None:
    spec = from_source(uri=f"{server}/model.pt")
    weights_dir().mkdir()
    local_path(spec).with_suffix(".part").write_bytes(Server.content + b"x" * more)
    fetch(spec)
    assert len(Server.ranges) == (2 if more else 1)
    assert origin(spec)["official_sha256"] == sha256_of(local_path(SPEC).parents[1] / "served.pt")
    assert verify(spec) == ""


def test_a_disk_that_is_full_is_not_taken_for_the_network(server: str) -> None:
    spec = from_source(uri=f"{server}/model.pt")
    part = local_path(spec).with_suffix(".part")
    weights_dir().mkdir()
    part.symlink_to("/dev/full")
    with pytest.raises(WeightsError, match=r"\.part cannot be written \(No space left on device\)\. Free space"):
        fetch(spec)


@pytest.mark.parametrize(("delay_s", "status"), [(0.4, 200), (0, 405)])
def test_a_slow_hub_and_one_that_answers_in_its_own_way_is_not_called_absent(
    server: str, monkeypatch: pytest.MonkeyPatch, delay_s: float, status: int
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server)
    Server.head_delay_s, Server.head_status = delay_s, status
    fetch(from_source(uri="hf:someone/tiny/model.pt", revision=None))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    if delay_s:
        with pytest.raises(WeightsError, match=r"did not answer within 0\.1 s; HF_HUB_ETAG_TIMEOUT sets"):
            fetch(replace(from_source(uri="hf:someone/other/model.pt"), name="other"))


def test_loading_never_downloads(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server)
    for uri in ("hf:someone/tiny/model.pt", f"{server}/model.pt"):
        with pytest.raises(WeightsError, match=r"nothing is downloaded before `pvrbench weights fetch` is asked to"):
            load(from_source(uri=uri))
    assert Server.ranges == ()


def test_a_download_that_is_not_the_published_file_is_refused_and_dropped(server: str) -> None:
    spec = from_source(uri=f"{server}/page", mirrors=(f"{server}/model.pt",), sha256="2" * 64)
    with pytest.raises(WeightsError, match=r"answers with a web page.*its SHA-256 is \w{64}, expected 2222"):
        fetch(spec)
    assert list(weights_dir().iterdir()) == []


def test_the_hubs_cache_is_read_as_the_hub_does(folders: Path) -> None:
    spec = from_source(uri="hf:someone/tiny/model.safetensors", revision=None)
    newest = snapshot(folders, "someone/tiny", "f" * 40, is_main=False)
    save_file(network(), newest / "model.safetensors")
    assert not weights_present(spec)
    main_branch = snapshot(folders, "someone/tiny", "0" * 40)
    save_file(network(), main_branch / "model.safetensors")
    assert locate(spec) == main_branch / "model.safetensors"
    assert locate(from_source(revision="f" * 40)) == newest / "model.safetensors"
    mirrored = from_source(uri="http://127.0.0.1:9/x.pth", mirrors=("hf:someone/tiny/model.safetensors",))
    assert locate(mirrored) == main_branch / "model.safetensors"


@pytest.mark.parametrize(
    ("variables", "hub"),
    [
        ({"HF_HOME": "{0}/a"}, "a/hub"),
        ({"HF_HUB_CACHE": "{0}/b"}, "b"),
        ({"HUGGINGFACE_HUB_CACHE": "{0}/c"}, "c"),
        ({"XDG_CACHE_HOME": "{0}/d"}, "d/huggingface/hub"),
        ({"SCRATCH": "{0}", "HF_HOME": "$SCRATCH/e"}, "e/hub"),
    ],
)
def test_the_hubs_variables_say_where_its_cache_is(folders: Path, variables: dict[str, str], hub: str) -> None:
    given = {name: value.format(folders) for name, value in variables.items()}
    code = "from pvrbench.encoders.weights.caches import hub_cache; print(hub_cache())"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_", "XDG_"))}
    said = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(folders / hub)


def test_weights_that_other_tools_left_are_found_and_named(folders: Path) -> None:
    row = ENCODERS["deit_tiny16"]
    with pytest.raises(WeightsError, match="are not on this machine"):
        locate(row)
    checkpoints = folders / "home" / ".cache" / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    other = checkpoints / "deit_base_distilled_patch16_224-df68dfff.pth"
    other.write_bytes(b"x")
    with pytest.raises(WeightsError, match=rf"Near by lie {other}, which are not they"):
        locate(row)
    file = checkpoints / "deit_tiny_patch16_224-a1311bcf.pth"
    torch.save({"model": timm.create_model("deit_tiny_patch16_224").state_dict()}, file)
    assert locate(row) == file
    assert origin(row)["source"] == f"torch:{file.name}"
    load(row)
    assert fetch(row) == local_path(row)
    assert origin(row)["source"] == f"torch:{file.name}"


def test_without_a_home_folder_the_variable_to_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("PVRBENCH_WEIGHTS")
    monkeypatch.delenv("PVRBENCH_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(WeightsError, match=r"no home folder for weights. Set PVRBENCH_WEIGHTS or PVRBENCH_CACHE"):
        locate(SPEC)
    monkeypatch.setenv("PVRBENCH_WEIGHTS", "/nonexistent")
    with pytest.raises(WeightsError, match="are not on this machine"):
        locate(SPEC)


def test_a_model_of_several_files_is_imported_noted_and_verified(folders: Path) -> None:
    source = WeightsSource(uri="hf:someone/folder", files=("vae/config.json", "vae/weights.bin"))
    spec = replace(SPEC, weights=source)
    given = folders / "download"
    (given / "vae").mkdir(parents=True)
    (given / "vae" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"lacks vae/weights\.bin\. 'tiny' needs vae/config\.json, vae/weights\.bin"):
        import_weights(spec, given)
    (given / "vae" / "weights.bin").write_text("weights")
    assert not weights_present(spec)
    path = import_weights(spec, given)
    assert path == weights_dir() / "folder"
    assert weights_present(spec)
    assert origin(spec)["files"]["vae/weights.bin"] == sha256_of(given / "vae" / "weights.bin")
    assert verify(spec) == ""
    (path / "vae" / "config.json").write_text("[]")
    assert verify(spec) == "changed since it was stored: vae/config.json; import or fetch it again"
    with pytest.raises(
        WeightsError, match=r"and HF_HUB_OFFLINE is set.*fetch tiny.*huggingface\.co/someone/other/tree"
    ):
        fetch(replace(spec, weights=replace(source, uri="hf:someone/other")))


def test_rows_that_timm_hosts_name_the_repository_that_timm_knows() -> None:
    for spec in ENCODERS.values():
        if spec.weights is not None and spec.weights.uri.startswith("timm:"):
            known: Any = timm.get_pretrained_cfg(spec.weights.uri.removeprefix("timm:"))
            assert known.hf_hub_id == hub_files(spec.weights.uri)[0], spec.name


def test_a_bare_file_may_hold_no_network(folders: Path) -> None:
    torch.save([1, 2], folders / "numbers.pt")
    with pytest.raises(WeightsError, match="holds no mapping from names to tensors"):
        read(folders / "numbers.pt")
    torch.save({"a": network(), "b": network()}, folders / "two.pt")
    with pytest.raises(WeightsError, match=r"two\.pt holds 2 sets of tensors .a, b.; expected one"):
        import_weights(SPEC, folders / "two.pt")


def test_the_command_imports_lists_and_verifies(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = timm.create_model("deit_tiny_patch16_224")
    torch.save({"model": model.state_dict()}, folders / "official.pth")
    assert main(["weights", "import", "deit_tiny16", str(folders / "official.pth")]) == 0
    assert "under Apache-2.0" in capsys.readouterr().err
    assert main(["weights", "verify"]) == 0
    said = capsys.readouterr().out.splitlines()
    # No digest is published for the file that was imported.
    assert said[0].startswith("deit_tiny16: not verified: no published digest to compare with; imported from official.")
    # The encoders that are shipped are always here.
    assert len(said) == 8
    assert all(re.fullmatch(r"zoo_\w+: sound", line) for line in said[1:])
    assert main(["weights", "list", "--json"]) == 0
    rows = {row["encoder"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["deit_tiny16"]["here"] == "yes"
    assert rows["dift_sd15"]["here"] == rows["voltron_vcond_small"]["here"] == "no"
    assert main(["weights", "list"]) == 0
    assert "non-commercial" in capsys.readouterr().out
    assert main(["weights", "verify", "mae_vitb16"]) == 1
    assert main(["weights", "fetch", "mae_vitb16", "dift_sd15"]) == 1
    error = capsys.readouterr().err
    assert "mae_vitb16 are under CC-BY-NC 4.0, which forbids commercial use" in error
    assert re.search(r"error: .*'dift_sd15'.*stable-diffusion-v1-5 ", error)
