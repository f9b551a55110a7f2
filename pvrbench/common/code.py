"""Which source code an object depends on: its module and the modules of the same author that it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OWN_PACKAGE = "pvrbench"
# Their versions are recorded, and their source is long.
_BY_VERSION = frozenset({"torch", "torchvision", "timm", "numpy"})


def code_digest(module_names: Iterable[str]) -> str:
    """SHA-256 over the source of some modules and of the local modules that they import, directly or indirectly.

    Local are modules outside the standard library and site-packages, and modules of the same top-level package as a
    module that was asked for. Modules of pvrbench are left out: its version identifies them. So are modules without a
    file, such as those of a notebook.

    Args:
        module_names: dotted names.
    """
    content = hashlib.sha256()
    for name, path in sorted(local_files(module_names).items()):
        content.update(f"{name} ".encode())
        content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()


def local_files(module_names: Iterable[str]) -> dict[str, Path]:
    """The files that `code_digest` covers, by module name."""
    pending = [name for name in module_names if name]
    tops = {name.partition(".")[0] for name in pending} - sys.stdlib_module_names - _BY_VERSION
    found: dict[str, Path] = {}
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        top = name.partition(".")[0]
        if name in seen or top == OWN_PACKAGE:
            continue
        seen.add(name)
        path = _file_of(name)
        if path is None or not (top in tops or is_local(path)):
            continue
        found[name] = path
        # Importing a module imports the packages around it.
        pending += [name[:end] for end in range(len(name)) if name[end] == "."]
        if path.suffix == ".py":
            pending += _imports(name, path)
    return found


def is_local(path: Path) -> bool:
    """Whether a file lies outside the standard library, site-packages and pvrbench."""
    path = path.resolve()
    return not any(path.is_relative_to(folder) for folder in _FOREIGN) and not (
        {"site-packages", "dist-packages"} & {*path.parts}
    )


def describe_error(error: BaseException) -> str:
    """An error in one line: its type, its text, and the innermost line of local code that it came from."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    local = [frame for frame in frames if Path(frame.filename).is_file() and is_local(Path(frame.filename))]
    where = f" ({Path(local[-1].filename).name}, line {local[-1].lineno})" if local else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"


def _foreign_folders() -> Iterator[Path]:
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_paths()[name]).resolve()
    yield Path(site.getusersitepackages()).resolve()
    # Where this package lies, and the folders that it links to.
    package = Path(__file__).parents[1]
    yield package.resolve()
    yield from (child.resolve() for child in package.iterdir() if child.is_dir())


_FOREIGN = tuple(_foreign_folders())


def _file_of(name: str) -> Path | None:
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return Path(file) if file and Path(file).is_file() else None
    spec = _find_spec(name)
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return Path(spec.origin) if Path(spec.origin).is_file() else None


def _find_spec(name: str) -> ModuleSpec | None:
    """Finds a module without importing the packages around it."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        try:
            spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
        except (ImportError, KeyError):
            # A package without __init__.py whose parent is not imported.
            return None
    return spec


def _imports(name: str, path: Path) -> Iterator[str]:
    """The modules that a module imports anywhere in its source, or that its attributes are."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    is_package = path.name == "__init__.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, name, is_package=is_package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
    # Modules that were imported by other means, such as importlib.
    for value in list(vars(sys.modules.get(name, ModuleType(name))).values()):
        if isinstance(value, ModuleType):
            yield value.__name__
        elif isinstance(origin := getattr(value, "__module__", None), str):
            yield origin


def _absolute(node: ast.ImportFrom, name: str, *, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])
