"""Types of numeric settings with their limits: a slip is refused at once, not when memory or time run out."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("input should be a number")  # noqa: TRY004 - pydantic reports values by this type
    return value


# Far more than any protocol uses.
MAX_STEPS, MAX_UPDATES, MAX_BATCH, MAX_WIDTH = 1_000_000, 100_000_000, 1 << 16, 1 << 16
Whole = Annotated[int, BeforeValidator(_number), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_number), Field(ge=1)]
Real = Annotated[float, BeforeValidator(_number), Field(ge=0)]
