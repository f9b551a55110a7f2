"""`pvrbench probe` as a user meets it, on a task with few demonstrations."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

import pytest

from pvrbench.benchmark.cli import main
from pvrbench.benchmark.records.probe_schema import ProbeRecord
from pvrbench.benchmark.records.probe_store import ProbeStore

SETTINGS = (
    "preset=quickstart",
    "tasks=[metaworld/button-press-topdown-v3]",
    "encoders=[pixels_7]",
    "baselines=[oracle,expert,proprio]",
    "readouts=[mean,grid7]",
    "demo_pool=6",
    "num_demos=[2]",
    "image_px=32",
)
FEW = ("probe_options.correspondence.num_episodes=1", "probe_options.correspondence.num_instants=2")
STATE = ("probes=[state_regression]", "probe_options.state_regression.strayed_episodes=2")
BOTH = ("probes=[state_regression,action_regression]", STATE[1])


@pytest.fixture(scope="module")
def probed(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probed") / "run"
    assert main(["probe", *SETTINGS, *BOTH, f"run_dir={folder}"]) == 0
    return folder


def found(folder: Path) -> dict[tuple[str, str], ProbeRecord]:
    records, refusals = ProbeStore(folder).read()
    assert not refusals
    return {(record.key.probe, record.key.encoder): record for record in records}


def value(record: ProbeRecord, name: str, of: str, readout: str, on: str) -> float:
    return next(
        item.value for item in record.measures if (item.name, item.of, item.readout, item.on) == (name, of, readout, on)
    )


def test_the_oracle_knows_the_state_and_pixels_know_some(probed: Path) -> None:
    records = found(probed)
    # The expert is no encoder, and `proprio` reads nothing.
    assert {encoder for _, encoder in records} == {"oracle", "pixels_7"}
    oracle, pixels = (records["state_regression", name] for name in ("oracle", "pixels_7"))
    for kind in ("held_out_demos", "strayed"):
        assert value(oracle, "r2", "all", "pooled", kind) > 0.999
        assert value(oracle, "error_cm", "hand", "pooled", kind) < 0.1
    assert 0.2 < value(pixels, "r2", "hand", "grid7", "held_out_demos") < 1.0
    assert value(pixels, "error_cm", "hand", "grid7", "held_out_demos") < next(
        item.reference or 0.0 for item in pixels.measures if item.name == "error_cm" and item.of == "hand"
    )
    action = records["action_regression", "oracle"]
    assert value(action, "r2", "all", "pooled", "held_out_demos") > 0.5
    assert all(item.reference is not None for item in action.measures)


def test_the_report_shows_every_number(probed: Path) -> None:
    page = (probed / "report" / "probes.html").read_text()
    assert "r2 · positions · strayed" in page
    assert "(reference)" in page
    table = list(csv.DictReader((probed / "report" / "probes.csv").read_text().splitlines()))
    assert len(table) == sum(len(record.measures) for record in found(probed).values())
    assert {row["encoder"] for row in table} == {"oracle", "pixels_7"}


def test_the_same_command_goes_on_and_another_protocol_is_refused(
    probed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = found(probed)
    command = ["probe", *SETTINGS, "probes=[action_regression]", f"run_dir={probed}"]
    assert main(command) == 0
    assert "0 probes recorded, 2 were there already" in capfd.readouterr().out
    assert found(probed) == before
    assert main([*command, "probe_options.action_regression.max_frames=50"]) == 2
    assert "under other settings: options" in capfd.readouterr().err


def test_other_encoders_are_not_put_beside_records_of_another_protocol_or_of_other_inputs(
    probed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = found(probed)["action_regression", "oracle"]
    store = ProbeStore(tmp_path)
    command = ["probe", *SETTINGS, "baselines=[]", "probes=[action_regression]", f"run_dir={tmp_path}"]
    store.write(record)
    assert main([*command, "image_px=48"]) == 2
    assert "under other settings: image_px (32 there, 48 here)" in capfd.readouterr().err
    store.write(record.model_copy(update={"digests": record.digests.model_copy(update={"demos": "others"})}))
    assert main(command) == 2
    assert "The demonstrations of metaworld/button-press-topdown-v3 changed after" in capfd.readouterr().err
    store.write(record.model_copy(update={"probe": "others"}))
    assert main(command) == 2
    assert "The code of the probe action_regression changed after" in capfd.readouterr().err
    assert len(found(tmp_path)) == 1


def test_two_results_of_a_probe_in_one_folder_are_refused(probed: Path, tmp_path: Path) -> None:
    record = found(probed)["action_regression", "oracle"]
    store = ProbeStore(tmp_path)
    store.write(record)
    store.pack()
    assert store.read() == ([record.sealed()], [])
    store.write(record.model_copy(update={"notes": ("another",)}))
    (refusal,) = store.read()[1]
    assert "holds other numbers of action_regression" in refusal.reason


def test_a_record_that_was_edited_is_refused(probed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = next(iter(sorted((probed / "probes").glob("*.json"))))
    (tmp_path / "probes").mkdir()
    edited = json.loads(source.read_text())
    edited["measures"][0]["value"] = 1.0
    (tmp_path / "probes" / source.name).write_text(json.dumps(edited))
    assert main(["probe", *SETTINGS, *BOTH, f"run_dir={tmp_path}"]) == 2
    assert "was changed after it was written" in capfd.readouterr().err


def test_packed_records_are_the_same(probed: Path, tmp_path: Path) -> None:
    store = ProbeStore(tmp_path)
    for record in ProbeStore(probed).read()[0]:
        store.write(record)
    assert store.pack() == 4
    for path in store.records_dir.glob("*.json"):
        path.unlink()
    assert {key: record.digest for key, record in found(tmp_path).items()} == {
        key: record.digest for key, record in found(probed).items()
    }


def test_correspondence_by_kind_of_pair_and_segmentation(shared_cache: Path, tmp_path: Path) -> None:
    settings = ("baselines=[]", "image_px=64", "encoders=[pixels_28]", "probes=[correspondence,segmentation]")
    few = (*FEW, *(text.replace("correspondence", "segmentation") for text in FEW))
    assert main(["probe", *SETTINGS, *settings, *few, f"run_dir={tmp_path}"]) == 0
    segmentation = found(tmp_path)["segmentation", "pixels_28"]
    (miou,) = (item for item in segmentation.measures if item.name == "miou")
    assert 0.3 < miou.value < 1.0
    assert segmentation.pictures
    record = found(tmp_path)["correspondence", "pixels_28"]
    assert {item.of for item in record.measures} >= {"camera", "look", "all"}
    assert {item.on for item in record.measures} == {"object", "robot"}
    by_kind = {item.of: item for item in record.measures if (item.name, item.on) == ("pck_8px", "object")}
    # Colours are found again where only the light changed, better than by chance.
    assert by_kind["look"].value > (by_kind["look"].reference or 1.0)
    assert base64.b64decode(record.pictures[0].jpeg).startswith(b"\xff\xd8")
    assert (tmp_path / "report" / "probes.html").read_text().count("<img src=") == 2


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["probes=[stat_regression]", "probe_options={}"], "Did you mean 'state_regression'"),
        (["encoders=[proprio]"], "reads nothing"),
        (["probe_options.correspondence.num_pairs=3"], "Ask for that probe, or leave it out"),
        (["probe_options.state_regression.pairs=3"], "has the options strayed_episodes"),
        (["probe_options.state_regression.stride=0"], "option stride=0 is not valid"),
        (["demo_pool=2"], "at least 3 demonstrations"),
        (["encoders=[random_zoo_vit]", "adaptations=[lora]"], "Probes measure frozen encoders"),
        (["readouts=[spatial_softmax]"], "trained with a head"),
        (
            ["probes=[dift_sweep]", "probe_options={}", "encoders=[zoo_mae]"],
            "no diffusion model with a block and a time",
        ),
        (["probes=[correspondence]", "probe_options={}", "encoders=[oracle]"], "oracle reads no images"),
        (["probes=[correspondence]", "probe_options={}", *FEW, "image_px=16"], "sees no object that can move"),
    ],
)
def test_bad_input_is_told_in_one_line(
    shared_cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], overrides: list[str], text: str
) -> None:
    base = ["probe", *SETTINGS, "baselines=[]", *STATE, f"run_dir={tmp_path}"]
    assert main([*base, *overrides]) != 0
    message = " ".join(capfd.readouterr().err.split())
    assert text in message


OWN_PROBE = """
from pvrbench.benchmark.probes.base import Findings
from pvrbench.benchmark.probes.spec import ProbeSpec
from pvrbench.benchmark.records.probe_schema import Measure

