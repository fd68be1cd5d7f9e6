"""Which columns an export has, of which types, and how each is read from the store.

A column has the type of its values when they are of one kind. Where one Parquet type cannot say what was served, a text column
``…_kind__<name>`` (``prediction_kind``, ``action_kind``) stands beside it and says it for every row: ``int``, ``float``, ``bool``,
``str``, ``ints``, ``floats``, ``json``, ``null`` or ``absent``. Integers and floats mixed become one float column as long as every
integer is exact in it; any other mixture becomes JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.intake.check import exact_json
from upshot_joiner.store.served import ARROW_TYPE, KINDS, Kind

TIME = pa.timestamp("us", "UTC")
EXACT_IN_FLOAT = 2**53

Build = Callable[[pa.Table], pa.Array]


@dataclass(frozen=True)
class Column:
    """One column of the export: its name and type, and how it is built from a chunk of the query."""

    name: str
    type: pa.DataType
    build: Build


@dataclass
class Selection:
    """The SELECT list of the export's query, with its parameters; every expression gets a generated alias."""

    expressions: list[str] = field(default_factory=list)
    params: dict[str, object] = field(default_factory=dict)

    def add(self, expression: str) -> str:
        """Select an expression (made of generated names and parameters only); returns its alias."""
        alias = f"c{len(self.expressions)}"
        self.expressions.append(f"{expression} AS {alias}")
        return alias

    def text(self, value: str) -> str:
        """A place for a text that came from outside."""
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"{{{name}:String}}"

    def numbers(self, values: Sequence[int]) -> str:
        """A place for a list of numbers."""
        name = f"p{len(self.params)}"
        self.params[name] = list(values)
        return f"{{{name}:Array(UInt64)}}"


@dataclass(frozen=True)
class FeatureFacts:
    """What the exported range holds of one feature."""

    name: str
    rows_by_kind: Mapping[Kind, int]
    columns: Mapping[Kind, str]
    extras: int
    absents: int
    largest_int: int


def direct(selection: Selection, name: str, expression: str, kind: pa.DataType) -> Column:
    """A column that the store already has in its final form."""
    alias = selection.add(expression)
    return Column(name, kind, lambda chunk: _cast(chunk[alias], kind))


def from_map(selection: Selection, name: str, column: str, key: str, kind: pa.DataType) -> Column:
    """A column for one key of a map; null in rows that do not have it."""
    place = selection.text(key)
    return direct(selection, name, f"if(mapContains(s.{column}, {place}), s.{column}[{place}], NULL)", kind)


def constant(name: str, value: str) -> Column:
    """The same text in every row."""
    return Column(name, pa.string(), lambda chunk: pa.array([value] * chunk.num_rows, pa.string()))


def scalar(
    selection: Selection, name: str, source: Sequence[str], kinds: set[str], kind_name: str | None
) -> list[Column]:
    """A value stored as kind, number and exact text, given as three expressions; ``kinds`` are those of the whole range."""
    kind, number, text = (selection.add(expression) for expression in source)
    type_ = scalar_type(kinds)

    def build(chunk: pa.Table) -> pa.Array:
        missing = pc.or_kleene(pc.is_null(chunk[kind]), pc.equal(chunk[kind], ""))
        if type_ == pa.int64():
            texts = pc.if_else(missing, pa.scalar(None, pa.string()), _cast(chunk[text], pa.string()))
            return texts.cast(pa.int64())
        if type_ == pa.bool_():
            return pc.if_else(missing, pa.scalar(None, pa.bool_()), pc.equal(chunk[text], "true"))
        if type_ == pa.float64():
            return _cast(chunk[number], pa.float64())
        return pc.if_else(missing, pa.scalar(None, pa.string()), _cast(chunk[text], pa.string()))

    columns = [Column(name, type_, build)]
    if kind_name is not None and len(kinds) > 1:
        columns.append(
            Column(kind_name, pa.string(), lambda chunk: pc.if_else(_no_text(chunk[kind]), "null", chunk[kind]))
        )
    return columns


