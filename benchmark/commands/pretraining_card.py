"""What is written of a pretraining: quantised weights, a card of facts, and two figures."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import UInt8
from safetensors.torch import save
from torch import Tensor

from pvrbench.benchmark.engine.encoder_pool import load_encoder
from pvrbench.benchmark.engine.provenance import PACKAGES, package_versions, processor, source_commit
from pvrbench.common.files import write_atomically
from pvrbench.encoders.base import Encoder
from pvrbench.encoders.rows.zoo import zoo_row
from pvrbench.encoders.zoo.pretraining.base import Array, PretrainingFrames, settings_of
from pvrbench.encoders.zoo.pretraining.checkpoint import write_whole
from pvrbench.encoders.zoo.pretraining.probe import probe_encoder
from pvrbench.encoders.zoo.pretraining.quantisation import quantise
from pvrbench.encoders.zoo.pretraining.retrieval import retrieval_picture, spread
from pvrbench.encoders.zoo.pretraining.sampling import BatchSource, split_clips
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec
from pvrbench.encoders.zoo.pretraining.training import Trained, build_objective, precision_of

SCHEMA = 1
WEIGHTS = "weights.safetensors"
_MOST_POINTS = 500


def write_result(
    spec: ObjectiveSpec, trained: Trained, frames: PretrainingFrames, folder: Path, device: str
) -> dict[str, Any]:
    """Writes weights, card and figures; probes run on the weights as written.

    Returns:
        The card.

    Raises:
        PretrainingError: the disk is full.
    """
    objective = trained.objective.to("cpu")
    content = _packed(objective.export())
    write_whole(folder / WEIGHTS, content)
    encoder = _load(spec, folder / WEIGHTS)
    with tempfile.TemporaryDirectory() as untrained_folder:
        path = Path(untrained_folder) / WEIGHTS
        path.write_bytes(_packed(build_objective(spec, trained.vocabulary).export()))
        untrained = _load(spec, path)
    card = _card(spec, trained, frames, device)
    card["weights"] = {"file": WEIGHTS, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    card["probe"] = {
        name: {field: asdict(result) for field, result in probe_encoder(which, frames, spec.recipe.held_out).items()}
        for name, which in (("trained", encoder), ("untrained", untrained))
    }
    card["spread"] = {"trained": spread(encoder, frames), "untrained": spread(untrained, frames)}
    write_atomically(folder / "card.json", json.dumps(_finite(card), indent=1) + "\n")
    _draw_loss(card, folder / "loss.png")
    _draw_picture(_picture(spec, trained, frames, encoder), folder / "picture.png")
    return card


def _packed(weights: Mapping[str, Tensor]) -> bytes:
    # One key alone: safetensors writes several in no fixed order, and equal weights are to have equal digests.
    return save(quantise(weights), metadata={"format": "pt"})


def _load(spec: ObjectiveSpec, path: Path) -> Encoder:
    return load_encoder(zoo_row(spec, f"file:{path.absolute()}"))


def _card(spec: ObjectiveSpec, trained: Trained, frames: PretrainingFrames, device: str) -> dict[str, Any]:
    train, held_out = split_clips(len(frames.clip_starts), spec.recipe.held_out)
    lines = [line for line in trained.log if "loss" in line]
    lines = lines[:: max(1, len(lines) // _MOST_POINTS)]
    is_gpu = device.startswith("cuda")
    return {
        "schema": SCHEMA,
        "objective": spec.name,
        "description": spec.description,
        "paper": spec.paper,
        "settings": dict(settings_of(spec)),
        "data": {
            "digest": frames.digest,
            "num_frames": len(frames.images),
            "train_clips": len(train),
            "held_out_clips": len(held_out),
            "captions": len(set(frames.captions)) if spec.needs_text else 0,
        },
        "vocabulary": list(trained.vocabulary.words) if spec.needs_text else [],
        "hardware": {
            "platform": f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores",
            "device": torch.cuda.get_device_name() if is_gpu else "cpu",
            "precision": precision_of(device),
            "threads": torch.get_num_threads(),
        },
        "packages": package_versions(PACKAGES),
        "commit": source_commit(),
        "num_steps": spec.num_steps,
        "frames_seen": trained.frames_seen,
        "pictures_seen": trained.frames_seen * spec.num_views,
        "flops": trained.flops,
        "wall_clock_s": trained.wall_clock_s,
        "num_params": sum(value.numel() for value in trained.objective.export().values()),
        "loss_curve": [[line["step"], line["loss"]] for line in lines],
        "held_out_curve": [[line["step"], line["held_out"]["loss"]] for line in trained.log if "held_out" in line],
        "held_out": dict(trained.held_out),
        "trivial": dict(trained.trivial),
        **({"findings": dict(trained.findings)} if trained.findings else {}),
        "beats_trivial": {name: trained.held_out[name] < value for name, value in trained.trivial.items()},
    }


def _finite(value: object) -> object:
    """JSON has no NaN: what could not be measured becomes null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in cast("list[object]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _picture(
    spec: ObjectiveSpec, trained: Trained, frames: PretrainingFrames, encoder: Encoder
) -> UInt8[Array, "H W 3"]:
    """What the objective restores of held-out frames; where it restores nothing, their nearest neighbours."""
    _, held_out = split_clips(len(frames.clip_starts), spec.recipe.held_out)
    source = BatchSource(frames, held_out, spec, trained.vocabulary, "picture", "cpu")
    restored = trained.objective.picture(source.batch(0, spec.recipe.phases[-1].name, 1.0))
    return retrieval_picture(encoder, frames, spec.recipe.held_out) if restored is None else restored


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _draw_loss(card: Mapping[str, Any], path: Path) -> None:
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(5.5, 3.2), layout="constrained")
    axis.plot(*zip(*card["loss_curve"], strict=True), label="training", color="#0072B2", linewidth=1)
    points = [*card["held_out_curve"], [card["num_steps"], card["held_out"]["loss"]]]
    axis.plot(*zip(*points, strict=True), label="held-out clips", color="#D55E00", marker="o", markersize=3)
    axis.axhline(card["trivial"]["loss"], label="trivial answer", color="#777777", linestyle=":")
    axis.set(xlabel="update", ylabel="loss", title=f"{card['objective']}: {card['description']}")
    axis.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _draw_picture(picture: UInt8[Array, "H W 3"], path: Path) -> None:
    _pyplot().imsave(path, picture)
