"""From a row to its label events: one in the long form, one for each value column in the wide form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal

from upshot.wire import LabelEvent
from upshot_joiner.intake.check import NotAccepted
from upshot_joiner.store.keys import content_hash
from upshot_server.labels.cells import Cells
from upshot_server.labels.mapping import MAPS, Resolved

Empty = Literal["skip", "retract"]
Pick = Callable[[Any], object]
"""Takes the cell of one column out of a row."""

_TEXTS = ("request_id", "item_id", "model", "name", "source", "label_id")


@dataclass(slots=True)
class Made:
    """What became of one row: every event it stands for is in one of these."""

    events: list[LabelEvent] = field(default_factory=list)
    skipped: int = 0
    refused: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Code, place in the event, column."""


class EventMaker:
    """Makes events of the rows of one source."""

    def __init__(
        self,
        resolved: Resolved,
        columns: Sequence[str] | None,
        cells: Cells,
        *,
        empty: Empty = "skip",
        id_of: Callable[[LabelEvent, int], str] | None = None,
    ) -> None:
        self.resolved = resolved
        self.width = len(resolved.value_columns) or 1
        """Events that each row stands for."""
        self._cells = cells
        self._empty = empty
        self._id_of = id_of

        def pick(column: str) -> Pick:
            return (lambda row: row.get(column)) if columns is None else itemgetter(columns.index(column))

        fields = resolved.fields
        self._texts = [(name, pick(column)) for name, column in fields.items() if name in _TEXTS]
        self._keys = [(name, *_split(name), pick(column)) for name, column in fields.items() if "." in name]
        self._maps = [(name, pick(column)) for name, column in fields.items() if name in MAPS]
        self._op = pick(fields["op"]) if "op" in fields else None
        self._time = pick(fields["observed_at"]) if "observed_at" in fields else None
        self._constants = self._check_constants(resolved.constants)
        names: list[tuple[str, str | None]] = [(name, name) for name in resolved.value_columns]
        names = names or [("", fields.get("value"))]
        self._values = [(name, column, pick(column) if column is not None else None) for name, column in names]

    def make(self, row: Any, place: int) -> Made:
        """The events of a row; each of ``width`` is in exactly one list or count of the result."""
        made = Made()
        cells = self._cells
        try:
            retract = self._retracts(row)
        except NotAccepted as reason:
            made.refused += [(reason.code, reason.loc, self.resolved.column_of(reason.loc))] * self.width
            return made
        shared: dict[str, Any] | None = None
        for name, column, pick in self._values:
            cell = self._constants.get("value") if pick is None else pick(row)
            is_empty = cells.is_empty(cell)
            if is_empty and not retract and self._empty == "skip":
                made.skipped += 1
                continue
            try:
                if shared is None:
                    shared = self._shared(row)
                event = LabelEvent(**shared)
                if name:
                    event.name = name
                    if event.label_id:
                        event.label_id = f"{event.label_id}/{name}"
                if not is_empty:
                    event.value = cells.value(cell) if pick is not None else cell  # type: ignore[assignment]
                if retract or is_empty:
                    event.op = "retract"
                if self._id_of is not None and not event.label_id:
                    event.label_id = self._id_of(event, place)
            except NotAccepted as reason:
                at = column if reason.loc == "value" else self.resolved.column_of(reason.loc)
                made.refused.append((reason.code, reason.loc, at))
            else:
                made.events.append(event)
        return made

    def _retracts(self, row: Any) -> bool:
        if self._op is None:
            return bool(self._constants.get("op") == "retract")
        op = self._op(row)
        if self._cells.is_empty(op) or op == "set":
            return False
        if op != "retract":
            raise NotAccepted("not_allowed", "op")
        return True

    def _shared(self, row: Any) -> dict[str, Any]:
        """What all events of a row have in common."""
        cells = self._cells
        fields: dict[str, Any] = {key: value for key, value in self._constants.items() if key not in ("value", "op")}
        for map_ in MAPS:
            if map_ in fields:
                fields[map_] = dict(fields[map_])
        for name, pick in self._texts:
            cell = pick(row)
            if not cells.is_empty(cell):
                fields[name] = cells.text(cell, name)
        for name, pick in self._maps:
            cell = pick(row)
            if not cells.is_empty(cell):
                fields.setdefault(name, {}).update(cells.texts(cell, name))
        for loc, name, key, pick in self._keys:
            cell = pick(row)
            if not cells.is_empty(cell):
                fields.setdefault(name, {})[key] = cells.text(cell, loc)
        if self._time is not None:
            cell = self._time(row)
            if not cells.is_empty(cell):
                fields["observed_at"] = cells.time(cell)
        if not fields.get("request_id") and not fields.get("entity"):
            raise NotAccepted("empty", "request_id")
        fields.setdefault("request_id", "")
        return fields

    def _check_constants(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Constants in the types of an event; raises :class:`NotAccepted` for one that cannot be."""
        text = Cells(True, self._cells.value_type, self._cells.time_format, self._cells.timezone)
        constants: dict[str, Any] = {}
        for name, constant in given.items():
            if name == "value":
                constants[name] = text.value(constant)
            elif name == "observed_at":
                constants[name] = text.time(constant)
            elif name == "op" and constant not in ("set", "retract"):
                raise NotAccepted("not_allowed", "op")
            elif "." in name:
                map_, key = _split(name)
                constants.setdefault(map_, {})[key] = constant
            else:
                constants[name] = constant
        return constants


def _split(field_: str) -> tuple[str, str]:
    map_, _, key = field_.partition(".")
    return map_, key


def place_id(unit: str, name: str) -> Callable[[LabelEvent, int], str]:
    """Label IDs that tell apart two equal rows of one source: from the source's name, the place and the content."""

    def id_of(event: LabelEvent, place: int) -> str:
        return f"{unit}:{place}:{content_hash([name, place, event]):032x}"

    return id_of
