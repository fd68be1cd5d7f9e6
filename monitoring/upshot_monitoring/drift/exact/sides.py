"""The rows of both sides as SQL: side 0 is the baseline, side 1 the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.read import Window
from upshot_monitoring.profiles.scales import Key, measured

_SERVED = (
    "(SELECT * FROM {table} FINAL WHERE toStartOfHour(predicted_at) >= {{{side}_start:DateTime('UTC')}} "
    "AND toStartOfHour(predicted_at) < {{{side}_end:DateTime('UTC')}} {version})"
)


@dataclass(frozen=True)
class Side:
    """One side's rows: where they are read from, which column is which expression."""

    source: str
    params: Mapping[str, object]
    columns: Mapping[Key, Column]


def served_side(
    name: str, table: str, window: Window, columns: Mapping[Key, Column], params: Mapping[str, object]
) -> Side:
    """The served rows of a window; ``name`` keeps the parameters of two windows apart, ``params`` are those of the columns."""
    version = "" if window.version is None else f"AND model_version = {{{name}_version:String}}"
    return Side(
        _SERVED.format(table=table, side=name, version=version),
        {
            **params,
            f"{name}_start": window.start,
            f"{name}_end": window.end,
            f"{name}_version": window.version or "",
        },
        columns,
    )


@dataclass(frozen=True)
class Sides:
    """Both sides of a comparison."""

    reference: Side
    current: Side

    @property
    def params(self) -> dict[str, object]:
        """What fills the places of both sources."""
        return {**self.reference.params, **self.current.params}

    def has(self, key: Key) -> bool:
        """Whether both sides have the column."""
        return key in self.reference.columns and key in self.current.columns

    def numbers(self, key: Key) -> str:
        """A SELECT of ``side`` and ``x``: every finite number of the column, vectors by their norm."""
        # + 0.: the two zeros are one value.
        return self._both(key, lambda column: f"toFloat64({measured(column)}) + 0.", "isFinite(x)")

    def vectors(self, key: Key) -> str:
        """A SELECT of ``side`` and ``x``: every vector of the column."""
        return self._both(key, lambda column: column.vector or "CAST([] AS Array(Float64))", "notEmpty(x)")

    def classes(self, key: Key) -> str:
        """A SELECT of ``side`` and ``x``: every text or bool of the column, as text."""
        return self._both(key, _class, "isNotNull(x)")

    def _both(self, key: Key, expression: Callable[[Column], str], where: str) -> str:
        parts = " UNION ALL ".join(
            f"SELECT toUInt8({number}) AS side, {expression(side.columns[key])} AS x FROM {side.source}"
            for number, side in enumerate((self.reference, self.current))
        )
        return f"(SELECT side, x FROM ({parts}) WHERE {where})"


def _class(column: Column) -> str:
    text = f"CAST({column.text} AS Nullable(String))" if column.text else "CAST(NULL AS Nullable(String))"
    if column.flag is None:
        return text
    return f"CAST(multiIf(isNull({column.flag}), {text}, {column.flag}, 'true', 'false') AS Nullable(String))"
