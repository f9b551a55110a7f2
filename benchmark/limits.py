"""Types of single settings with their limits: a slip is refused at once, not when memory or time run out."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

# What file systems take as the name of a folder.
MAX_NAME_BYTES = 255


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("input should be a number")  # noqa: TRY004 - pydantic reports values by this type
    return value


def _run_name(value: str) -> str:
    parts = value.split("/")
    if not value.isprintable() or any(part.strip() in ("", ".", "..") for part in parts):
        raise ValueError("it is the name of a folder in results/runs; write the run elsewhere with run_dir=...")
    if (longest := max(len(part.encode()) for part in parts)) > MAX_NAME_BYTES:
        raise ValueError(f"a name of {longest} bytes is too long for a folder; expected {MAX_NAME_BYTES} at most")
    return value


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", value):
        raise ValueError("it is not a device; write auto, cpu, cuda or cuda:<number>")
    return value


# Far more than any protocol uses.
MAX_STEPS, MAX_UPDATES, MAX_BATCH, MAX_WIDTH = 1_000_000, 100_000_000, 1 << 16, 1 << 16
Whole = Annotated[int, BeforeValidator(_number), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_number), Field(ge=1)]
Real = Annotated[float, BeforeValidator(_number), Field(ge=0)]
RunName = Annotated[str, AfterValidator(_run_name)]
"""A folder in `results/runs`, which it does not leave."""
DeviceName = Annotated[str, AfterValidator(_device)]
