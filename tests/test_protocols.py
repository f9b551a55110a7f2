"""What a user does to protocols and encoders: weights that are missing, two names, overrides, bad features."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pvrbench.benchmark.analysis.statistics import analyse
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.composition import compose_config
from pvrbench.benchmark.engine.context import load_task
from pvrbench.benchmark.plan import make_plan
from pvrbench.benchmark.records.store import RecordStore
from pvrbench.encoders.catalog import ALIASES, ENCODERS
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.demos.demo_set import DemoSet, demo_order, demo_path
from pvrbench.envs.spec import View
from pvrbench.policies.catalog import HEADS

pytestmark = [pytest.mark.usefixtures("shared_cache"), pytest.mark.xdist_group("pipeline")]

TINY = [
    "tasks=[metaworld/button-press-topdown-v3]",
    "baselines=[]",
    "num_demos=[1]",
    "seeds=[0]",
    "num_episodes=2",
    "demo_pool=3",
    # An episode of 5 steps is too short to hold a solved demonstration.
    "demo_end=first_success",
    "horizon=5",
    "image_px=32",
    "render=lean",
    "train.num_updates=20",
    "engine.videos=false",
    "engine.num_workers=1",
    "engine.tile=2",
]
R3M = ["preset=r3m", "encoders=[r3m_resnet50,clip_rn50]"]


def run(run_dir: Path, *overrides: str) -> int:
    return main(["run", *overrides, f"run_dir={run_dir}"])


def records(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((run_dir / "records").glob("*.json"))]


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVRBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "weights"


def test_the_protocol_of_r3m_is_planned_without_weights(no_weights: Path) -> None:
    plan = make_plan(compose_config([*R3M, "tasks=metaworld5", "num_demos=[5,10,25]", "baselines=[]"]))
    assert {group.encoder.name for group in plan.jobs} == {"r3m_resnet50", "clip_resnet50"}
    assert len(plan.cells) == 5 * 3 * 3 * 3 * 3  # tasks, cameras, encoders and readouts, N, seeds
    readouts = {(cell.encoder, cell.readout) for cell in plan.cells}
    # CLIP's authors use its attention pool, so that must be among them.
    assert readouts == {("r3m_resnet50", "mean"), ("clip_resnet50", "mean"), ("clip_resnet50", "pooled")}


@pytest.mark.parametrize(("other", "name"), [("clip_rn50", "clip_resnet50"), ("zoo_voltron", "zoo_vcond")])
def test_two_names_of_one_encoder_are_one_encoder(other: str, name: str) -> None:
    plan = make_plan(compose_config([f"encoders=[{other},{name}]", "baselines=[]"]))
    assert {group.encoder.name for group in plan.jobs} == {name}
    assert len(set(plan.cells)) == len(plan.cells)


def test_all_missing_weights_are_named_at_once(
    no_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "run", *R3M, "tasks=metaworld5", "num_demos=[5,10,25]") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "The weights of 2 encoders are not on this machine, and HF_HUB_OFFLINE is set" in error
    assert "'r3m_resnet50': r3m_resnet50.safetensors, from https://pytorch.s3.amazonaws.com/models/rl/r3m/" in error
    assert "'clip_resnet50': clip_resnet50.safetensors, from https://huggingface.co/timm/resnet50_clip.openai" in error
    assert "`pvrbench weights fetch r3m_resnet50 clip_resnet50`" in error
    assert f"to {no_weights}" in error
    assert "`pvrbench weights import NAME FILE`" in error
    assert not (tmp_path / "run").exists()


def stand_in(name: str, path: Path) -> Path:
    """A checkpoint with random weights in the official format."""
    import timm

    torch.manual_seed(0)
    if name.startswith("r3m"):
        network = timm.create_model(name.removeprefix("r3m_"), num_classes=0)
        convnet = {f"module.convnet.{key}": value for key, value in network.state_dict().items()}
        torch.save({"r3m": convnet | {"module.lang_rew.pred.bias": torch.zeros(3)}, "global_step": 1}, path)
    else:
        torch.save(timm.create_model("resnet50_clip").state_dict(), path)
    return path


@pytest.mark.parametrize(
    "names", [("r3m_resnet18",), pytest.param(("r3m_resnet50", "clip_rn50"), marks=pytest.mark.slow)]
)
def test_the_protocol_of_r3m_runs_with_imported_stand_ins(
    no_weights: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        assert main(["weights", "import", name, str(stand_in(name, tmp_path / f"{name}.pt"))]) == 0
    assert run(tmp_path / "run", "preset=r3m", *TINY, f"encoders=[{','.join(names)}]", "cameras=[top_cap2]") == 0
    found = records(tmp_path / "run")
    assert {record["cell"]["train"]["encoder"] for record in found} == {ENCODERS[ALIASES.get(n, n)].name for n in names}
    for record in found:
        assert record["cell"]["train"]["head"] == "mlp_tanh"
        assert record["settings"]["success_rule"] == "last_step"
        assert len(record["episodes"]) == 2
        row = ENCODERS[record["cell"]["train"]["encoder"]]
        # CLIP's attention pool has a width of its own.
        width = row.options["num_classes"] if record["cell"]["train"]["readout"] == "pooled" else row.feature_dim
        assert record["cost"]["feature_dim"] == width
        assert record["provenance"]["encoder"]["weights_sha256"]


def test_an_override_of_a_protocol_is_recorded_and_reported_as_a_deviation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "preset=r3m", *TINY, "encoders=[oracle]", "cameras=[default]", "heads=[gmm]") == 0
    (record,) = records(tmp_path)
    found = {item["of"]: item for item in record["settings"]["deviations"]}
    assert {"simulator", "cameras", "demonstrations", "checkpoint"} <= set(found)
    overridden = {name: (item["here"], item["original"]) for name, item in found.items() if item["override"]}
    assert overridden.pop("heads") == ("gmm", "mlp_tanh")
    assert overridden == {
        "horizon": ("5", "500"),
        "num_episodes": ("2", "50"),
        "demo_pool": ("3", "50"),
        "demo_end": ("first_success", "full_horizon"),
        "image_px": ("32", "256"),
        "render": ("lean", "full"),
        "train.num_updates": ("20", "20000"),
        "cameras": ("default", "left_cap2, right_cap2, top_cap2"),
    }
    text = (tmp_path / "report" / "report.md").read_text()
    assert "- Deviation: horizon: 5; the preset has 500 (effect on rates not known)" in text
    assert "- Deviation: checkpoint: the last update;" in text
    assert "(reads lower here, by at most 14 points" in text
    assert "horizon: 5; the preset has 500" in (tmp_path / "report" / "report.html").read_text()
    capsys.readouterr()
    assert main(["report", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["deviations"]
    assert said == record["settings"]["deviations"]


def test_choosing_among_the_cells_of_a_protocol_is_no_deviation() -> None:
    config = compose_config(
        ["preset=r3m", "tasks=[metaworld/hammer-v3]", "cameras=[top_cap2]", "encoders=[oracle]", "num_demos=[5]"]
    )
    assert not [item for item in config.deviations if item.override]
    assert not compose_config(["engine.tile=4", "seeds=[7]", "name=mine"]).deviations


def test_a_coarser_precision_of_encoders_is_a_deviation_and_another_protocol() -> None:
    rough = compose_config(["engine.precision=bfloat16", "baselines=[]"])
    (found,) = rough.deviations
    assert (found.of, found.here, found.original) == ("engine.precision", "bfloat16", "float32")
    first, second = (
        next(iter(make_plan(config).jobs[0].settings.values())) for config in (compose_config(["baselines=[]"]), rough)
    )
    assert first.differences(second) == ["precision"]
    # Records of before the key was there are still whole.
    assert "precision" not in first.model_dump()
    assert second.model_dump()["precision"] == "bfloat16"


@pytest.mark.parametrize("preset", ["r3m", "cortexbench", "scr-as-described", "robomimic-bc", "robomimic-bc-gmm"])
def test_a_published_protocol_says_where_it_departs(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "presets", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)[preset]
    assert {"simulator", "demonstrations", "cameras", "checkpoint"} <= {item["of"] for item in said["deviations"]}
    assert {item["effect"] for item in said["deviations"]} <= {"higher", "lower", "none", "unknown"}


ODD_ENCODERS = """
import torch

