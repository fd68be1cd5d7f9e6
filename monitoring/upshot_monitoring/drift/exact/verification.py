"""Answers about drift, with the number of all rows beside each number of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from upshot_joiner.config import ConfigStore
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.drift.baselines import Asked, Baseline, Baselines
from upshot_monitoring.drift.describe import key_of
from upshot_monitoring.drift.exact.sides import Side, Sides, served_side
from upshot_monitoring.drift.exact.statistic import MAX_ROWS, count_rows, exact_statistic
from upshot_monitoring.drift.registry import METHODS
from upshot_monitoring.profiles.columns import Column, served_columns
from upshot_monitoring.profiles.maps import PAIRS, MapRole, map_columns, map_parameters
from upshot_monitoring.profiles.read import Window
from upshot_monitoring.profiles.references import Reference, References, RowsNotKept
from upshot_monitoring.profiles.scales import Key

_NOT_VERIFIED = {"label": "labels are not verified", "ranking": "a ranking is not verified, the attributions are"}


class Verification:
    """Computes on demand what the profiles say. Every method may be called from any thread."""

    def __init__(
        self, store: Store, served: ServedTables, configs: ConfigStore, references: References, baselines: Baselines
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._references = references
        self._baselines = baselines

    def verify(self, model: str, asked: Asked, rows: list[dict[str, Any]]) -> None:
        """Put ``exact`` into each row of an answer: ``statistic``, ``difference`` (profile - exact), row counts; or a reason."""
        wanted: dict[Baseline, list[dict[str, Any]]] = {}
        for row in rows:
            if row["role"] in _NOT_VERIFIED:
                row["exact"] = _without(_NOT_VERIFIED[row["role"]])
            elif row["statistic"] is None:
                row["exact"] = _without("no statistic to verify")
            else:
                wanted.setdefault(row["baseline"], []).append(row)
        for baseline, against in wanted.items():
            self._verify(model, asked, baseline, against)

    def _verify(self, model: str, asked: Asked, baseline: Baseline, wanted: list[dict[str, Any]]) -> None:
        window = self._baselines.window(model, asked)
        _, base = self._baselines.chosen(window, baseline)
        try:
            with self._sides(model, window, base, [key_of(row) for row in wanted]) as sides:
                is_too_much = count_rows(self._store, sides) > MAX_ROWS
                for row in wanted:
                    row["exact"] = _without(f"more than {MAX_ROWS:,} rows") if is_too_much else self._exact(sides, row)
        except RowsNotKept:
            for row in wanted:
                row["exact"] = _without("the rows of the reference are not kept by this server")

    def _exact(self, sides: Sides, row: dict[str, Any]) -> dict[str, Any]:
        key = key_of(row)
        if not sides.has(key):
            return _without("one side does not have this column")
        found = exact_statistic(self._store, sides, key, row["kind"], METHODS[row["method"]])
        return {
            "statistic": found.statistic,
            "difference": None if found.statistic is None else row["statistic"] - found.statistic,
            "rows_reference": found.rows_reference,
            "rows_current": found.rows_current,
        }

    @contextmanager
    def _sides(self, model: str, window: Window, base: Reference | Window | None, keys: list[Key]) -> Iterator[Sides]:
        table = self._served.table(model)
        assert table is not None  # noqa: S101  # a statistic rests on served rows
        names: dict[MapRole, list[str]] = {role: [name for of, name in keys if of == role] for role in PAIRS}
        served = [*served_columns(model, self._served, self._configs.get(model)), *map_columns(names)]
        columns: dict[Key, Column] = {(column.role, column.name): column for column in served}
        current = served_side("current", table, window, columns, map_parameters(names))
        if isinstance(base, Window):
            yield Sides(served_side("baseline", table, base, columns, map_parameters(names)), current)
        else:
            assert base is not None  # noqa: S101  # a statistic rests on a baseline
            with self._references.rows(model, base, self._configs.get(model), keys) as (staged, of_reference):
                yield Sides(Side(staged, {}, of_reference), current)


def _without(reason: str) -> dict[str, Any]:
    return {"statistic": None, "difference": None, "rows_reference": None, "rows_current": None, "reason": reason}
