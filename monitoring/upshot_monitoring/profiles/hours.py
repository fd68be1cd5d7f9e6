"""Writes the profiles of whole hours, and pins the scales that are missing for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from upshot_joiner.store.client import Store
from upshot_monitoring.profiles import maps, rolled, rollup
from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.scales import FIRST_ROWS, UNSCALED, Key, Scale, Scales, better, measure, wanting
from upshot_monitoring.profiles.vector_rollup import vector_statements

_KEY = "{{model:String}} AS model, hour, {role} AS role, {feature} AS feature, model_version"
KEY_COLUMNS = ("model", "hour", "role", "feature", "model_version")
# What a version of an hour had when it was rolled before, and has not any more.
_NO_VECTORS = f"""
INSERT INTO vector_profiles ({", ".join(KEY_COLUMNS)}, length, version)
SELECT {", ".join(KEY_COLUMNS)}, length, {{version:UInt64}} FROM vector_profiles FINAL
WHERE model = {{model:String}} AND hour IN {{hours:Array(DateTime('UTC'))}} AND version < {{before:UInt64}} AND rows > 0
"""
# An hour that profiles know vectors of, and that has none: else it would be looked for again and again.
_NO_VECTORS_AT_ALL = f"""
INSERT INTO vector_profiles ({", ".join(KEY_COLUMNS)}, length, version)
SELECT {", ".join(KEY_COLUMNS)}, 0, {{version:UInt64}} FROM profiles FINAL
WHERE model = {{model:String}} AND hour IN {{hours:Array(DateTime('UTC'))}} AND vectors > 0
  AND (hour, role, feature, model_version) NOT IN (
    SELECT hour, role, feature, model_version FROM vector_profiles
    WHERE model = {{model:String}} AND hour IN {{hours:Array(DateTime('UTC'))}})
"""

_Take = Callable[[Sequence[Column], Mapping[str, object]], dict[Key, tuple[int, Scale]]]
"""Measures columns over the rows that the parameters choose."""


class HourProfiles:
    """Rolls the rows of given hours up into ``profiles``. One thread at a time, under the roller's lock."""

    def __init__(self, store: Store, scales: Scales, versions: rolled.Versions) -> None:
        self._store = store
        self._scales = scales
        self._versions = versions
        self.statements = 0
        self.repinned_scales = 0
        self.off_scale: dict[str, set[datetime]] = {}
        """By model: hours whose profiles are on a scale that is not pinned any more, found since this was emptied."""

    def roll(
        self, model: str, columns: Sequence[Column], hours: Sequence[datetime], source: str, params: dict[str, object]
    ) -> None:
        """Profile columns of the rows of ``source``, which refers to ``model``, ``hours`` and ``params``."""
        params = {**params, "model": model, "hours": list(hours)}

        def take(wanted: Sequence[Column], over: Mapping[str, object]) -> dict[Key, tuple[int, Scale]]:
            return measure(self._store, wanted, source, {**params, **over})

        scales = self._pinned(model, columns, hours, take)
        self._write(rollup.statements(columns, scales, source=source, key=_KEY), params)

    def roll_vectors(
        self, model: str, columns: Sequence[Column], hours: Sequence[datetime], source: str, params: dict[str, object]
    ) -> None:
        """Profile the vectors of columns by length and dimension. To be called before :meth:`roll`: what that says of vectors is
        then there."""
        if not any(column.vector for column in columns):
            return
        params = {**params, "model": model, "hours": list(hours)}
        before = self._versions.next()
        found = vector_statements(self._store, columns, source=source, params=params, key=_KEY)
        self._write(found, params, "vector_profiles")
        for cleared in (_NO_VECTORS, _NO_VECTORS_AT_ALL):
            self._store.command(cleared, {**params, "before": before, "version": self._versions.next()})

    def roll_maps(self, model: str, hours: Sequence[datetime], source: str) -> None:
        """Profile what the served rows of ``source`` carry in maps."""
        params: dict[str, object] = {"model": model, "hours": list(hours)}
        for role, names in maps.names_in(self._store, source, params).items():

            def take(
                wanted: Sequence[Column], over: Mapping[str, object], role: maps.MapRole = role
            ) -> dict[Key, tuple[int, Scale]]:
                return maps.measure_map(
                    self._store, role, [column.name for column in wanted], source, {**params, **over}
                )

            scales = self._pinned(model, maps.map_columns({role: names}), hours, take)
            self._write(rollup.map_statements(role, names, scales, maps.PAIRS[role], source=source, key=_KEY), params)

    def _write(
        self, statements: Iterable[rollup.Statement], params: Mapping[str, object], table: str = "profiles"
    ) -> None:
        for statement in statements:
            self._store.command(
                statement.insert_into(table, KEY_COLUMNS),
                {**params, **statement.params, "version": self._versions.next()},
            )
            self.statements += 1

    def _pinned(self, model: str, columns: Sequence[Column], hours: Sequence[datetime], take: _Take) -> list[Scale]:
        """The scale of each column; those that are missing or provisional are taken from these and the latest hours."""
        pinned = self._scales.read(model)
        want = wanting(columns, pinned)
        if want:
            recent = rolled.recent_hours(self._store, model, FIRST_ROWS)
            pins = better(take(want, {"hours": sorted({*hours, *recent})}), pinned)
            if pins:
                self._scales.pin(model, pins, self._versions.next())
                self.repinned_scales += sum(key in pinned for key in pins)
                if any(key in pinned for key in pins):
                    stale = rolled.off_scale(self._store, model, pinned | pins) - set(hours)
                    self.off_scale.setdefault(model, set()).update(stale)
                pinned = pinned | pins
        return [pinned.get((column.role, column.name), UNSCALED) for column in columns]