class Norm:
    def __init__(self, spec):
        self.spec = spec

    def run(self, subject):
        features = subject.demonstrations().features["mean"]
        return Findings((Measure(name="norm", value=float(features.norm(dim=1).mean()), count=len(features)),))

ROW = ProbeSpec(name="own_probe:ROW", entry_point="own_probe:Norm", description="mean norm", needs="readouts")
"""


def test_a_probe_of_ones_own(shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_probe.py").write_text(OWN_PROBE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["probe", *SETTINGS, "baselines=[]", "probes=[own_probe:ROW]", f"run_dir={tmp_path / 'run'}"]
    assert main(command) == 0
    (record,) = found(tmp_path / "run").values()
    assert record.measures[0].name == "norm"
    assert record.measures[0].value > 0


@pytest.mark.slow
def test_the_sweep_measures_every_choice(shared_cache: Path, tmp_path: Path) -> None:
    options = {
        "timesteps": "1+261",
        "blocks": "down_0+up_0",
        "num_episodes": "5",
        "num_instants": "2",
        "num_pair_episodes": "1",
    }
    few = [f"probe_options.dift_sweep.{name}={value}" for name, value in options.items()]
    settings = ("baselines=[]", "image_px=64", "encoders=[random_zoo_unet]", "probes=[dift_sweep]", *few)
    assert main(["probe", *SETTINGS, *settings, f"run_dir={tmp_path}"]) == 0
    (record,) = found(tmp_path).values()
    choices = {f"block={block} t={step} ensemble=1" for block in ("down_0", "up_0") for step in (1, 261)}
    for name in ("pck_0.10", "pck_8px", "error_px", "r2"):
        assert {item.of for item in record.measures if item.name == name} == choices
    assert len({item.value for item in record.measures if item.name == "r2"}) > 1
    assert record.notes == ("it has one fixed noise, so ensembles of 8 are left out",)
    assert len(record.pictures) == 3
