"""One tensor of the Open Inference Protocol, as rows of typed values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from upshot_joiner.intake.check import NotAccepted

_TYPES: dict[str, type] = {
    "BOOL": bool,
    **dict.fromkeys(("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"), int),
    **dict.fromkeys(("FP16", "FP32", "FP64", "BF16"), float),
    "BYTES": str,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor whose first dimension is the rows."""

    name: str
    rows: Sequence[Any]
    """A row is one value where a row has a single one, else the flat list of its values."""
    width: int
    """Values in a row."""
    is_matrix: bool
    """Whether it has two dimensions, the second of them longer than one."""


def is_tensor(value: Any) -> bool:
    """Whether a value of ``inputs`` or ``outputs`` is meant as a tensor."""
    return isinstance(value, dict) and "name" in value and ("shape" in value or "datatype" in value)


def read_tensor(value: Any, loc: str) -> Tensor:
    """A tensor of a body; raises :class:`NotAccepted` that names the place."""
    if not is_tensor(value):
        raise NotAccepted("wrong_type", loc)
    name = value["name"]
    if not isinstance(name, str) or not name:
        raise NotAccepted("wrong_type" if name else "empty", f"{loc}.name")
    parameters = value.get("parameters")
    if "data" not in value and isinstance(parameters, dict) and "binary_data_size" in parameters:
        raise NotAccepted("binary_tensor", f"{loc}.parameters.binary_data_size")
    kind = _TYPES.get(value["datatype"]) if isinstance(value.get("datatype"), str) else None
    if kind is None:
        raise NotAccepted("not_allowed" if "datatype" in value else "missing", f"{loc}.datatype")
    shape = value.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise NotAccepted("missing" if shape is None else "wrong_type", f"{loc}.shape")
    if not isinstance(value.get("data"), list):
        raise NotAccepted("wrong_type" if "data" in value else "missing", f"{loc}.data")
    flat = [_value(one, kind, f"{loc}.data[{i}]") for i, one in enumerate(_flat(value["data"]))]
    rows, width = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    if len(flat) != rows * width:
        raise NotAccepted("shape_mismatch", f"{loc}.data")
    if not flat:
        raise NotAccepted("empty", f"{loc}.data")
    by_row = flat if width == 1 else [flat[start : start + width] for start in range(0, len(flat), width)]
    return Tensor(name, by_row, width, len(shape) == 2 and width > 1)


def _flat(data: list[Any]) -> Iterator[Any]:
    """The values of nested lists in row-major order; a flat list as it is. Without recursion: depth comes from outside."""
    stack = [iter(data)]
    while stack:
        for one in stack[-1]:
            if isinstance(one, list):
                stack.append(iter(one))
                break
            yield one
        else:
            stack.pop()


def _value(value: Any, kind: type, loc: str) -> Any:
    """The value in the tensor's own type: JSON writes 3.0 as 3, and a bool perhaps as 1."""
    if value is None or type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value) if abs(value) <= 2**53 else _far_float(value, loc)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if kind is bool and value in (0, 1) and type(value) in (int, float):
        return bool(value)
    raise NotAccepted("wrong_type", loc)


def _far_float(value: int, loc: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise NotAccepted("out_of_range", loc) from None
