"""Results for other places: a Hugging Face model card, TensorBoard, Weights & Biases. Nothing is sent unasked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pvrbench.benchmark.analysis.comparison import ReportError
from pvrbench.benchmark.analysis.ranking import name_of, row_of
from pvrbench.benchmark.analysis.statistics import Analysis
from pvrbench.benchmark.records.schema import CellRecord
from pvrbench.benchmark.records.store import write_atomically


def to_model_card(analysis: Analysis, records: Sequence[CellRecord], output_dir: Path) -> list[Path]:
    """One `README.md` for each encoder with its results as `model-index` metadata, ready to be added to its card."""
    from huggingface_hub import EvalResult, ModelCardData

    preset = records[0].settings.preset
    written: list[Path] = []
    for encoder in sorted({item.contender.encoder for item in analysis.ranking if not item.contender.is_reference}):
        results = [
            EvalResult(
                task_type="robotics",
                task_name=point.task or "mean over tasks",
                dataset_type="pvrbench",
                dataset_name=f"pvrbench {preset}",
                dataset_config=f"{point.contender.readout}/{point.contender.head}",
                metric_type="success_rate",
                metric_name=f"success at N = {point.num_demos}",
                metric_value=round(point.success.estimate, 4),
                metric_args={"low": round(point.success.low, 4), "high": round(point.success.high, 4)},
            )
            for point in analysis.points
            if point.contender.encoder == encoder
        ]
        card = ModelCardData(model_name=encoder, eval_results=results)
        path = output_dir / encoder.replace("/", "_").replace(":", "_") / "README.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f"---\n{card.to_yaml()}\n---\n")
        written.append(path)
    return written


def to_tensorboard(analysis: Analysis, records: Sequence[CellRecord], output_dir: Path) -> list[Path]:
    """Event files: success against N as scalars by contender and task, training losses by cell."""
    writer_class = _optional("torch.utils.tensorboard", "tensorboard").SummaryWriter
    writer: Any = writer_class(str(output_dir))
    for point in analysis.points:
        tag = f"{point.task or 'mean over tasks'}/{name_of(point.contender)}"
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
