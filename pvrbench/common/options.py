"""Options of a catalog row, checked against the typed options of the class that takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class OptionError(ValueError):
    """An option is unknown or has a value that is not allowed; the text names both, in one line."""


def parse_options(kind: type[T], options: Mapping[str, object], owner: str) -> T:
    """Makes typed options of plain ones.

    Args:
        kind: a dataclass or pydantic model; fields may be annotated with limits (`pydantic.PositiveInt`).
        options: values by name; those that are missing take their defaults.
        owner: whose options they are, for the error text: `Readout 'grid4'`.

    Raises:
        OptionError: an option is unknown, missing, or not valid.
    """
    fields = _fields(kind)
    unknown = sorted({*options} - {*fields})
    if unknown:
        allowed = f"It has {', '.join(fields)}." if fields else "It has none."
        raise OptionError(f"{owner} has no option {unknown[0]!r}. {allowed}")
    try:
        # As JSON: there text is never taken for a number, nor a truth value; lists become tuples.
        return cast("T", _adapter(kind).validate_json(json.dumps(dict(options)), strict=True))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or next(iter(fields), "")
        given = f"{name}={options[name]!r}" if name in options else name
        raise OptionError(f"{owner}: option {given} is not valid: {first['msg'].lower()}.") from error


@lru_cache
def _adapter(kind: type) -> Any:
    return TypeAdapter(kind)


@lru_cache
def _fields(kind: type) -> tuple[str, ...]:
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    return tuple(cast("Mapping[str, Any]", fields))
