"""From the rows of a frame to tables of events: one column per field, feature, entity and tag, named as in an export."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from upshot.capture.convert import Converter, as_text
from upshot.capture.flags import REDACTED, Flags
from upshot.capture.frames.columns import (
    bool_column,
    event_column,
    id_column,
    moment_column,
    number_column,
    scalar_column,
    screened,
    share_column,
    text_column,
    without_nested,
)
from upshot.capture.frames.ids import new_request_ids
from upshot.capture.frames.layout import Layout, MissingColumnError, UnreadableColumnError
from upshot.capture.frames.names import column_name, field_of, place_of
from upshot.capture.frames.place import Place
from upshot.capture.frames.source import Frame, Rows
from upshot.capture.moments import moment
from upshot.capture.redaction import MASK, Redaction
from upshot.counters import Tally

__all__ = ["TableMaker", "pieces", "without_too_large"]

_Form = Literal["value", "scalar", "number", "share", "bool", "text", "id", "moment"]
_BY_FORM: dict[_Form, Callable[[Any, Place], Any]] = {
    "value": event_column,
    "scalar": scalar_column,
    "number": number_column,
    "share": share_column,
    "bool": bool_column,
    "text": text_column,
    "id": id_column,
}
_FLAGS_TYPE = pa.map_(pa.string(), pa.string())
_VITAL = frozenset({"item_id", "prediction", "predicted_at"})
"""Without these a row is not what was served."""


class TableMaker:
    """Makes tables of one frame's rows. Raises MissingColumnError when the frame cannot be read by its layout."""

    def __init__(
        self,
        frame: Frame,
        layout: Layout,
        constants: Mapping[str, str | float],
        redaction: Redaction | None,
        redacted: Tally,
    ) -> None:
        self._redaction = redaction
        self._redacted = redacted
        self._convert = Converter(_ignore)
        self._convert_redacted = Converter(_ignore, redaction, redacted.next)
        self._names = frame.names
        self._position: dict[str, int] = {}
        for position, name in enumerate(frame.names):
            self._position.setdefault(name, position)  # of two, the first
        self._columns: dict[str, tuple[int, _Form]] = {}
        self._constants: dict[str, Any] = {name: pa.scalar(value) for name, value in constants.items()}
        self._now_s = time.time()
        self._flags: dict[int, Flags] = {}
        self._classes: list[Any] | None = None
        self.missing: list[tuple[str, str]] = []
        """Columns that the layout names and the frame lacks, and the argument that names each: logged without them."""
        self.kept_as_text: Counter[str] = Counter()
        """Values that could only be kept as text, by the name of their column in the frame."""
        self.repeated = [name for name, n in Counter(frame.names).items() if n > 1]
        """Names of several columns: the first of them is logged."""
        self.unreadable: dict[str, None] = {}
        """Columns that pyarrow could not convert: some rows are logged without them."""
        self._request_id = None if layout.request_id is None else self._place(layout.request_id, "request_id")
        self._plan(layout)

    def request_ids(self, rows: Rows) -> Any:
        """One per row, as a string array: the frame's, and a new UUIDv7 where it has none."""
        new = new_request_ids(rows.n)
        if self._request_id is None:
            return new
        place = Place("", "request_id", self._convert, {})
        given = id_column(rows.column(self._request_id, place), place)
        return pc.coalesce(given, new) if given.null_count else given

    def table(self, rows: Rows, request_ids: Any, keeps: list[bool] | None, seqs: Any) -> Any:
        """A record batch of the events of these rows, but for those that are not kept; ``seqs`` are of those that are."""
        columns = {"request_id": request_ids, **self._columns_of(rows)}
        table = pa.record_batch(list(columns.values()), list(columns))
        if keeps is not None:
            table = table.filter(pa.array(keeps, pa.bool_()))
        return table.append_column("seq", seqs)

    def _columns_of(self, rows: Rows) -> dict[str, Any]:
        self._flags = {}
        made: dict[str, Any] = {name: pa.repeat(value, rows.n) for name, value in self._constants.items()}
        redacted = {}
        for name, (position, form) in self._columns.items():
            try:
                shown, column = self._column(rows, name, position, form)
            except Exception as error:
                source = self._names[position]
                if name in _VITAL or (self._classes is not None and form == "number"):
                    raise UnreadableColumnError(source) from error
                self.unreadable[source] = None
                continue
            if column is None or shown != name:
                redacted[place_of(shown)] = REDACTED
            if column is not None:
                made[shown] = column
        if self._classes is not None:
            made["prediction"] = _most_probable(self._classes, made, rows.n)
        if self._flags:
            none = Flags()
            flags = [{**redacted, **(self._flags.get(row, none).noted or {})} or None for row in range(rows.n)]
            made["flags"] = pa.array(flags, _FLAGS_TYPE)
        elif redacted:
            made["flags"] = pa.repeat(pa.scalar(redacted, _FLAGS_TYPE), rows.n)
        return made

    def _column(self, rows: Rows, name: str, position: int, form: _Form) -> tuple[str, Any]:
        """The name of a column and its values; None for values that a rule drops."""
        field, key = field_of(name)
        section, of = ("", field) if key is None else (field, key)
        redaction = self._redaction if key is not None or field in ("prediction", "action") else None
        action, shown = (None, of) if redaction is None else redaction.decision(section, of)
        if key is not None and shown != of:
            name = column_name(field, shown)
        if action == "drop":
            self._redacted.raise_by(rows.n)
            return name, None
        converter = self._convert if redaction is None or action is not None else self._convert_redacted
        place = Place(section, shown, converter, self._flags)
        column = rows.column(position, place)
        if form == "moment":
            column = moment_column(column, self._now_s if name == "predicted_at" else None)
        else:
            column = _BY_FORM[form](column if redaction is None else without_nested(column, place), place)
        self.kept_as_text[self._names[position]] += place.n_kept_as_text
        if redaction is None or form in ("moment", "number"):
            return name, column
        if action is not None:
            texts = text_column(column, Place(section, shown, self._convert, {}))
            change = redaction.digest if action == "hash" else _masked
            column, n_redacted = screened(texts, change, place)
            self._redacted.raise_by(n_redacted)
        elif pa.types.is_string(column.type) and not place.is_by_value:
            column, n_redacted = screened(column, redaction.text, place)
            self._redacted.raise_by(n_redacted)
        return name, column

    # ---- the plan ------------------------------------------------------------------------------------------------

    def _plan(self, layout: Layout) -> None:
        if layout.item_id is not None:
            self._columns["item_id"] = self._place(layout.item_id, "item_id"), "id"
        self._plan_predicted_at(layout.predicted_at)
        probabilities = {_name(of): column for of, column in (layout.probabilities or {}).items()}
        if layout.prediction == "prediction" and probabilities and "prediction" not in self._position:
            self._classes = [self._convert.value(of) for of in layout.probabilities or ()]
            for column in probabilities.values():
                self._place(column, "probabilities")  # one is missing: nobody knows the most probable class
        else:
            self._columns["prediction"] = self._place(layout.prediction, "prediction"), "scalar"
        self._plan_each("probabilities", probabilities, "number")
        self._plan_each("entities", layout.entities or {}, "id")
        self._plan_each("tags", layout.tags or {}, "text")
        self._plan_each("feature_times", layout.feature_times or {}, "moment")
        self._plan_each("inputs", layout.inputs or {}, "value")
        self._plan_each("attributions", layout.attributions or {}, "number")
        self._plan_one("action", layout.action, "scalar")
        self._plan_one("propensity", layout.propensity, "share")
        self._plan_one("shown", layout.shown, "bool")
        features = layout.features
        if features is None:
            used = {position for position, _ in self._columns.values()} | {self._request_id}
            features = [name for name, position in self._position.items() if position not in used]
        if not isinstance(features, Mapping):
            features = {_name(column): column for column in ([features] if isinstance(features, str) else features)}
        self._plan_each("features", features, "value")

    def _plan_predicted_at(self, given: Any) -> None:
        utc = pa.timestamp("us", "UTC")
        if isinstance(given, str) and given in self._position:
            self._columns["predicted_at"] = self._position[given], "moment"
            return
        at = self._now_s if given is None else moment(given, self._convert)
        if isinstance(at, (int, float)):
            self._constants["predicted_at"] = moment_column(pa.array([at]), self._now_s)[0]
            return
        try:
            self._constants["predicted_at"] = pa.scalar(str(at), pa.string()).cast(utc)
        except pa.ArrowInvalid:
            raise MissingColumnError(str(at), "predicted_at") from None

    def _plan_each(self, field: str, columns: Mapping[Any, Any], form: _Form) -> None:
        for key, column in columns.items():
            self._plan_one(column_name(field, _name(key)), _name(column), form, field)

    def _plan_one(self, name: str, given: Any, form: _Form, role: str = "") -> None:
        if given is None:
            return
        if not isinstance(given, str):
            place = Place("", name, self._convert, {})
            self._constants[name] = _BY_FORM[form](pa.array([self._convert.value(given)]), place)[0]
        elif given in self._position:
            self._columns[name] = self._position[given], form
        else:
            self.missing.append((given, role or name))

    def _place(self, column: Any, role: str) -> int:
        position = self._position.get(_name(column))
        if position is None:
            raise MissingColumnError(_name(column), role)
        return position


