"""One export: from the store to a folder of Parquet files and its manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upshot_joiner.clock import from_micros, to_micros
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.export import columns
from upshot_joiner.export.columns import Column, FeatureFacts, Selection
from upshot_joiner.export.request import ExportRequest
from upshot_joiner.intake.check import EARLIEST_US, LATEST_US, scalar_parts
from upshot_joiner.join import activation
from upshot_joiner.join import silence as silent
from upshot_joiner.join.attributed import attributed_as_of, both
from upshot_joiner.join.fold import FOLD, rule_parameters
from upshot_joiner.join.silence import NEVER, Silence
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import KINDS, ServedTables

ROWS_PER_CHUNK = 100_000
"""Asked of the store at once. The files do not depend on it."""
ROWS_PER_GROUP = 65_536
ROWS_PER_PART = 16 * ROWS_PER_GROUP
MANIFEST_VERSION = 1
ENOUGH_CHUNKS = 10
"""When so many, of rows whose windows closed in a silence, held a censored one, no more are looked at to refuse an export."""

_WHERE = """
received_at <= fromUnixTimestamp64Micro({as_of:Int64}, 'UTC')
AND predicted_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND predicted_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
"""
_OF_RANGE = (
    "(model = '' OR model = {model:String}) AND request_key IN (SELECT request_key FROM %(table)s WHERE %(where)s)"
)
_EVENTS = f"""
SELECT * FROM label_events FINAL
WHERE received_at <= fromUnixTimestamp64Micro({{as_of:Int64}}, 'UTC') AND {_OF_RANGE}
"""
_EVENTS_WITH_ATTRIBUTED = f"SELECT * FROM ({both(_EVENTS, attributed_as_of(_OF_RANGE))})"
_SPINE = """
SELECT {model:String} AS model, request_key, request_id, model_version, item_id, predicted_at
FROM %(table)s FINAL WHERE %(where)s
"""
_CHUNK = """
SELECT %(select)s
FROM (SELECT * FROM %(table)s FINAL WHERE %(where)s) AS s
%(joins)s
ORDER BY s.predicted_at, s.request_id, s.model_version, s.item_id
"""
_ORDER = [
    "s.predicted_at AS order_0",
    "s.request_id AS order_1",
    "toString(s.model_version) AS order_2",
    "s.item_id AS order_3",
]
"""The order of the rows, for shards to be put together by: as embedded, texts are compared byte by byte."""
_JOIN = """
LEFT JOIN (%(fold)s) AS %(alias)s
ON s.request_key = %(alias)s.request_key AND s.request_id = %(alias)s.request_id
AND s.model_version = %(alias)s.model_version AND s.item_id = %(alias)s.item_id
"""
_HOURS = "SELECT toStartOfHour(predicted_at) AS hour, count() FROM %(table)s FINAL WHERE %(where)s GROUP BY hour ORDER BY hour"
_LABEL_KINDS = (
    "SELECT name, groupUniqArray(toString(value_kind)) FROM (%s) "
    "WHERE op = 'set' AND name != 'shown' GROUP BY name ORDER BY name"
)
# What was logged with shown=False: all of it, and what nothing known by the moment has activated.
_DEFERRED = f"SELECT count() FROM %s FINAL WHERE {_WHERE} AND shown = false"
_NOT_SHOWN = f"SELECT count() FROM %s FINAL WHERE {_WHERE} AND shown = false AND NOT %s"


@dataclass(frozen=True)
class Label:
    """A label column: its rules, and the kinds of value it can have in this export."""

    name: str
    rules: LabelConfig
    kinds: set[str]


class TrainingSet:
    """Writes one export. ``request.as_of`` must be fixed, and everything stamped up to it stored."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        config: ModelConfig,
        request: ExportRequest,
        *,
        attributed: bool,
        silences: Mapping[str, Silence] | None = None,
    ) -> None:
        """``silences``: when the feeds of labels were silent, as was known at the moment of the request."""
        if request.as_of is None:
            raise ValueError("as_of must be fixed before an export is written")
        self._store = store
        self._served = served
        if store.is_shared:
            served.refresh()
        self._config = config
        self._request = request
        self._silences = silences or {}
        self._table = served.table(request.model) or ""
        self._events = _EVENTS_WITH_ATTRIBUTED if attributed else _EVENTS
        """The ledger; with what labels of entities were attributed to, where there are any."""
        self._rows = {"table": self._table, "where": _WHERE}
        """Which rows of the typed table are exported."""
        self._as_of = request.as_of.astimezone(UTC)
        self._range: dict[str, Any] = {
            "model": request.model,
            "as_of": to_micros(request.as_of),
            "start": EARLIEST_US if request.start is None else to_micros(request.start),
            "end": LATEST_US if request.end is None else to_micros(request.end),
        }

    def write(self, folder: Path, progress: Callable[[float], None]) -> dict[str, Any]:
        """Write the parts and, last, the manifest; returns the manifest. ``progress`` is told shares from 0 to 1."""
        folder.mkdir(parents=True, exist_ok=True)
        not_shown = self._leave_out_what_was_not_shown() if self._table else 0
        hours = self._store.query(_HOURS % self._rows, self._range) if self._table else []
        total = sum(rows for _, rows in hours)
        selection = Selection()
        labels = self._labels() if total else []
        made = self._columns(selection, labels, total)
        schema = pa.schema([(column.name, column.type) for column in made])
        states: dict[str, Counter[str]] = {label.name: Counter() for label in labels}
        parts = _Parts(folder, schema)
        for start, end in _chunks(hours):
            chunk = self._chunk(selection, labels, start, end)
            table = pa.Table.from_arrays(
                [_one_array(column.build(chunk), column.type) for column in made], schema=schema
            )
            for label in labels:
                counted = pc.value_counts(table[f"label_state__{label.name}"]).to_pylist()
                states[label.name].update({one["values"]: one["counts"] for one in counted})
            parts.write(table)
            progress(parts.rows / total)
        files = parts.close()
        manifest = self._manifest(schema, states, parts.rows, not_shown, files)
        _write_durably(folder / "manifest.json", json.dumps(manifest, indent=2).encode() + b"\n")
        return manifest

    def _leave_out_what_was_not_shown(self) -> int:
        """Restrict the export to predictions that had been shown by its moment; returns how many of its range had not."""
        if self._store.query(_DEFERRED % self._table, self._range) == [(0,)]:
            return 0
        counts = activation.counts_as_of(self._table, _WHERE)
        self._rows["where"] = f"{_WHERE} AND {counts}"
        [(not_shown,)] = self._store.query(_NOT_SHOWN % (self._table, counts), self._range)
        return int(not_shown)

    def _chunk(self, selection: Selection, labels: list[Label], start: int, end: int) -> pa.Table:
        joins = "".join(
            _JOIN
            % {
                "alias": f"o{number}",
                "fold": FOLD.replace("$spine", _SPINE % self._rows).replace(
                    "$events", f"SELECT * FROM ({self._events % self._rows}) WHERE name = {{label_{number}:String}}"
                ),
            }
            for number in range(len(labels))
        )
        sql = _CHUNK % {
            **self._rows,
            "select": ", ".join([*selection.expressions, *_ORDER]),
            "joins": joins,
        }
        params = {
            **self._range,
            **selection.params,
            **rule_parameters({self._request.model: self._config}),
            **{f"label_{number}": label.name for number, label in enumerate(labels)},
            "start": max(start, self._range["start"]),
            "end": min(end, self._range["end"]),
        }
        of_shards = [shard.arrow(sql, params) for shard in self._store.shards]
        if len(of_shards) == 1:
            return of_shards[0]
        return pa.concat_tables(of_shards).sort_by([(f"order_{number}", "ascending") for number in range(len(_ORDER))])

    def _labels(self) -> list[Label]:
        seen = {
            name: set(kinds)
            for name, kinds in self._store.query(_LABEL_KINDS % (self._events % self._rows), self._range)
        }
        labels = []
        for name in dict.fromkeys([*self._config.labels, *sorted(seen)]):
            rules = self._config.label(name)
            kinds = set(seen.get(name, set()))
            if rules.combine == "count":
                kinds = {"int"}
            elif rules.combine == "mean":
                kinds = {"float"}
            elif rules.combine == "sum":
                kinds = {"int"} if kinds <= {"int", "bool"} else {"int", "float"}
            if rules.default is not None:
                kinds.add(scalar_parts(rules.default)[0])
            labels.append(Label(name, rules, kinds))
        return labels

    def _columns(self, selection: Selection, labels: list[Label], total: int) -> list[Column]:
        facts = self._facts() if total else _no_facts()
        made = [
            columns.direct(selection, "request_id", "s.request_id", pa.string()),
            columns.direct(selection, "item_id", "s.item_id", pa.string()),
            columns.constant("model", self._request.model),
            columns.direct(selection, "model_version", "toString(s.model_version)", pa.string()),
            columns.direct(selection, "predicted_at", "s.predicted_at", columns.TIME),
            *columns.scalar(
                selection,
                "prediction",
                ("toString(s.prediction_kind)", "s.prediction_number", "s.prediction_text"),
                facts["prediction_kinds"],
                "prediction_kind",
            ),
        ]
        made += [
            columns.from_map(selection, f"probability__{key}", "probabilities", key, pa.float64())
            for key in facts["classes"]
        ]
        for one in facts["features"]:
            made += columns.feature(selection, one, self._served.shapes_with(self._request.model, one.name))
        for number, label in enumerate(labels):
            made += self._label_columns(selection, number, label)
        made += [
            columns.from_map(selection, f"entity__{key}", "entities", key, pa.string()) for key in facts["entities"]
        ]
        made += [columns.from_map(selection, f"tag__{key}", "tags", key, pa.string()) for key in facts["tags"]]
        made += columns.scalar(
            selection,
            "action",
            ("toString(s.action_kind)", "toFloat64OrNull(s.action)", "s.action"),
            facts["action_kinds"],
            "action_kind",
        )
        made += [
            columns.direct(selection, "propensity", "s.propensity", pa.float64()),
            columns.direct(selection, "weight", "1 / s.keep_probability", pa.float64()),
        ]
        return made

    def _label_columns(self, selection: Selection, number: int, label: Label) -> list[Column]:
        alias = f"o{number}"
        defaults = label.rules.default
        window_us = label.rules.window // timedelta(microseconds=1)
        matures_at = f"s.predicted_at + toIntervalMicrosecond({window_us})"
        closed = f"{matures_at} <= fromUnixTimestamp64Micro({{as_of:Int64}}, 'UTC')"
        unknown = f"(isNull({alias}.state) OR {alias}.state = 'pending')"
        silence = self._silences.get(label.name, NEVER) if defaults is not None else NEVER
        censored = "false"
        if silence.stretches:
            during = silent.closes_in("toUnixTimestamp64Micro(s.predicted_at)", f"_{number}")
            censored = f"({unknown} AND {closed} AND {during})"
            selection.params |= silent.parameters(silence, label.rules.window, f"_{number}")
        defaulted = f"({unknown} AND {closed} AND NOT {censored})" if defaults is not None else "false"
        kind, number_, text = scalar_parts(defaults)
        text_place = selection.text(text)
        value = (
            f"if({defaulted}, '{kind}', {alias}.value_kind)",
            f"if({defaulted}, {number_ if number_ is not None else 'NULL'}, {alias}.value_number)",
            f"if({defaulted}, {text_place}, {alias}.value_text)",
        )
        kinds = label.kinds
        if kinds - {"str"} == kinds and len(kinds) > 1:
            kinds = {"float"}  # numbers and bools of one label are one number column
        return [
            *columns.scalar(selection, f"label__{label.name}", value, kinds, None),
            columns.direct(
                selection,
                f"label_state__{label.name}",
                f"multiIf({defaulted}, 'defaulted', {censored}, 'censored', {unknown}, 'pending', "
                f"assumeNotNull({alias}.state))",
                pa.string(),
            ),
            columns.direct(selection, f"label_observed_at__{label.name}", f"{alias}.observed_at", columns.TIME),
        ]

    def _silence_of(self, states: dict[str, Counter[str]]) -> dict[str, Any]:
        """``silences``: by label, when its feed was silent, where that left rows without an outcome; nothing otherwise."""
        found = {
            name: [{"since": _text(one.since), "until": _text(one.until)} for one in self._silences[name].stretches]
            for name, counts in states.items()
            if counts["censored"]
        }
        return {"silences": found} if found else {}

    def censored(self) -> Counter[str]:
        """Rows of the range that are censored, by label; of very many, at least so many. Looks at rows whose windows closed in a
        silence only."""
        found: Counter[str] = Counter()
        looked_at = 0
        if not self._table or not self._silences:
            return found
        self._leave_out_what_was_not_shown()
        labels = [
            Label(name, self._config.label(name), set())
            for name in self._silences
            if self._config.label(name).default is not None
        ]
        for label in labels:
            for low, high in self._silences[label.name].micros(label.rules.window):
                selection = Selection()
                [_, state, _] = self._label_columns(selection, 0, label)
                within = {
                    **self._range,
                    "start": max(low, self._range["start"]),
                    "end": min(high, self._range["end"]),
                }
                if within["start"] >= within["end"]:
                    continue
                for start, end in _chunks(self._store.query(_HOURS % self._rows, within)):
                    chunk = self._chunk(selection, [label], max(start, within["start"]), min(end, within["end"]))
                    states = _one_array(state.build(chunk), state.type)
                    found[label.name] += pc.sum(pc.equal(states, "censored")).as_py() or 0
                    looked_at += 1
                    if looked_at >= ENOUGH_CHUNKS and found.total():
                        return found
        return found

    def _facts(self) -> dict[str, Any]:
        """What the range holds as of the moment: found by one pass over it, so that the columns depend on nothing else."""
        features = self._served.features(self._request.model)
        counts = []
        for feature in features:
            for kind in KINDS:
                column = feature.columns.get(kind)
                if column is not None:
                    test = f"notEmpty({column})" if kind in ("ints", "floats") else f"isNotNull({column})"
                    counts.append(f"countIf({test})")
                    if kind == "int":
                        counts.append(f"max(abs(toInt128({column})))")
        [row] = self._store.query(
            f"""SELECT count(), sumMap(map(shape, toUInt64(1))), groupUniqArray(toString(prediction_kind)),
                groupUniqArray(toString(action_kind)), groupUniqArrayArray(mapKeys(probabilities)),
                groupUniqArrayArray(mapKeys(entities)), groupUniqArrayArray(mapKeys(tags)),
                sumMap(mapApply((k, v) -> (toString(k), toUInt64(1)), extra)){"".join(", " + count for count in counts)}
            FROM {self._table} FINAL WHERE {self._rows["where"]}""",
            self._range,
        )
        total, rows_by_shape, prediction_kinds, action_kinds, classes, entities, tags, extras, *rest = row
        shapes = self._served.shapes(self._request.model)
        found = []
        numbers = iter(rest)
        for feature in features:
            by_kind = {}
            largest = 0
            for kind in KINDS:
                if kind in feature.columns:
                    by_kind[kind] = next(numbers)
                    if kind == "int":
                        largest = next(numbers) or 0
            present = sum(rows for shape, rows in rows_by_shape.items() if feature.name in shapes[shape])
            if present:
                found.append(
                    FeatureFacts(
                        feature.name, by_kind, feature.columns, extras.get(feature.name, 0), total - present, largest
                    )
                )
        return {
            "prediction_kinds": set(prediction_kinds) - {""},
            "action_kinds": set(action_kinds) - {""},
            "classes": sorted(classes),
            "entities": sorted(entities),
            "tags": sorted(tags),
            "features": found,
        }

    def _manifest(
        self, schema: pa.Schema, states: dict[str, Counter[str]], rows: int, not_shown: int, files: list[dict[str, Any]]
    ) -> dict[str, Any]:
        primary = self._config.primary(list(states))
        manifest: dict[str, Any] = {
            "manifest_version": MANIFEST_VERSION,
            "model": self._request.model,
            "start": _text(self._request.start),
            "end": _text(self._request.end),
            "as_of": _text(self._as_of),
            "rows": rows,
            "not_shown": not_shown,
            "primary_label": primary,
            "states": dict(sorted(states.get(primary, Counter()).items())),
            "labels": {name: dict(sorted(counts.items())) for name, counts in states.items()},
            **self._silence_of(states),
            "columns": [{"name": one.name, "type": str(one.type)} for one in schema],
            "files": files,
        }
        canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
        manifest["sha256"] = hashlib.sha256(canonical).hexdigest()
        return manifest


