"""Body of `pvrbench spair`: semantic correspondence on SPair-71k, from a local folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar, Literal

from rich.table import Table

from pvrbench.benchmark.catalog import encoders
from pvrbench.benchmark.commands.verb import UserPath, Verb, VerbSettings, print_json, terminal
from pvrbench.benchmark.limits import Positive
from pvrbench.benchmark.probes.spec import lacks

# Side of the pictures on which an encoder is checked before it is scored; those of SPair-71k have all sizes.
PROBE_PX = 224


class SpairSettings(VerbSettings):
    """Settings of `pvrbench spair`."""

    subjects: ClassVar[tuple[str, ...]] = ("encoder",)

    encoder: str
    """Catalog name, `module:attribute` or checkpoint URI."""
    folder: UserPath
    """The unpacked folder SPair-71k."""
    split: Literal["trn", "val", "test"] = "test"
    """Pairs that are scored."""
    num_pairs: Positive | None = None
    """Evenly spread pairs to score; null scores all."""
    device: str = "cpu"
    """Where the encoder runs: `cpu`, `cuda`, `cuda:1`."""
    as_json: bool = False
    """Print JSON for a program to read."""


def spair(settings: SpairSettings) -> int:
    """Scores an encoder and prints PCK by category."""
    spec = encoders()[settings.encoder]
    if reason := lacks("grid", spec):
        raise ValueError(f"{spec.name} {reason}. Choose another encoder; `pvrbench list encoders` shows all.")
    from pvrbench.benchmark.engine.encoder_pool import load_encoder
    from pvrbench.benchmark.engine.hardware import check_device
    from pvrbench.benchmark.probes.spair import read_spair, score_spair
    from pvrbench.encoders.identity import check_deterministic

    check_device(settings.device)
    pairs = read_spair(settings.folder, settings.split, settings.num_pairs)
    encoder = load_encoder(spec).to(settings.device)
    check_deterministic(encoder, PROBE_PX)
    scores = score_spair(encoder, pairs)
    if settings.as_json:
        print_json([asdict(score) for score in scores])
        return 0
    table = Table("category", "PCK@0.1 per image, %", "per point, %", "pairs", "points", box=None)
    for score in scores:
        rates = (f"{100 * rate:.1f}" for rate in (score.per_image, score.per_point))
        table.add_row(score.category, *rates, str(score.num_pairs), str(score.num_points))
    terminal().print(table)
    return 0


SPAIR = Verb(
    name="spair",
    summary="Score an encoder's correspondence on SPair-71k, from a local folder.",
    settings=SpairSettings,
    body=spair,
    details="""\
  pvrbench spair zoo_dift folder=~/data/SPair-71k
  pvrbench spair zoo_dift folder=~/data/SPair-71k split=val num_pairs=200 --json""",
)