def without_too_large(table: Any, max_bytes: int) -> Any:
    """The rows of a record batch, but for those of more than about so many bytes."""
    lengths = []
    for column in table.columns:
        if pa.types.is_string(column.type):
            lengths.append(pc.binary_length(column).cast(pa.int64()))
        elif pa.types.is_list(column.type):
            lengths.append(pc.multiply(pc.list_value_length(column).cast(pa.int64()), 8))
    if 8 * table.num_columns + sum(pc.max(of_column).as_py() or 0 for of_column in lengths) <= max_bytes:
        return table
    total = pa.repeat(pa.scalar(8 * table.num_columns, pa.int64()), table.num_rows)
    for of_column in lengths:
        total = pc.add(total, of_column.fill_null(0))
    return table.filter(pc.less_equal(total, max_bytes))


def pieces(table: Any, max_bytes: int) -> Iterator[Any]:
    """A record batch in pieces of at most about so many bytes, of one row at least. A cell counts as eight, even a null."""
    n_bytes = max(table.nbytes, 8 * table.num_rows * table.num_columns)
    if n_bytes <= max_bytes or table.num_rows <= 1:
        yield table
        return
    n = -(-table.num_rows // -(-n_bytes // max_bytes))
    n = min(n, table.num_rows - 1)
    for start in range(0, table.num_rows, n):
        yield from pieces(table.slice(start, n), max_bytes)


def _most_probable(classes: list[Any], columns: Mapping[str, Any], n: int) -> Any:
    """The class of the highest probability in each row, the first on ties; NaN and null are below all."""
    names = pa.array([as_text(of) for of in classes], pa.string())
    best = pa.repeat(pa.scalar(0, pa.int64()), n)
    best_p = None
    for i, of in enumerate(names.to_pylist()):
        p = columns[column_name("probabilities", of)]
        p = pc.if_else(pc.is_nan(p), None, p).fill_null(float("-inf"))
        if best_p is None:
            best_p = p
            continue
        is_better = pc.greater(p, best_p)
        best = pc.if_else(is_better, pa.scalar(i, pa.int64()), best)
        best_p = pc.if_else(is_better, p, best_p)
    kinds = {type(of) for of in classes}
    return (pa.array(classes) if len(kinds) == 1 else names).take(best)


def _masked(_: str) -> str:
    return MASK


def _name(given: Any) -> str:
    return given if type(given) is str else Converter(_ignore).name(given)


def _ignore(*_: object) -> None:
    """Names and IDs are text anyway."""
