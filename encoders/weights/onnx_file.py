"""The tensors of an ONNX model, without the package onnx. Nothing in the file is run.

An ONNX file is one protocol-buffer message. Only the fields that lead to tensors are read:
`ModelProto.graph` (7), `GraphProto.node` (1) and `.initializer` (5), `NodeProto.input` (1), `.name` (3) and `.op_type`
(4), `TensorProto.dims` (1), `.data_type` (2), `.name` (8), `.raw_data` (9) and `.data_location` (14).

Source: https://github.com/onnx/onnx, `onnx/onnx.proto`; https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from pvrbench.encoders.weights.location import WeightsError

_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16}
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
_EXTERNAL = 1

_Field = tuple[int, int, bytes]
"""Number, value where it is a number, content where it is bytes."""


def is_onnx(head: bytes) -> bool:
    """Whether the first bytes are those of an ONNX model: its format version, then who made it."""
    return len(head) > 3 and head[0] == 0x08 and head[1] < 0x80 and head[2] in {0x12, 0x3A, 0x42}


def read_onnx(path: Path) -> dict[str, Tensor]:
    """The stored tensors of an ONNX model, named as the parameters of the network that was exported.

    PyTorch's exporter transposes the weights of linear layers and calls them `onnx::MatMul_123`. The node that uses
    such a tensor bears the layer's name, so it is given back as `<layer>.weight`, in PyTorch's orientation.

    Raises:
        WeightsError: the file is truncated or no ONNX model, or keeps its tensors in another file.
    """
    content = path.read_bytes()
    try:
        graph = next(value for number, _, value in _fields(content) if number == 7)
        parts = list(_fields(graph))
        tensors = dict(_tensor(value, path) for number, _, value in parts if number == 5)
        layers = dict(filter(None, (_linear(value) for number, _, value in parts if number == 1)))
    except (IndexError, ValueError, StopIteration) as error:
        raise WeightsError(f"{path} is an ONNX model that is truncated or damaged; get it again.") from error
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        layer = layers.get(name) if name.startswith("onnx::") else None
        found[f"{layer}.weight" if layer else name] = value.T.contiguous() if layer else value
    return found


def _tensor(message: bytes, path: Path) -> tuple[str, Tensor]:
    dims: list[int] = []
    kind, name, raw = 1, "", b""
    for number, value, content in _fields(message):
        match number:
            case 1:
                dims += _varints(content) if content else [value]
            case 2:
                kind = value
            case 8:
                name = content.decode()
            case 9:
                raw = content
            case 14 if value == _EXTERNAL:
                raise WeightsError(
                    f"{path} is an ONNX model that keeps its tensors in another file, which is not read."
                )
            case _:
                pass
    if kind not in _TYPES or not raw:
        # Constants of the graph, in types and encodings that parameters never have.
        return name, torch.empty(0)
    return name, torch.frombuffer(bytearray(raw), dtype=_TYPES[kind]).reshape(dims)


def _linear(message: bytes) -> tuple[str, str] | None:
    """The second input of a matrix product, and the module it stands in."""
    inputs: list[str] = []
    name, kind = "", ""
    for number, _, content in _fields(message):
        match number:
            case 1:
                inputs.append(content.decode())
            case 3:
                name = content.decode()
            case 4:
                kind = content.decode()
            case _:
                pass
    if kind != "MatMul" or len(inputs) != 2:
        return None
    return inputs[1], name.strip("/").rpartition("/")[0].replace("/", ".")


def _fields(message: bytes) -> Iterator[_Field]:
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(message, place)
            yield number, value, b""
        else:
            size, place = _varint(message, place) if wire == _BYTES else (_FIXED.get(wire, 0), place)
            if (not size and wire != _BYTES) or place + size > len(message):
                raise ValueError("no such field")
            yield number, 0, message[place : place + size]
            place += size


def _varints(content: bytes) -> list[int]:
    found: list[int] = []
    place = 0
    while place < len(content):
        value, place = _varint(content, place)
        found.append(value)
    return found


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