def scalar_type(kinds: set[str]) -> pa.DataType:
    """The type that holds values of all these kinds."""
    if not kinds or kinds == {"float"} or kinds == {"int", "float"}:
        return pa.float64()
    if kinds == {"int"}:
        return pa.int64()
    if kinds == {"bool"}:
        return pa.bool_()
    return pa.string()


def feature(selection: Selection, facts: FeatureFacts, shapes_with: Sequence[int]) -> list[Column]:
    """A feature's column and, where its type cannot say everything, its kind column."""
    name = f"feature__{facts.name}"
    kinds = [kind for kind in KINDS if facts.rows_by_kind.get(kind)]
    plain = not facts.extras
    aliases = {kind: selection.add(f"s.{facts.columns[kind]}") for kind in kinds}
    extra = None
    if facts.extras:
        place = selection.text(facts.name)
        extra = selection.add(f"if(mapContains(s.extra, {place}), s.extra[{place}], NULL)")
    absent = selection.add(f"NOT has({selection.numbers(shapes_with)}, s.shape)") if facts.absents else None

    type_: pa.DataType
    if plain and len(kinds) == 1:
        type_ = ARROW_TYPE[kinds[0]]
        alias = aliases[kinds[0]]
        vector = kinds[0] in ("ints", "floats")

        def build(chunk: pa.Table) -> pa.Array:
            values = _cast(chunk[alias], type_)
            if vector:  # the store keeps "no vector" as an empty one; a vector that was served empty is in `extra`
                values = pc.if_else(pc.equal(pc.list_value_length(values), 0), pa.scalar(None, type_), values)
            return values

    elif plain and set(kinds) == {"int", "float"} and facts.largest_int <= EXACT_IN_FLOAT:
        type_ = pa.float64()

        def build(chunk: pa.Table) -> pa.Array:
            return pc.coalesce(_cast(chunk[aliases["float"]], type_), chunk[aliases["int"]].cast(type_, safe=False))

    elif plain and not kinds:
        type_ = pa.float64()  # null in every row

        def build(chunk: pa.Table) -> pa.Array:
            return pa.nulls(chunk.num_rows, type_)

    else:
        type_ = pa.string()

        def build(chunk: pa.Table) -> pa.Array:
            return pa.array([_as_json(row, aliases, extra) for row in _rows(chunk, aliases, extra)], pa.string())

    columns = [Column(name, type_, build)]
    if len(kinds) > 1 or facts.extras or facts.absents:

        def build_kind(chunk: pa.Table) -> pa.Array:
            rows = _rows(chunk, aliases, extra)
            absents = chunk[absent].to_pylist() if absent else [False] * chunk.num_rows
            return pa.array(
                ["absent" if gone else _kind(row, aliases, extra) for row, gone in zip(rows, absents, strict=True)],
                pa.string(),
            )

        columns.append(Column(f"feature_kind__{facts.name}", pa.string(), build_kind))
    return columns


def _rows(chunk: pa.Table, aliases: Mapping[Kind, str], extra: str | None) -> list[dict[str, Any]]:
    names = [*aliases.values(), *([extra] if extra else [])]
    if not names:
        return [{} for _ in range(chunk.num_rows)]
    rows: list[dict[str, Any]] = chunk.select(names).to_pylist()
    return rows


def _kind(row: Mapping[str, Any], aliases: Mapping[Kind, str], extra: str | None) -> str:
    if extra and row[extra] is not None:
        value = json.loads(row[extra])
        return "int" if isinstance(value, int) and not isinstance(value, bool) else "json"
    for kind, alias in aliases.items():
        if row[alias] is not None and row[alias] != []:
            return kind
    return "null"


def _as_json(row: Mapping[str, Any], aliases: Mapping[Kind, str], extra: str | None) -> str | None:
    if extra and row[extra] is not None:
        text: str = row[extra]
        return text
    for alias in aliases.values():
        if row[alias] is not None and row[alias] != []:
            return exact_json(row[alias])
    return None


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return values if values.type == kind else values.cast(kind)


def _no_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.or_kleene(pc.is_null(values), pc.equal(values, ""))
