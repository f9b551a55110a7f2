"""What makes a task's physics and pictures, by content: versions of packages, code of one's own, and loaded models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol, cast, runtime_checkable

from pvrbench.common.code import code_digest
from pvrbench.common.reference import resolve
from pvrbench.envs.catalog import TASKS
from pvrbench.envs.spec import TaskSpec

DIGEST_LENGTH = 16

_found: dict[str, dict[str, str]] = {}


@runtime_checkable
class HasModel(Protocol):
    """A task that can say what its simulator loaded, whatever files that came from."""

    def model_digest(self) -> str:
        """SHA-256 of the loaded model: geometry, masses, materials, textures."""
        ...


def makers_of(task: TaskSpec) -> dict[str, str]:
    """Versions of a task's packages and, for one that is not of the catalog, hashes of its code and of its model.

    The code is that of its modules, and the revision and options of its row.

    They are found once for a process: code that was imported does not change while it runs.
    """
    key = repr(task)
    if key not in _found:
        makers = {name: version(name) for name in task.packages}
        if task.name not in TASKS:
            modules = [task.entry_point.partition(":")[0], str(task.options.get("module", ""))]
            content = f"{task.revision} {sorted(task.options.items())} {code_digest(modules)}"
            makers["code"] = hashlib.sha256(content.encode()).hexdigest()[:DIGEST_LENGTH]
            loaded = cast("Callable[[TaskSpec], object]", resolve(task.entry_point))(task)
            if isinstance(loaded, HasModel):
                makers["model"] = loaded.model_digest()[:DIGEST_LENGTH]
        _found[key] = makers
    return dict(_found[key])
