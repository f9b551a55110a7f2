"""Catalogs: name -> spec, from shipped rows, installed plugins and `module:attribute` references."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from pvrbench.encoders.catalog import ALIASES, ENCODERS
from pvrbench.encoders.readouts.catalog import READOUTS, ReadoutSpec
from pvrbench.encoders.reference import spec_for as encoder_spec_for
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.envs.catalog import TASK_SETS, TASKS
from pvrbench.envs.spec import TaskSpec
from pvrbench.policies.catalog import HEADS
from pvrbench.policies.spec import HeadSpec

S = TypeVar("S")


class UnknownNameError(ValueError):
    """A name stands in no catalog; the text offers the nearest one."""


class PluginError(ValueError):
    """An installed plugin cannot be used; the text names it and its package."""


class Catalog(Mapping[str, S], Generic[S]):
    """Read-only mapping from name to spec.

    Rows of installed plugins (entry points whose name is the catalog name and whose object is a spec)
    stand beside the shipped ones and cannot replace them.

    Args:
        kind: what is listed, for error texts: `encoder`, `task`, ...
        rows: the shipped specs.
        resolve: makes a spec from a reference that is no name (`my_package.module:MyEncoder`); raises
            ValueError where it cannot.
        aliases: other names of rows, which are not listed.
    """

    def __init__(
        self,
        kind: str,
        rows: Mapping[str, S],
        resolve: Callable[[str], S] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self._rows = rows
        self._resolve = resolve
        self._aliases = aliases or {}
        self._plugins = {point.name: point for point in entry_points(group=f"pvrbench.{kind}s")}

    def __getitem__(self, name: str) -> S:
        """The spec of a name or reference.

        Raises:
            UnknownNameError: there is none.
            PluginError: it is the name of a plugin that cannot be used.
        """
        name = self._aliases.get(name, name)
        if name in self._rows:
            return self._rows[name]
        if name in self._plugins:
            return self._load(name)
        if self._resolve is not None and ":" in name:
            return self._resolve(name)
        raise UnknownNameError(unknown(self.kind, name, self))

    def _load(self, name: str) -> S:
        point = self._plugins[name]
        kind = type(next(iter(self._rows.values())))
        where = f"Plugin {self.kind} {name!r} ({point.value} of package {point.dist.name if point.dist else '?'})"
        try:
            spec = point.load()
        except Exception as error:
            # Whatever another package raises on import: the user has to know which one it is.
            raise PluginError(
                f"{where} cannot be imported: {type(error).__name__}: {error}. Mend or uninstall it."
            ) from error
        if not isinstance(spec, kind) or getattr(spec, "name", None) != name:
            found = f"the {kind.__name__} {getattr(spec, 'name', None)!r}" if isinstance(spec, kind) else repr(spec)
            raise PluginError(f"{where} is {found}; expected the {kind.__name__} {name!r}, as its entry point.")
        return spec

    def __iter__(self) -> Iterator[str]:
        yield from self._rows
        yield from (name for name in sorted(self._plugins) if name not in self._rows)

    def __len__(self) -> int:
        return len({*self._rows, *self._plugins})


def unknown(kind: str, name: str, names: Iterable[str]) -> str:
    """The error text for a name that is not among `names`."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"`pvrbench list {kind}s` shows all {len(names)}."
    return f"Unknown {kind} {name!r}. {hint}"


def encoders() -> Catalog[EncoderSpec]:
    """All encoders, plugins among them; also takes `module:attribute` and checkpoint URIs."""
    return Catalog("encoder", ENCODERS, encoder_spec_for, ALIASES)


def tasks() -> Catalog[TaskSpec]:
    """All tasks."""
    return Catalog("task", TASKS)


def heads() -> Catalog[HeadSpec]:
    """All behaviour-cloning heads."""
    return Catalog("head", HEADS)


def readouts() -> Catalog[ReadoutSpec]:
    """All readouts."""
    return Catalog("readout", READOUTS)


def expand_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """Replaces the name of a task set (`metaworld5`) by its members; keeps order, drops repeats."""
    expanded = (member for name in names for member in TASK_SETS.get(name, (name,)))
    return tuple(dict.fromkeys(expanded))
