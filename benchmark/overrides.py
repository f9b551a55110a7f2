"""Settings as people type them, `key=value`, as plain values. Text is taken as it is written.

A setting that is a text (`name`, `run_dir`, `engine.device`) takes everything behind the first `=`. A setting that is a
list of texts takes `a`, `a,b` or `[a,b]`. All others take numbers, `true`, `false`, `null`, lists `[1,2]` and tables
`{hidden:[64],squash:true}`. Quotation marks around a whole value or entry are removed; between them a comma is a letter
like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel

from pvrbench.benchmark.config import ConfigError

T = TypeVar("T")

_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_ENTRY = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)"|([^,]*))\s*(?:,|\Z)""")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[-+]?(?:nan|inf)", re.ASCII | re.IGNORECASE)
_FURTHER_NUMBER = re.compile(rf"(?:{_NUMBER.pattern})(?:&.*)?", _NUMBER.flags)
_WHOLE = re.compile(r"[-+]?\d{1,400}", re.ASCII)
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}


def read_overrides(overrides: Sequence[str], model: type[BaseModel]) -> dict[str, object]:
    """The values of some overrides, nested by the dots of their keys; of a key that is given twice the last one counts.

    Args:
        overrides: `key=value` texts whose keys are known to be there.
        model: the settings; the types of its fields say how a value is written.

    Raises:
        ConfigError: a value is missing or has brackets or quotes that do not close.
    """
    values: dict[str, object] = {}
    for override in overrides:
        key, _, text = override.partition("=")
        *groups, name = key.lstrip("+").split(".")
        inner = values
        for group in groups:
            found = inner.setdefault(group, {})
            if not isinstance(found, dict):
                found = inner[group] = {}
            inner = cast("dict[str, object]", found)
        if not text:
            raise ConfigError(f"{override} has no value. Give one, or leave the setting out.")
        try:
            inner[name] = _value(text, _annotation(model, [*groups, name]))
        except ValueError as error:
            raise ConfigError(
                f"Cannot read the settings: {override}: {error}. Write them as key=value, lists as [a,b]."
            ) from error
    return values


def _annotation(model: type[BaseModel], path: Sequence[str]) -> object:
    """The type of a setting; None inside of tables whose entries have no declared type."""
    field = model.model_fields.get(path[0])
    if field is None:
        return None
    if len(path) == 1:
        return field.annotation
    kinds = (kind for kind in _alternatives(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel))
    inner = next(kinds, None)
    return None if inner is None else _annotation(inner, path[1:])


def _value(text: str, annotation: object) -> object:
    kinds = [*_alternatives(annotation)]
    if any(_is_text(kind) for kind in kinds):
        return None if text == "null" and type(None) in kinds else _unquoted(text)
    if any(get_origin(kind) is tuple and _holds_text(kind) for kind in kinds):
        return None if text == "null" else _texts(text)
    if any(get_origin(kind) is tuple for kind in kinds) and "," in text and text[0] not in "[{":
        text = f"[{text}]"
    return _Reader(text).whole()


def _alternatives(annotation: object) -> Iterator[object]:
    """The members of a union, without annotations."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


def _is_text(kind: object) -> bool:
    return (
        kind is str
        or kind is Path
        or (get_origin(kind) is Literal and all(isinstance(item, str) for item in get_args(kind)))
    )


def _holds_text(kind: Any) -> bool:
    return any(_is_text(item) for item in _alternatives(get_args(kind)[0]))


def _unquoted(text: str) -> str:
    match = _QUOTED.fullmatch(text)
    return text if match is None else match[1] or match[2] or ""


def _texts(text: str) -> list[str]:
    """The entries of a list of texts."""
    if text.startswith("["):
        if not text.endswith("]"):
            raise ValueError("the list has no closing bracket")
        text = text[1:-1]
    entries: list[str] = []
    position = 0
    while text.strip() and position <= len(text):
        match = cast("re.Match[str]", _ENTRY.match(text, position))
        quoted = match[1] if match[1] is not None else match[2]
        entry = (match[3] or "").strip() if quoted is None else quoted
        # `mean=0.5,0.5,0.5` of a checkpoint is one text: a bare number is no name of anything.
        if quoted is None and entries and "=" in entries[-1] and _FURTHER_NUMBER.fullmatch(entry):
            entries[-1] += f",{entry}"
        else:
            entries.append(entry)
        if not match[0].endswith(","):
            break
        position = match.end()
    return entries


class _Reader:
    """Reads numbers, words, lists and tables by recursive descent."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def whole(self) -> object:
        value = self.value()
        self.space()
        if self.position < len(self.text):
            raise ValueError(f"{self.text[self.position :]!r} is left over behind the value")
        return value

    def value(self) -> object:
        self.space()
        match self.text[self.position : self.position + 1]:
            case "[":
                return self.items("]", self.value)
            case "{":
                return dict(self.items("}", self.pair))
            case _:
                return self.scalar()

    def items(self, end: str, read: Callable[[], T]) -> list[T]:
        self.position += 1
        found: list[T] = []
        while True:
            self.space()
            if self.take(end):
                return found
            if found and not self.take(","):
                raise ValueError(
                    f"a comma or {end} is missing" if self.position < len(self.text) else f"{end} is missing"
                )
            found.append(read())

    def pair(self) -> tuple[str, object]:
        self.space()
        name = self.bare_or_quoted()[0]
        self.space()
        if not self.take(":"):
            raise ValueError(f"a colon is missing behind {name!r}")
        return name, self.value()

    def scalar(self) -> object:
        text, is_quoted = self.bare_or_quoted()
        if is_quoted:
            return text
        if not text:
            raise ValueError("a value is missing")
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if not _NUMBER.fullmatch(text):
            return text
        return int(text) if _WHOLE.fullmatch(text) else float(text)

    def bare_or_quoted(self) -> tuple[str, bool]:
        quoted = _QUOTED.match(self.text, self.position)
        if quoted is not None:
            self.position = quoted.end()
            return quoted[1] or quoted[2] or "", True
        start = self.position
        while self.position < len(self.text) and self.text[self.position] not in ",:[]{}":
            self.position += 1
        return self.text[start : self.position].strip(), False

    def space(self) -> None:
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1

    def take(self, letter: str) -> bool:
        is_there = self.text.startswith(letter, self.position)
        self.position += is_there
        return is_there
