"""The bodies of an inference: rows of features from the request, one answer for each row from the response.

Both of KServe's protocols are read, told apart by the body itself:

- **V1**: ``{"instances": [...]}`` (or ``inputs``) and ``{"predictions": [...]}``, a row an element; or columns:
  ``{"inputs": {name: [...]}}`` and ``{"outputs": {name: [...]}}``;
- **Open Inference Protocol (V2)**: ``inputs`` and ``outputs`` are tensors (``name``, ``shape``, ``datatype``, ``data``), whose
  first dimension is the rows.

Tensors sent as raw bytes behind the JSON (the binary tensor extension) are refused: where they begin stands in an HTTP header,
which the logger does not hand on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upshot_joiner.errors import Problem
from upshot_joiner.intake.body import decompress, whole
from upshot_joiner.intake.check import NotAccepted
from upshot_joiner.intake.kserve.tensors import is_tensor, read_tensor

MAX_COLUMNS = 1000
"""A row of more numbers (an image, an embedding) is one vector, not a feature for each."""
MAX_ROWS = 50_000

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked: its own ID, if it has one, and the features of each row."""

    id: str
    rows: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answered:
    """What the model answered: by row, the value of each output. An output of V1 has no name."""

    rows: Sequence[Mapping[str, Any]]
    id: str = ""
    model_version: str = ""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where in the body an output stands, by its name."""


def read_request(body: bytes) -> Asked:
    """The rows of a request body; raises :class:`NotAccepted` with a place that begins with ``request``."""
    content = _object(body, "request")
    if "instances" in content:
        rows = [_features(one) for one in _list(content["instances"], "request.instances")]
    elif "inputs" not in content:
        raise NotAccepted("missing", "request.instances")
    else:
        inputs = content["inputs"]
        if isinstance(inputs, dict):
            rows = _transposed(inputs, "request.inputs")
        elif any(map(is_tensor, _list(inputs, "request.inputs"))):
            rows = _tensor_rows(inputs)
        else:
            rows = [_features(one) for one in inputs]
    return Asked(_text(content.get("id")), _bounded(rows, "request"))


def read_response(body: bytes, rows: int) -> Answered:
    """The answer for each of ``rows`` rows; raises :class:`NotAccepted` with a place that begins with ``response``."""
    content = _object(body, "response")
    name = "predictions" if "predictions" in content else "outputs"
    if name not in content:
        raise NotAccepted("missing", "response.predictions")
    outputs, loc = content[name], f"response.{name}"
    id_, version = _text(content.get("id")), _text(content.get("model_version"))
    if isinstance(outputs, dict):
        return Answered(_same(_transposed(outputs, loc), rows, loc), id_, version, {k: f"{loc}.{k}" for k in outputs})
    if name == "outputs" and any(map(is_tensor, _list(outputs, loc))):
        tensors = [read_tensor(one, f"{loc}[{i}]") for i, one in enumerate(outputs)]
        for i, tensor in enumerate(tensors):
            _same(tensor.rows, rows, f"{loc}[{i}].shape")
        by_row = [
            dict(zip((one.name for one in tensors), row, strict=True))
            for row in zip(*(one.rows for one in tensors), strict=True)
        ]
        return Answered(by_row, id_, version, {one.name: f"{loc}[{i}]" for i, one in enumerate(tensors)})
    return Answered(_same([{"": one} for one in _list(outputs, loc)], rows, loc), id_, version, {"": loc})


def _features(instance: Any) -> dict[str, Any]:
    if isinstance(instance, dict):
        return instance
    if not isinstance(instance, list):
        return {"x0": instance}
    if len(instance) > MAX_COLUMNS or any(isinstance(value, list | dict) for value in instance):
        return {"x": instance}
    return {f"x{i}": value for i, value in enumerate(instance)}


def _tensor_rows(inputs: Sequence[Any]) -> list[dict[str, Any]]:
    tensors = [read_tensor(one, f"request.inputs[{i}]") for i, one in enumerate(inputs)]
    rows: list[dict[str, Any]] = [{} for _ in tensors[0].rows]
    for i, tensor in enumerate(tensors):
        _same(tensor.rows, len(rows), f"request.inputs[{i}].shape")
        if any(tensor.name == one.name for one in tensors[:i]):
            raise NotAccepted("repeated", f"request.inputs[{i}].name")
        # A matrix is a table: as one tensor, it is what V1 sends as a list of lists.
        split = tensor.is_matrix and tensor.width <= MAX_COLUMNS
        names = [f"x{k}" if len(tensors) == 1 else f"{tensor.name}[{k}]" for k in range(tensor.width)] if split else []
        for features, value in zip(rows, tensor.rows, strict=True):
            features.update(zip(names, value, strict=True) if split else ((tensor.name, value),))
    return rows


def _transposed(columns: Mapping[str, Any], loc: str) -> list[dict[str, Any]]:
    """Columns of values as rows; columns that are no lists are one row."""
    if not columns:
        raise NotAccepted("empty", loc)
    if not any(isinstance(column, list) for column in columns.values()):
        return [dict(columns)]
    longest = max(len(column) for column in columns.values() if isinstance(column, list))
    for name, column in columns.items():
        _same(_list(column, f"{loc}.{name}"), longest, f"{loc}.{name}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _object(body: bytes, side: str) -> dict[str, Any]:
    try:
        if body.startswith(_GZIP):  # a client's own compression, which the logger hands on without saying so
            body = whole(decompress(body, "gzip"))
        content = json.loads(body)
        json.dumps(content, ensure_ascii=False).encode()
    except Problem as problem:
        raise NotAccepted(problem.code, side) from None
    except RecursionError:
        raise NotAccepted("too_deep", side) from None
    except UnicodeEncodeError:
        raise NotAccepted("invalid_unicode", side) from None
    except ValueError:
        raise NotAccepted("binary_tensor" if _begins_with_json(body) else "invalid_json", side) from None
    if not isinstance(content, dict):
        raise NotAccepted("wrong_type", side)
    return content


def _begins_with_json(body: bytes) -> bool:
    try:
        _, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    except (ValueError, RecursionError):
        return False
    return body[:1] == b"{" and end < len(body)


def _list(value: Any, loc: str) -> list[Any]:
    if not isinstance(value, list):
        raise NotAccepted("wrong_type", loc)
    if not value:
        raise NotAccepted("empty", loc)
    return value


def _same(values: Sequence[Any], rows: int, loc: str) -> Sequence[Any]:
    if len(values) != rows:
        raise NotAccepted("row_count_mismatch", loc)
    return values


def _bounded(rows: list[dict[str, Any]], loc: str) -> list[dict[str, Any]]:
    if len(rows) > MAX_ROWS:
        raise NotAccepted("too_many", loc)
    return rows


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
