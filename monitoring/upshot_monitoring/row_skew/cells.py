"""From a column of recomputed values to one column per kind, as the served table has them: 3, 3.0, true and "3" stay apart.

Done by Arrow where a column has one kind; cell by cell only where JSON text says the kind, or a CSV cell is no plain number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from upshot_joiner.errors import Problem
from upshot_joiner.intake.arrow_columns import VALUE
from upshot_joiner.intake.check import exact_json
from upshot_joiner.store.rows import kind_of
from upshot_joiner.store.served import ARROW_TYPE, KINDS, Kind

Slot = Literal["int", "float", "bool", "str", "ints", "floats", "json", "absent"]
"""A kind, ``json`` (what no kind holds: an empty list, an integer beyond 64 bits), or whether the value was not recomputed."""
Cells = dict[Slot, pa.Array]
"""By slot, one cell per row: null (an empty list for vectors, false for ``absent``) where the row has none."""

SLOT_TYPE: dict[Slot, pa.DataType] = {"json": pa.string(), "absent": pa.bool_()}
SLOT_TYPE.update(ARROW_TYPE.items())
ANY: tuple[Slot, ...] = (*KINDS, "json")
KIND_WORDS = frozenset({*KINDS, "json", "null", "absent"})
"""What a ``feature_kind__`` column of an export says."""

_LARGEST = 2**63 - 1
# Of at most 18 digits: every such integer fits into 64 bits.
_INTEGER = r"^[+-]?[0-9]{1,18}$"
_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_WORDS = {"true": True, "false": False}


def slots_of(kind: pa.DataType) -> tuple[Slot, ...] | None:
    """The slots that values of an Arrow type may need; None where the type can be no feature."""
    if is_.is_dictionary(kind):
        return slots_of(kind.value_type)
    if is_.is_null(kind):
        return ()
    if is_.is_boolean(kind):
        return ("bool",)
    if is_.is_integer(kind):
        return ("int", "json") if kind == pa.uint64() else ("int",)
    if is_.is_floating(kind) or is_.is_decimal(kind):
        return ("float",)
    if is_text(kind) or is_.is_temporal(kind):
        return ("str",)
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        of = kind.value_type
        if is_.is_integer(of):
            return ("ints", "json")
        return ("floats", "json") if is_.is_floating(of) else None
    return None


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind))


def typed(column: pa.Array) -> Cells:
    """The cells of a column whose type says the kind."""
    if is_.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_.is_null(kind):
        return {}
    if kind == pa.uint64():
        beyond = pc.greater(column, pa.scalar(_LARGEST, pa.uint64()))
        held = pc.if_else(beyond, pa.scalar(None, kind), column)
        return {"int": held.cast(pa.int64()), "json": pc.if_else(beyond, column.cast(pa.string()), _NO_TEXT)}
    if is_.is_boolean(kind):
        return {"bool": column}
    if is_.is_integer(kind):
        return {"int": column.cast(pa.int64())}
    if is_.is_floating(kind) or is_.is_decimal(kind):
        return {"float": column.cast(pa.float64(), safe=False)}
    if is_text(kind):
        return {"str": column.cast(pa.string())}
    if is_.is_temporal(kind):  # the text that logging makes of it
        return {"str": pa.array(VALUE.cells(column)[0], pa.string())}
    return _vectors(column)


def with_kinds(column: pa.Array, kinds: pa.Array, *, is_json: bool, loc: str) -> Cells:
    """The cells of a column beside which an export says the kind of every row. Raises a 422 :class:`Problem` naming ``loc``."""
    kinds = kinds.cast(pa.string())
    absent = pc.fill_null(pc.equal(kinds, "absent"), False)
    if is_json and is_text(column.type):
        gone = absent.to_pylist()
        try:
            texts = column.to_pylist()
            values = [None if out or text is None else json.loads(text) for text, out in zip(texts, gone, strict=True)]
        except ValueError:
            title = "A column of several kinds holds JSON text, as in an export."
            raise Problem(422, "invalid_value", title, [{"loc": loc, "code": "invalid_json"}]) from None
        return {**of_values(values), "absent": absent}
    cells = typed(column)
    if "float" in cells:
        is_int = pc.and_(pc.fill_null(pc.equal(kinds, "int"), False), pc.is_valid(cells["float"]))
        nothing = pa.scalar(None, pa.float64())
        try:
            cells["int"] = pc.if_else(is_int, cells["float"], nothing).cast(pa.int64())
        except pa.ArrowInvalid:
            title = "A value is said to be an integer and is none."
            raise Problem(422, "invalid_value", title, [{"loc": loc, "code": "wrong_type"}]) from None
        cells["float"] = pc.if_else(is_int, nothing, cells["float"])
    return {**cells, "absent": absent}


def of_values(values: Sequence[Any]) -> Cells:
    """The cells of Python values, each by its own kind."""
    lists: dict[Slot, list[Any]] = {}
    for position, value in enumerate(values):
        if value is None:
            continue
        kind: Slot = kind_of(value) or "json"
        if kind not in lists:
            lists[kind] = [_EMPTY.get(kind)] * len(values)
        lists[kind][position] = exact_json(value) if kind == "json" else value
    return {slot: pa.array(cells, SLOT_TYPE[slot]) for slot, cells in lists.items()}


def texts(column: pa.Array, served: set[Kind]) -> Cells:
    """The cells of a CSV column, which has no kinds: each text is read as what was served, where it can be.

    ``served``: the kinds that the feature was served with; any, where it never was.
    """
    column = column.cast(pa.string())
    kinds = served or set(KINDS)
    if kinds == {"str"}:
        return {"str": column}
    found: Cells = {}
    rest = column

    def take(slot: Slot, pattern: str) -> None:
        nonlocal rest
        matched = pc.fill_null(pc.match_substring_regex(rest, pattern), False)
        found[slot] = pc.if_else(matched, pc.utf8_ltrim(rest, "+"), _NO_TEXT).cast(SLOT_TYPE[slot])
        rest = pc.if_else(matched, _NO_TEXT, rest)

    if kinds & {"int", "float"}:
        if "int" in kinds:
            take("int", _INTEGER)
        take("float", _NUMBER)
    if rest.null_count == len(rest):
        return found
    for slot, cells in of_values([_read(text, kinds) for text in rest.to_pylist()]).items():
        found[slot] = pc.coalesce(found[slot], cells) if slot in found else cells
    return found


def _read(text: str | None, kinds: set[Kind]) -> Any:
    """A CSV cell that is no plain number."""
    if text is None:
        return None
    if "bool" in kinds and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    readers: list[Callable[[str], Any]] = [int] if "int" in kinds else []
    readers += [float] if kinds & {"int", "float"} else []
    for reader in readers:
        try:
            return reader(text)
        except ValueError:
            continue
    if kinds & {"ints", "floats"} and text.startswith("["):
        try:
            vector = json.loads(text)
        except ValueError:
            return text
        if "ints" not in kinds and isinstance(vector, list) and all(type(one) in (int, float) for one in vector):
            return [float(one) for one in vector]
        return vector
    return text


# Not pa.scalar(): where it comes first, it imports pandas.
_NO_TEXT = pa.nulls(1, pa.string())[0]
_EMPTY: dict[Slot, Any] = {"ints": [], "floats": []}


def _vectors(column: pa.Array) -> Cells:
    slot: Slot = "ints" if is_.is_integer(column.type.value_type) else "floats"
    try:
        lists = column.cast(pa.list_(column.type.value_type)).cast(SLOT_TYPE[slot])
    except pa.ArrowInvalid:  # integers beyond 64 bits
        return of_values(column.to_pylist())
    if lists.flatten().null_count:  # a list with a null in it is no vector
        return of_values(lists.to_pylist())
    is_empty = pc.fill_null(pc.equal(pc.list_value_length(lists), 0), False)
    found: Cells = {slot: pc.fill_null(lists, pa.scalar([], SLOT_TYPE[slot]))}
    if pc.any(is_empty).as_py():
        found["json"] = pc.if_else(is_empty, "[]", _NO_TEXT)
    return found
