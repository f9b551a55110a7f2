"""Body of `pvrbench pretrain`: frames in, a small encoder with its card and figures out."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pvrbench.benchmark.catalog import unknown
from pvrbench.benchmark.commands.verb import AddVerb
from pvrbench.benchmark.engine.forecast import duration
from pvrbench.encoders.zoo.pretraining.catalog import OBJECTIVES
from pvrbench.encoders.zoo.pretraining.spec import ObjectiveSpec, Option
from pvrbench.envs.pictures.frame_set import read_frame_set

if TYPE_CHECKING:
    from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames

PRETRAIN_HELP = """\
Settings are given as key=value.

  pvrbench pretrain objective=mae frames=FOLDER output=FOLDER
  pvrbench pretrain objective=clip frames=FOLDER output=FOLDER num_samples=100000 seed=1 threads=2 device=cuda
  pvrbench pretrain objective=simclr frames=FOLDER output=FOLDER batch_size=64 lr_factor=0.5 options.temperature=0.2

objective    mae, simclr, dino, clip, r3m, vcond or dift; docs/pretraining.md says what each does
frames       folder of a frame set
output       folder for weights.safetensors, card.json, loss.png and picture.png; a training that was interrupted
             goes on there when the same command is given again
num_samples  budget in frames drawn from the set, the same for every objective; default 100000
lr_factor    multiplies the learning rates of the recipe
options.KEY  a hyper-parameter of the objective

Of the recipe there are also batch_size, weight_decay, warmup, clip_norm, held_out, checkpoint_every, log_every and
eval_every."""

_RECIPE: Mapping[str, Callable[[str], int | float]] = {
    "num_samples": int,
    "batch_size": int,
    "seed": int,
    "weight_decay": float,
    "warmup": float,
    "clip_norm": float,
    "held_out": float,
    "checkpoint_every": int,
    "log_every": int,
    "eval_every": int,
}
_NEEDED = ("objective", "frames", "output")
_OTHERS = (*_NEEDED, "threads", "device", "lr_factor")
_MAY_BE_ZERO = ("seed", "weight_decay", "warmup", "clip_norm", "eval_every")


def add_pretraining(verb: AddVerb) -> None:
    """Adds the verb that pretrains an encoder."""
    command = verb("pretrain", "Pretrain a small encoder on rendered frames.", pretrain_command, epilog=PRETRAIN_HELP)
    command.add_argument("settings", nargs="*", metavar="key=value")


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked.

    Attributes:
        spec: the objective, its recipe as asked.
        frames: folder of the frame set.
        output: folder of the result.
        threads: processor threads; None leaves them as they are.
        device: `cpu` or `cuda`.
    """

    spec: ObjectiveSpec
    frames: Path
    output: Path
    threads: int | None
    device: str


def parse_order(texts: Sequence[str]) -> Order:
    """Reads settings.

    Raises:
        ValueError: one is unknown, missing or of the wrong kind.
    """
    values = dict(_pair(text) for text in texts)
    for name in _NEEDED:
        if name not in values:
            raise ValueError(f"`pvrbench pretrain` needs {name}=...; `pvrbench pretrain --help` shows an example.")
    if values["objective"] not in OBJECTIVES:
        raise ValueError(_hint("objective", values["objective"], OBJECTIVES))
    threads = _number("threads", values["threads"], int) if "threads" in values else None
    return Order(
        spec=_with_settings(OBJECTIVES[values["objective"]], values),
        frames=Path(values["frames"]).expanduser(),
        output=Path(values["output"]).expanduser(),
        threads=None if threads is None else int(threads),
        device=values.get("device", "cpu"),
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    known = (*_OTHERS, *_RECIPE)
    if not equals:
        raise ValueError(f"{text!r} is not a setting. Write key=value, for instance objective=mae.")
    if key not in known and not key.startswith("options."):
        raise ValueError(_hint("setting", key, known))
    return key, value


def _hint(kind: str, given: str, known: Sequence[str] | Mapping[str, object]) -> str:
    return unknown(kind, given, list(known)).replace(f"`pvrbench list {kind}s`", "`pvrbench pretrain --help`")


def _number(name: str, text: str, kind: Callable[[str], int | float]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not value >= 0 or (value == 0 and name not in _MAY_BE_ZERO):
        raise ValueError(f"{name}={text} is not {'a whole number' if kind is int else 'a number'} above 0.")
    return value


def _with_settings(spec: ObjectiveSpec, values: Mapping[str, str]) -> ObjectiveSpec:
    changes: dict[str, Any] = {
        name: _number(name, values[name], kind) for name, kind in _RECIPE.items() if name in values
    }
    factor = float(_number("lr_factor", values.get("lr_factor", "1"), float))
    phases = tuple(replace(phase, lr=phase.lr * factor) for phase in spec.recipe.phases)
    options: dict[str, Option] = dict(spec.options)
    for key, text in values.items():
        name = key.removeprefix("options.")
        if name == key:
            continue
        if name not in options:
            raise ValueError(_hint("setting", key, [f"options.{option}" for option in options]))
        old = options[name]
        options[name] = text if isinstance(old, str) else _option(key, text, type(old))
    return replace(spec, recipe=replace(spec.recipe, phases=phases, **changes), options=options)


def _option(key: str, text: str, kind: type[int] | type[float]) -> Option:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{key}={text} is not a number; expected {kind.__name__}.") from None


def pretrain_command(options: Namespace) -> int:
    """Trains, then writes weights, card and figures."""
    order = parse_order(options.settings)
    frames = read_frames(order.frames)
    # cuBLAS reads this when it is first used; without it sums on a GPU have no fixed order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from pvrbench.benchmark.commands.pretraining_card import write_result
    from pvrbench.encoders.zoo.pretraining.training import pretrain

    if order.threads is not None:
        torch.set_num_threads(order.threads)
    if order.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device={order.device} is asked, and torch finds no GPU here. Leave it out for the processor."
        )

    def show(done: int, total: int, loss: float) -> None:
        sys.stderr.write(f"\rupdate {done} of {total}, loss {loss:.4f} ")

    trained = pretrain(order.spec, frames, order.output, device=order.device, on_progress=show)
    sys.stderr.write("\n")
    card = write_result(order.spec, trained, frames, order.output, order.device)
    final, trivial = card["held_out"]["loss"], card["trivial"]["loss"]
    verdict = "below" if final < trivial else "NOT below"
    sys.stdout.write(
        f"{order.output}: held-out loss {final:.4f}, {verdict} the trivial {trivial:.4f}; {trained.frames_seen} frames "
        f"in {duration(trained.wall_clock_s)}, {trained.flops / 1e12:.1f} TFLOP\n"
    )
    return 0


def read_frames(folder: Path) -> PretrainingFrames:
    """A frame set as the objectives take it.

    Raises:
        FrameSetError: the folder is not a whole frame set.
    """
    from pvrbench.encoders.zoo.pretraining.base import PretrainingFrames

    found = read_frame_set(folder)
    spans = np.asarray([(clip.start, clip.length) for clip in found.clips], np.int64)
    captions = tuple(clip.instruction for clip in found.clips)
    return PretrainingFrames(
        found.images, spans[:, 0], spans[:, 1], captions, np.asarray(found.object_pixels, np.float32), found.digest
    )