def one(images):
    return images[:, ::4, ::4].float().flatten(1) / 255

def other(images):
    return images[:, ::4, ::4].float().flatten(1) / 255

def nan(images):
    return torch.full((len(images), 4), float("nan"))

def nan_when_dark(images):
    values = images.float().mean(dim=(1, 2)) / 255
    values[images.float().mean(dim=(1, 2, 3)) < LIMIT] = float("nan")
    return values

seen, bad = [], None

def watched(images):
    values = images.float().mean(dim=(1, 2)) / 255
    for row, image in enumerate(images):
        if image.any():
            seen.append(hash(image.numpy().tobytes()))
            if seen[-1] == bad:
                values[row] = float("nan")
    return values
"""


@pytest.fixture
def odd_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "odd_encoders.py"
    path.write_text(ODD_ENCODERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "odd_encoders", raising=False)
    return path


def test_one_encoder_under_two_names_differs_by_exactly_nothing(odd_encoders: Path, tmp_path: Path) -> None:
    names = ("odd_encoders:one", "odd_encoders:other")
    overrides = [*TINY, "num_demos=[2]", "seeds=[0,1]", "num_episodes=3", "horizon=90", "train.num_updates=300"]
    run_dir = tmp_path / "run"
    assert run(run_dir, *overrides, f"encoders=[{','.join(names)}]", "readouts=[pooled]", "heads=[mlp]") == 0
    found = records(run_dir)
    assert len(found) == 2 * 2  # names, seeds
    by_name: dict[str, list[Any]] = {name: [] for name in names}
    for record in sorted(found, key=lambda record: str(record["cell"]["evaluation"]) + str(record["cell"]["train"])):
        by_name[record["cell"]["train"]["encoder"]].append((record["episodes"], record["train_log"]))
    assert by_name[names[0]] == by_name[names[1]]
    assert len({str(log) for _, log in by_name[names[0]]}) == 2  # the seeds train other heads
    sound, _ = RecordStore(run_dir).read()
    (pair,) = analyse(sound).comparisons
    assert (pair.difference.estimate, pair.difference.low, pair.difference.high) == (0, 0, 0)
    assert (pair.p_value, pair.permutation_p_value, pair.probability_of_improvement) == (1, 1, 0.5)


def test_features_that_are_not_finite_fail_their_own_cells(
    odd_encoders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    assert run(run_dir, *TINY, "encoders=[odd_encoders:nan,oracle]", "readouts=[pooled]", "num_demos=[1,2]") == 1
    error = capsys.readouterr().err
    assert "odd_encoders_nan-pooled-mlp-n1-s0" in error
    assert "returned NaN or infinity in pooled" in error
    assert "the same command with engine.retry_failed=true runs these again" in error
    failures = {
        (item["cell"]["train"]["encoder"], item["cell"]["train"]["num_demos"]): item["failure"]
        for item in records(run_dir)
    }
    assert failures["oracle", 1] is failures["oracle", 2] is None
    for number in (1, 2):
        assert "training failed: Encoder 'odd_encoders:nan' returned NaN" in failures["odd_encoders:nan", number]
    assert "2 cells have no episodes because their training failed" in (run_dir / "report" / "report.md").read_text()


def test_a_demonstration_with_nan_features_spares_the_cells_without_it(
    odd_encoders: Path, tmp_path: Path, shared_cache: Path
) -> None:
    # A limit between the darkest frames of the demonstrations: one of them has a frame below it.
    assert run(tmp_path / "first", *TINY, "encoders=[pixels_7]", "readouts=[pooled]", "num_demos=[2]") == 0
    task = load_task(TASKS["metaworld/button-press-topdown-v3"])
    demos = DemoSet.open(demo_path(shared_cache, task.spec), task.spec, task.spec.demo_noise, task.spec.demo_end)
    view = View(camera=task.spec.cameras[0], image_px=32, render="lean")
    darkest = [
        float(torch.from_numpy(frames.copy()).float().mean(dim=(1, 2, 3)).min())
        for frames in demos.frames(view, shared_cache / "frames", [0, 1, 2])
    ]
    dark = min(range(3), key=lambda index: darkest[index])
    limit = sum(sorted(darkest)[:2]) / 2
    odd_encoders.write_text(ODD_ENCODERS.replace("LIMIT", str(limit)))
    seeds = {seed: demo_order(3, seed)[:2] for seed in range(20)}
    spoilt = next(seed for seed, chosen in seeds.items() if dark in chosen[1:])
    run_dir = tmp_path / "run"
    overrides = [*TINY, "num_demos=[1,2]", f"seeds=[{spoilt}]", "readouts=[pooled]", "horizon=30"]
    assert run(run_dir, *overrides, "encoders=[odd_encoders:nan_when_dark]") == 1
    one, two = sorted(records(run_dir), key=lambda item: item["cell"]["train"]["num_demos"])
    assert one["failure"] is None
    assert len(one["episodes"]) == 2
    assert f"It was so in demonstrations {dark}." in two["failure"]


def test_a_frame_with_nan_features_ends_its_own_episode(
    odd_encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*TINY, "readouts=[pooled]", "encoders=[odd_encoders:watched]"]
    assert run(tmp_path / "sound", *overrides) == 0
    watched = importlib.import_module("odd_encoders")
    monkeypatch.setattr(watched, "bad", watched.seen[-1])
    assert run(tmp_path / "spoilt", *overrides) == 0
    (sound,), (spoilt,) = records(tmp_path / "sound"), records(tmp_path / "spoilt")
    lost = [episode for episode in spoilt["episodes"] if episode["failure"] is not None]
    assert len(lost) == 1
    assert "returned NaN or infinity in pooled" in lost[0]["failure"]
    assert not lost[0]["success"]
    assert [episode for episode in spoilt["episodes"] if episode not in lost] == [
        episode for episode in sound["episodes"] if episode["index"] != lost[0]["index"]
    ]
    text = (tmp_path / "spoilt" / "report" / "report.md").read_text()
    assert "1 episodes were given up and count as failures. The first reason: Encoder 'odd_encoders:watched'" in text


CONSTANTS = {
    "r3m": (
        "cameras left_cap2,right_cap2,top_cap2 num_demos 5,10,25 num_episodes 50 image_px 256 horizon 500 "
        "success_rule last_step heads mlp_tanh num_updates 20000 batch_size 32 learning_rate 0.001 "
        "weight_decay 0.0 optimizer adam schedule constant input_norm batch use_proprio True history 1"
    ),
    "cortexbench": (
        "cameras top_cap2 num_demos 25 seeds 100,200,300 num_episodes 25 image_px 256 horizon 500 "
        "success_rule last_step heads mlp3 num_updates 4900 batch_size 256 learning_rate 0.001 optimizer adam "
        "schedule constant input_norm batch dropout 0.0 use_proprio True history 3 fusion flare"
    ),
    "scr-as-described": (
        "cameras top_cap2 num_demos 25 seeds 12345,23451,34512 num_episodes 25 image_px 256 horizon 500 "
        "success_rule last_step heads mlp3 readouts compression768 encoders scr_sd15 num_updates 4900 "
        "batch_size 256 learning_rate 0.001 input_norm batch use_proprio True history 3 fusion concat"
    ),
    "robomimic-bc": (
        "cameras agentview num_demos 40,100,200 num_episodes 50 horizon 400 success_rule any_step image_px 84 "
        "heads mlp_squashed num_updates 300000 batch_size 16 learning_rate 0.0001 schedule constant"
    ),
    "robomimic-bc-gmm": (
        "cameras agentview num_demos 40,100,200 num_episodes 50 horizon 400 success_rule any_step image_px 84 "
        "heads gmm_sampled num_updates 300000 batch_size 16 learning_rate 0.0001 schedule constant"
    ),
}


@pytest.mark.parametrize("preset", CONSTANTS)
def test_a_published_protocol_has_its_published_constants(preset: str) -> None:
    values: dict[str, Any] = json.loads(compose_config([f"preset={preset}"]).model_dump_json())
    words = CONSTANTS[preset].split()
    for key, expected in zip(words[::2], words[1::2], strict=True):
        found: Any = values.get(key, values["train"].get(key))
        assert (",".join(map(str, found)) if isinstance(found, list) else str(found)) == expected, key  # pyright: ignore[reportUnknownArgumentType]


def test_heads_of_published_protocols_have_their_published_shape() -> None:
    tanh, three, squashed, mixture = (
        HEADS[name].options.model_dump() for name in ("mlp_tanh", "mlp3", "mlp_squashed", "gmm_sampled")
    )
    assert (tanh["hidden"], tanh["activation"], tanh["last_layer_scale"]) == ((256, 256), "tanh", 0.01)
    assert (three["hidden"], three["activation"], three["last_layer_scale"]) == ((256, 256, 256), "relu", 0.01)
    assert (squashed["hidden"], squashed["activation"], squashed["squash"]) == ((1024, 1024), "relu", True)
    assert (mixture["hidden"], mixture["num_modes"], mixture["min_std"]) == ((1024, 1024), 5, 1e-4)
    assert mixture["act_rule"] == "sampled_mode"
