"""What an object of foreign code holds: every tensor, array, text and number that can be reached from it."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pvrbench.common.code import is_local

# Where a network is does not change what it computes.
_DEVICE = re.compile(r"(cpu|mps|cuda)(:\d+)?")
# What torch itself keeps in every module.
_TORCH_OWN = frozenset(vars(nn.Module()))
_CLASS_OWN = frozenset(
    {"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__qualname__", "__slots__", "_abc_impl"}
    | {"__firstlineno__", "__static_attributes__", "__parameters__", "__orig_bases__", "__type_params__"}
)
# Instances of these packages' types are handled one by one; what else they hold is theirs and may change with use.
_OPAQUE = frozenset({*sys.stdlib_module_names, "torch", "numpy"} - {"__main__"})
_PLAIN = (str, bytes, bool, int, float, complex, type(None), np.generic)


@dataclass(slots=True)
class Contents:
    """What was found in an object.

    Attributes:
        digests: hash of every value, by the path that leads to it.
        networks: the modules that were found, children left out.
    """

    digests: dict[str, str] = field(default_factory=dict[str, str])
    networks: list[nn.Module] = field(default_factory=list[nn.Module])

    def digest(self, later: Contents | None = None) -> str:
        """One hash over all values.

        Args:
            later: the contents after further use; what changed in between, such as a counter, is left out.
        """
        kept = self.digests if later is None else dict(self.digests.items() & later.digests.items())
        return hashlib.sha256(repr(sorted(kept.items())).encode()).hexdigest()


def contents_of(subject: object) -> Contents:
    """Looks through an object: parameters, buffers, extra state, attributes, closures, defaults, referenced globals.

    Objects of the standard library, numpy and torch that are no containers, tensors or modules are known by their type
    alone, and modules by their name. What lies behind them, such as an open file, is not seen.
    """
    search = _Search()
    search.add("", subject)
    return search.found


def bytes_of(value: Tensor) -> memoryview:
    """The numbers of a tensor in memory order, wherever it is."""
    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return memoryview(cast("Any", plain.view(torch.uint8).numpy()))


class _Search:
    def __init__(self) -> None:
        self.found = Contents()
        # The objects themselves are kept, so that no other object gets the id of one that is gone.
        self._seen: dict[int, object] = {}
        self._modules: set[int] = set()

    def add(self, path: str, value: object) -> None:
        if isinstance(value, _PLAIN):
            is_device = isinstance(value, str) and _DEVICE.fullmatch(value)
            self._note(path, "device" if is_device else f"{type(value).__name__} {value!r}")
            return
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        for kind, look in _LOOKS:
            if isinstance(value, kind):
                look(self, path, value)
                return
        self._object(path, value)

    def _note(self, path: str, *parts: object) -> None:
        content = hashlib.sha256()
        for part in parts:
            content.update(cast("bytes", part) if isinstance(part, bytes | memoryview) else str(part).encode() + b"\0")
        self.found.digests[path] = content.hexdigest()

    def tensor(self, path: str, value: Tensor) -> None:
        shape = (value.dtype, tuple(value.shape))
        if value.is_meta or value.layout != torch.strided or value.is_quantized:
            self._note(path, *shape, "" if value.is_meta else repr(value))
            return
        self._note(path, *shape, bytes_of(value))

    def array(self, path: str, value: Any) -> None:
        if value.dtype.hasobject:
            self.sequence(path, value.ravel().tolist())
        else:
            self._note(path, value.dtype.str, value.shape, value.tobytes())

    def network(self, path: str, value: nn.Module) -> None:
        if id(value) not in self._modules:
            self.found.networks.append(value)
            self._modules |= {id(module) for module in value.modules()}
        self._typed(path, value)
        for name, part in (*value.named_parameters(recurse=False), *value.named_buffers(recurse=False)):
            self.add(_join(path, name), part)
        if type(value).get_extra_state is not nn.Module.get_extra_state:
            self.add(_join(path, "_extra_state"), value.get_extra_state())
        for name, part in list(vars(value).items()):
            if name not in _TORCH_OWN:
                self.add(_join(path, name), part)
        for name, part in value.named_children():
            self.add(_join(path, name), part)

    def mapping(self, path: str, value: Mapping[Any, object]) -> None:
        self._note(path, type(value).__qualname__)
        if _is_opaque(type(value)) and type(value).__module__ not in {"builtins", "collections", "types"}:
            # Such as the environment of the process.
            return
        for key, item in list(value.items()):
            self.add(f"{path}[{key!r}]", item)

    def sequence(self, path: str, value: Iterable[object]) -> None:
        items = list(value)
        self._note(path, len(items))
        for index, item in enumerate(items):
            self.add(f"{path}[{index}]", item)

    def set_(self, path: str, value: Iterable[object]) -> None:
        self._note(path, *sorted(contents_of(item).digest() for item in value))

    def function(self, path: str, value: FunctionType) -> None:
        code = value.__code__
        file = _file_of(value.__module__) or Path(code.co_filename)
        self._note(path, value.__module__, value.__qualname__)
        for cell, name in zip(value.__closure__ or (), code.co_freevars, strict=False):
            # A cell is empty until its variable is assigned.
            with_value = _cell_contents(cell)
            if with_value:
                self.add(_join(path, name), with_value[0])
        self.add(_join(path, "__defaults__"), value.__defaults__)
        self.add(_join(path, "__kwdefaults__"), value.__kwdefaults__)
        if file.is_file() and not is_local(file):
            return
        if not file.is_file():
            # No source can be read again, as in a notebook: the compiled code stands for it.
            self._note(_join(path, "__code__"), *_compiled(code))
        for name in sorted({*_names(code)} & {*value.__globals__}):
            self.add(_join(path, name), value.__globals__[name])

    def method(self, path: str, value: MethodType) -> None:
        self.add(_join(path, "__func__"), value.__func__)
        self.add(_join(path, "__self__"), value.__self__)

    def partial(self, path: str, value: functools.partial[Any]) -> None:
        self.add(_join(path, "func"), value.func)
        self.add(_join(path, "args"), value.args)
        self.add(_join(path, "keywords"), value.keywords)

    def class_(self, path: str, value: type) -> None:
        self._note(path, value.__module__, value.__qualname__)
        for kind in value.__mro__:
            file = _file_of(kind.__module__)
            if _is_opaque(kind) or (file and not is_local(file)):
                continue
            for name, part in vars(kind).items():
                if name not in _CLASS_OWN:
                    self.add(_join(path, name), part)

    def descriptor(self, path: str, value: Any) -> None:
        for name in ("__func__", "fget", "func"):
            if (part := getattr(value, name, None)) is not None:
                self.add(_join(path, name), part)

    def named(self, path: str, value: object) -> None:
        self._note(path, getattr(value, "__module__", ""), getattr(value, "__qualname__", repr(value)))

    def module(self, path: str, value: ModuleType) -> None:
        self._note(path, value.__name__)

    def text(self, path: str, value: object) -> None:
        self._note(path, type(value).__qualname__, "device" if isinstance(value, torch.device) else str(value))

    def _object(self, path: str, value: object) -> None:
        self._typed(path, value)
        if hasattr(value, "__wrapped__"):
            self.add(_join(path, "__wrapped__"), cast("Any", value).__wrapped__)
        if _is_opaque(type(value)):
            return
        for name, part in _attributes(value):
            self.add(_join(path, name), part)

    def _typed(self, path: str, value: object) -> None:
        self._note(path, type(value).__module__, type(value).__qualname__)
        self.add(_join(path, "__class__"), type(value))


# The first kind that fits says how a value is looked through.
_LOOKS: tuple[tuple[Any, Callable[[_Search, str, Any], None]], ...] = (
    (Tensor, _Search.tensor),
    (np.ndarray, _Search.array),
    (nn.Module, _Search.network),
    (torch.Size, _Search.text),
    (Mapping, _Search.mapping),
    (Enum, _Search.text),
    ((set, frozenset), _Search.set_),
    ((list, tuple), _Search.sequence),
    (FunctionType, _Search.function),
    (MethodType, _Search.method),
    (functools.partial, _Search.partial),
    (type, _Search.class_),
    ((staticmethod, classmethod, property, functools.cached_property), _Search.descriptor),
    (ModuleType, _Search.module),
    (BuiltinFunctionType, _Search.named),
    ((PurePath, torch.dtype, torch.device, slice, range, re.Pattern), _Search.text),
)


def _is_opaque(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _OPAQUE


def _file_of(module_name: str) -> Path | None:
    file = getattr(sys.modules.get(module_name), "__file__", None)
    return Path(file) if file else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    yield from list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        slots = cast("str | Iterable[str]", vars(kind).get("__slots__", ()))
        for name in [slots] if isinstance(slots, str) else list(slots):
            if name not in {"__dict__", "__weakref__"} and hasattr(value, name):
                yield name, getattr(value, name)


def _cell_contents(cell: Any) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _names(code: CodeType) -> Iterator[str]:
    """Names of globals and attributes that a function or one inside it refers to."""
    for part in _nested(code):
        yield from part.co_names


def _compiled(code: CodeType) -> Iterator[object]:
    for part in _nested(code):
        constants = [constant for constant in part.co_consts if not isinstance(constant, CodeType)]
        yield from (part.co_code, repr(constants), repr(part.co_names))
