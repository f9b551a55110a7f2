"""Results in the formats of other tools: Hugging Face model cards, TensorBoard, Weights & Biases."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pvrbench.benchmark.analysis.comparison import ReportError
from pvrbench.benchmark.analysis.ranking import name_of, row_of
from pvrbench.benchmark.analysis.statistics import Analysis, CurvePoint
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.common.files import write_atomically

# Name of the mean where others are names of tasks.
MEAN_OVER_TASKS = "mean over tasks"


def to_model_card(analysis: Analysis, records: Sequence[CellRecord], output_dir: Path) -> list[Path]:
    """One `README.md` for each encoder: its results as `model-index` metadata, its licence, and a table as the body."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    written: list[Path] = []
    for encoder in sorted({item.contender.encoder for item in analysis.ranking if not item.contender.is_reference}):
        points = [point for point in analysis.points if point.contender.encoder == encoder]
        facts = next(record.provenance.encoder for record in records if record.cell.encoder == encoder)
        licence = str(facts.get("licence") or "unknown")
        # The hub accepts its own identifiers only, so the licence goes by its name.
        data = ModelCardData(
            model_name=encoder,
            license="other",
            license_name=licence,
            eval_results=[_eval_result(EvalResult, point, records[0].settings.preset) for point in points],
        )
        path = output_dir / folder_name(encoder) / "README.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_card_body(encoder, licence, points, records)}")
        write_atomically(path, str(card))
        written.append(path)
    return written


def folder_name(encoder: str) -> str:
    """The encoder's name where it is one of a folder, else with a hash: different names have different folders."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", encoder)[:100].strip(".")
    return readable if readable == encoder else f"{readable}-{digest_of(encoder)[:8]}"


def _eval_result(result_class: Any, point: CurvePoint, preset: str) -> Any:
    # The hub merges results with equal task type, data set and configuration, so these name task and contender.
    task = point.task or MEAN_OVER_TASKS
    return result_class(
        task_type="robotics",
        task_name=task,
        dataset_type="pvrbench",
        dataset_name=f"pvrbench {preset}: {task}",
        dataset_config=f"{task}, {point.contender.readout}/{point.contender.head}",
        metric_type="success_rate",
        metric_name=f"success at N = {point.num_demos}",
        metric_value=round(point.success.estimate, 4),
        metric_args={"low": round(point.success.low, 4), "high": round(point.success.high, 4)},
    )


def _card_body(encoder: str, licence: str, points: Sequence[CurvePoint], records: Sequence[CellRecord]) -> str:
    num_seeds = len({record.cell.seed for record in records})
    lines = [
        f"# {encoder}",
        "",
        f"Licence of the weights, as recorded: {licence}.",
        "",
        "Success of policies trained by behaviour cloning on features of this encoder, against the number of",
        f"demonstrations (N). Protocol: pvrbench `{records[0].settings.preset}`, {num_seeds} training",
        f"seed{'s' * (num_seeds > 1)}. Brackets are 95 % intervals.",
        "",
        "| task | readout | head | N | success, % |",
        "|---|---|---|---|---|",
    ]
    for point in points:
        rate, who = point.success, point.contender
        cells = (point.task or MEAN_OVER_TASKS, who.readout, who.head, str(point.num_demos))
        shown = f"{100 * rate.estimate:.0f} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, shown)) + " |")
    return "\n".join(lines) + "\n"


def to_tensorboard(analysis: Analysis, records: Sequence[CellRecord], output_dir: Path) -> list[Path]:
    """Event files: success against N as scalars by contender and task, training losses by cell."""
    writer_class = _optional("torch.utils.tensorboard", "tensorboard").SummaryWriter
    writer: Any = writer_class(str(output_dir))
    for point in analysis.points:
        tag = f"{point.task or MEAN_OVER_TASKS}/{name_of(point.contender)}"
        writer.add_scalar(tag, point.success.estimate, point.num_demos)
    for record in records:
        updates, losses = record.train_log.get("updates"), record.train_log.get("losses")
        if isinstance(updates, list) and isinstance(losses, list):
            for update, loss in zip(updates, losses, strict=True):
                writer.add_scalar(f"loss/{record.cell.slug}", loss, update)
    writer.close()
    return [output_dir]


def to_wandb(analysis: Analysis, records: Sequence[CellRecord], output_dir: Path) -> list[Path]:
    """A run of the project `pvrbench` with ranking and curves as tables; `WANDB_MODE=offline` keeps it on the disk."""
    wandb = _optional("wandb", "wandb")
    output_dir.mkdir(parents=True, exist_ok=True)
    run = wandb.init(project="pvrbench", dir=str(output_dir), config=records[0].settings.model_dump(mode="json"))
    rows = [row_of(item) for item in analysis.ranking]
    columns = list(rows[0]) if rows else []
    run.log({"ranking": wandb.Table(columns=columns, data=[list(row.values()) for row in rows])})
    curves = [
        [name_of(point.contender), point.task or "mean over tasks", point.num_demos, point.success.estimate]
        for point in analysis.points
    ]
    run.log({"curves": wandb.Table(columns=["contender", "task", "num_demos", "success"], data=curves)})
    run.finish()
    return [output_dir]


EXPORTS: Mapping[str, Callable[[Analysis, Sequence[CellRecord], Path], list[Path]]] = {
    "model-card": to_model_card,
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
}


def _optional(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ReportError(f"This needs the package {extra}: pip install 'pvrbench[{extra}]'.") from error