class _Parts:
    """Parquet files of a fixed number of rows in row groups of a fixed number, however the rows come in."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._rows_in_part = 0
        self._done: list[dict[str, Any]] = []
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        self.rows += table.num_rows
        while self._waiting_rows >= ROWS_PER_GROUP:
            self._write_group(ROWS_PER_GROUP)

    def close(self) -> list[dict[str, Any]]:
        if self._waiting_rows or not self.rows:
            self._write_group(self._waiting_rows)
        if self._writer is not None:
            self._finish_part()
        return self._done

    def _write_group(self, rows: int) -> None:
        waiting = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        group, rest = waiting.slice(0, rows).combine_chunks(), waiting.slice(rows)
        self._waiting, self._waiting_rows = [rest], rest.num_rows
        if self._writer is None:
            path = self._folder / f"part-{len(self._done):05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", version="2.6")
            self._rows_in_part = 0
        self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        self._rows_in_part += rows
        if self._rows_in_part >= ROWS_PER_PART:
            self._finish_part()

    def _finish_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        path = self._folder / f"part-{len(self._done):05d}.parquet"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        self._done.append({"path": path.name, "rows": self._rows_in_part, "sha256": digest})


def _chunks(hours: list[tuple[datetime, int]]) -> Iterator[tuple[int, int]]:
    """Ranges of whole hours with about ROWS_PER_CHUNK rows each, as microseconds."""
    start: datetime | None = None
    rows = 0
    for hour, count in hours:
        start = start or hour
        rows += count
        if rows >= ROWS_PER_CHUNK:
            yield to_micros(start), to_micros(hour + timedelta(hours=1))
            start, rows = None, 0
    if start is not None:
        yield to_micros(start), to_micros(hours[-1][0] + timedelta(hours=1))


def _one_array(values: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return array if array.type == kind else array.cast(kind)


def _no_facts() -> dict[str, Any]:
    return {
        "prediction_kinds": set(),
        "action_kinds": set(),
        "classes": [],
        "entities": [],
        "tags": [],
        "features": [],
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else from_micros(to_micros(moment)).isoformat().replace("+00:00", "Z")


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
