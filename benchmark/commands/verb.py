"""One grammar for all verbs: `pvrbench VERB SUBJECT... key=value... --json`.

The settings of a verb are a class, which is the one home of their names, types, defaults and meanings: the command line
is read by it, and help and `pvrbench list settings` are made from it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, ValidationError
from rich.console import Console

from pvrbench.benchmark.catalog import unknown
from pvrbench.benchmark.config import BenchmarkConfig, ConfigError, problems
from pvrbench.benchmark.overrides import read_overrides
from pvrbench.benchmark.records.keys import Frozen

SETTING = re.compile(r"\+*[A-Za-z_][\w.]*=")
FLAG = "as_"
# Columns of output that goes into a file or another program.
PIPE_WIDTH = 200

UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


class VerbSettings(Frozen):
    """Base of the settings of a verb; a verb without any uses it as it is.

    Fields that `subjects` names are given by their place, the last of them may be a tuple. Fields `as_<form>` are the
    flags `--<form>`, which choose the form of the output. All others are written `key=value`.
    """

    subjects: ClassVar[tuple[str, ...]] = ()


class RunSettings(VerbSettings):
    """Base of the settings of a verb that takes those of a run."""

    overrides: tuple[str, ...] = ()
    """Settings of a run as `key=value` texts, see `pvrbench.benchmark.composition`."""


S = TypeVar("S", bound=VerbSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[S]):
    """A command.

    Attributes:
        name: as it is typed.
        summary: one line for readers.
        settings: class of its settings.
        body: does the work; returns the exit status.
        details: examples and further help.
    """

    name: str
    summary: str
    settings: type[S]
    body: Callable[[S], int]
    details: str = ""

    def __call__(self, words: Sequence[str]) -> int:
        """Reads the words behind the verb, then does the work."""
        return self.body(read_words(self, words))

    @property
    def usage(self) -> str:
        """`pvrbench demos ACTION TASK [key=value ...]`."""
        parts = ["pvrbench", self.name, *(_subject_text(self.settings, name) for name in self.settings.subjects)]
        if issubclass(self.settings, RunSettings) or any(keys_of(self.settings)):
            parts.append("[key=value ...]")
        return " ".join([*parts, *(f"[{flag}]" for flag in flags_of(self.settings))])


def read_words(verb: Verb[S], words: Sequence[str]) -> S:
    """The settings of a verb as they are typed.

    Raises:
        ConfigError: a word, key or value is not one of this verb, or a needed one is missing.
    """
    kind = verb.settings
    texts = [word for word in words if SETTING.match(word)]
    flags = [word for word in words if word.startswith("-") and len(word) > 1]
    for flag in flags:
        if flag not in flags_of(kind):
            raise ConfigError(_about_flag(verb, flag, words))
    if not issubclass(kind, RunSettings):
        for text in texts:
            _check_key(verb, text.partition("=")[0])
    values = _placed(verb, [word for word in words if word not in texts and word not in flags])
    values |= {FLAG + flag.removeprefix("--"): True for flag in flags}
    if issubclass(kind, RunSettings):
        values["overrides"] = tuple(texts)
    else:
        values |= read_overrides(texts, kind)
        for key in keys_of(kind):
            if kind.model_fields[key].is_required() and key not in values:
                raise ConfigError(f"`pvrbench {verb.name}` needs {key}=...; `pvrbench {verb.name} --help` shows how.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(problems(error)) from error


def _placed(verb: Verb[S], words: Sequence[str]) -> dict[str, object]:
    """Values of the subjects, by name."""
    kind, left = verb.settings, list(words)
    values: dict[str, object] = {}
    for name in kind.subjects:
        if _is_many(kind, name) and left:
            values[name], left = tuple(left), []
        elif left:
            values[name] = left.pop(0)
        elif kind.model_fields[name].is_required():
            raise ConfigError(f"`pvrbench {verb.name}` needs {_placeholder(name)}. Write it as {verb.usage}.")
    if left:
        keys = [*keys_of(kind)]
        example = "num_demos=[5,10,25]" if issubclass(kind, RunSettings) else f"{keys[0]}=..." if keys else ""
        rest = f"Write key=value, for instance {example}." if example else f"Write {verb.usage}."
        raise ConfigError(f"{left[0]!r} is not a setting. {rest}")
    return values


def _about_flag(verb: Verb[S], flag: str, words: Sequence[str]) -> str:
    """What to write instead of an option with dashes."""
    name, equals, value = flag.lstrip("-").partition("=")
    key = name.replace("-", "_")
    if key in verb.settings.subjects:
        return f"{key} is written without its name: {verb.usage}."
    kind = BenchmarkConfig if issubclass(verb.settings, RunSettings) else verb.settings
    field = kind.model_fields.get(key)
    if field is None:
        known = ", ".join(flags_of(verb.settings)) or "none"
        return (
            f"`pvrbench {verb.name}` has no flag {flag}; it has {known}. `pvrbench {verb.name} --help` shows the rest."
        )
    if field.annotation is bool:
        return f"Settings have no dashes: write {key}=true instead of {flag}."
    behind = words[words.index(flag) + 1 :]
    ends = (index for index, word in enumerate(behind) if word.startswith("-") or SETTING.match(word))
    given = [value] if equals else behind[: next(ends, len(behind))]
    if _is_many(kind, key) and len(given) > 1:
        return f"Settings have no dashes: write '{key}=[{','.join(given)}]' instead of {flag} {' '.join(given)}."
    old = flag if equals or not given else f"{flag} {given[0]}"
    return f"Settings have no dashes: write {key}={given[0] if given else '...'} instead of {old}."


def _check_key(verb: Verb[S], key: str) -> None:
    group, dot, _ = key.partition(".")
    kind, keys = verb.settings, [*keys_of(verb.settings)]
    if key in kind.subjects:
        raise ConfigError(f"{key} is written without its name: {verb.usage}.")
    if key not in keys and not (dot and group in keys and _is_table(kind, group)):
        raise ConfigError(unknown("setting", key, keys, f"pvrbench list settings {verb.name}"))


def keys_of(kind: type[VerbSettings]) -> Iterator[str]:
    """Names of the settings that are written `key=value`."""
    return (
        name for name in kind.model_fields if name not in (*kind.subjects, "overrides") and not name.startswith(FLAG)
    )


def flags_of(kind: type[VerbSettings]) -> list[str]:
    """The flags, `--json`."""
    return [f"--{name.removeprefix(FLAG)}" for name in kind.model_fields if name.startswith(FLAG)]


def _origins(kind: type[Frozen], name: str) -> list[object]:
    annotation = kind.model_fields[name].annotation
    return [get_origin(item) for item in (annotation, *get_args(annotation))]


def _is_many(kind: type[Frozen], name: str) -> bool:
    return tuple in _origins(kind, name)


def _is_table(kind: type[VerbSettings], name: str) -> bool:
    return Mapping in _origins(kind, name)


def _placeholder(name: str) -> str:
    return name.upper().removesuffix("S")


def _subject_text(kind: type[VerbSettings], name: str) -> str:
    annotation, needed = kind.model_fields[name].annotation, kind.model_fields[name].is_required()
    text = "|".join(get_args(annotation)) if get_origin(annotation) is Literal else _placeholder(name)
    text += "..." if _is_many(kind, name) else ""
    return text if needed else f"[{text}]"


def terminal(*, stderr: bool = False) -> Console:
    """The terminal, where texts appear as they are: brackets in a path are no markup, `:x:` is no emoji."""
    is_read_by_people = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_read_by_people else PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")
