"""``GET /v1/models/{model}/performance``: metrics by window, version and segment, on matured rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.config import ConfigStore, LabelConfig, ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.join import silence as silent
from upshot_joiner.join.silence import NEVER, Silence
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.performance import rollup
from upshot_monitoring.performance.catalogue import CATALOGUE, hidden
from upshot_monitoring.performance.estimates.estimator import Estimator, OpenPart, calibrators
from upshot_monitoring.performance.estimates.seen import seen_by_class
from upshot_monitoring.performance.gaps import gaps
from upshot_monitoring.performance.metrics import Metrics
from upshot_monitoring.performance.segments import Segment, parse_segment
from upshot_monitoring.performance.tasks import Sums, Task, task_of
from upshot_monitoring.profiles import rolled

HOUR = timedelta(hours=1)
MAX_WINDOWS = 1500
MAX_SEGMENTS = 20
CALIBRATED_ON = timedelta(days=90)
"""How far back, before the newest matured hour, the calibration of estimates is learnt from."""
MAX_EXACT_ROWS = 5_000_000
"""A cell for each score, in memory."""

_STORED = """
SELECT * FROM performance_sums FINAL
WHERE model = {{model:String}} AND label = {{label:String}} AND setup = {{setup:UInt64}}
  AND hour >= {{start:DateTime('UTC')}} AND hour < {{end:DateTime('UTC')}} AND rows > 0 {version}
"""
_RANGE = """
predicted_at >= toDateTime64({start:DateTime('UTC')}, 6, 'UTC') AND predicted_at < toDateTime64({end:DateTime('UTC')}, 6, 'UTC')
AND toStartOfHour(predicted_at) >= {start:DateTime('UTC')} AND toStartOfHour(predicted_at) < {end:DateTime('UTC')}
"""
# An hour counts as silent when any of its windows closed in a silence: the labels that it has are a biased sample, as those of an
# open hour are.
_BY_SLOT = """
SELECT {segment} AS segment_value, model_version, slot, is_matured, is_silent, {sums} FROM (
  SELECT *, toUInt32(intDiv(toUInt32(hour) - toUInt32({{start:DateTime('UTC')}}), {{window_s:UInt32}})) AS slot,
    hour < {{matured_until:DateTime('UTC')}} AS is_matured,
    is_matured AND arrayExists((since, until) -> (toInt64(hour) + 3600) * 1000000 > since AND toInt64(hour) * 1000000 < until,
      {{silent_since:Array(Int64)}}, {{silent_until:Array(Int64)}}) AS is_silent
  FROM ({hours})
) AS p
GROUP BY segment_value, model_version, slot, is_matured, is_silent
"""


@dataclass(frozen=True)
class _Part(Generic[Sums]):
    segment: str
    version: str
    slot: int
    matured: bool
    silent: bool
    """Windows closed while the label's feed was silent."""
    sums: Sums


@dataclass(frozen=True)
class Asked:
    """A question about performance, as it came."""

    label: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    window: timedelta = timedelta(days=1)
    version: str | None = None
    segment: str | None = None
    exact: bool = False
    """From the rows, with a bin for each score, instead of from the hourly sums."""
    all_metrics: bool = False
    """Every metric of the task, not only the configured ones."""


@dataclass(frozen=True)
class _Question:
    """Which sums are asked for: of what, in slots of ``window`` from ``start``, told apart by maturity and silence."""

    model: str
    config: ModelConfig
    label: str
    task: Task[Any]
    start: datetime
    end: datetime
    window: timedelta
    matured_until: datetime
    silence: Silence
    version: str | None
    segment: Segment | None
    exact: bool


class Performance:
    """Answers from the hourly sums; a segment from the rows themselves."""

    def __init__(self, store: Store, served: ServedTables, configs: ConfigStore, clock: Clock) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._clock = clock
        self._feeds = FeedRecords(store)

    def answer(self, model: str, asked: Asked) -> dict[str, Any]:
        """The answer of design §3.6, with the parts of open windows apart; see docs. Raises :class:`Problem`."""
        config = self._configs.get(model)
        label = asked.label or config.primary(rolled.seen_labels(self._store, model))
        rules = config.label(label)
        start, end, window = self._range(model, asked)
        now = self._clock.now()
        matured_until = max(EPOCH + HOUR, _floor(now - rules.window, HOUR))
        segment = parse_segment(asked.segment, self._served.features(model)) if asked.segment else None
        task = task_of(config, rules, exact=asked.exact)
        silence = NEVER if rules.default is None else self._feeds.silences(model).get(label, NEVER)
        question = _Question(
            *(model, config, label, task, start, end, window, matured_until, silence),
            *(asked.version, segment, asked.exact),
        )
        parts = self._parts(question)
        wanted = [about.name for about in CATALOGUE[config.task]] if asked.all_metrics else config.performance.metrics
        open_parts, estimator = self._estimates(question, parts)

        def say(some: list[_Part[Any]], open_ones: list[OpenPart]) -> dict[str, Any]:
            return self._say(task, some, rules, wanted, open_ones, estimator)

        answer: dict[str, Any] = {
            "label": label,
            "task": config.task,
            "start": start,
            "end": end,
            "matured_until": matured_until,
            "threshold": config.performance.threshold if config.task in ("binary", "ranking") else None,
            "windows": [
                {
                    "start": start + slot * window,
                    "end": min(end, start + (slot + 1) * window),
                    **say([one for one in parts if one.slot == slot], [one for one in open_parts if one.slot == slot]),
                }
                for slot in range(-(-(end - start) // window))
            ],
            "overall": say(parts, open_parts),
        }
        versions = sorted({part.version for part in parts})
        if asked.version is None:
            answer["versions"] = {
                version: say(
                    [one for one in parts if one.version == version],
                    [one for one in open_parts if one.version == version],
                )
                for version in versions
            }
        if segment is not None:
            answer["segment"] = asked.segment
            if segment.value is None:
                answer["segments"] = self._by_segment(parts, open_parts, say)
                answer["gaps"] = self._gaps(task, parts, rules, wanted)
        return answer

    def coverage(self, model: str) -> dict[str, Any] | None:
        """Rows, matured rows and coverage of the primary label over the last 30 days; None without any label."""
        config = self._configs.get(model)
        label = config.primary(rolled.seen_labels(self._store, model))
        served = rolled.served_hours(self._store, model, self._clock.now(), None)
        if served is None:
            return None
        overall = self.answer(
            model, Asked(label=label, start=served[1] - timedelta(days=30), window=timedelta(days=40))
        )
        return {name: overall["overall"][name] for name in ("rows", "matured", "coverage")}

    def _range(self, model: str, asked: Asked) -> tuple[datetime, datetime, timedelta]:
        window = asked.window
        if window < HOUR or window % HOUR:
            raise Problem(
                422, "invalid_window", "A window is a whole number of hours.", [{"loc": "window", "code": "invalid"}]
            )
        served = rolled.served_hours(self._store, model, self._clock.now(), asked.version)
        first, last = served or (self._clock.now(), self._clock.now())
        end = asked.end or last + HOUR
        start = asked.start or first
        if start >= end:
            raise Problem(
                422, "invalid_range", "The start is not before the end.", [{"loc": "start", "code": "invalid"}]
            )
        # Whole windows, counted from 1970: days are days in UTC, whatever moment was asked for.
        start, end = _floor(start, window), _ceiling(end, window)
        if end - start > MAX_WINDOWS * window:
            if asked.start is not None:
                raise Problem(
                    422,
                    "too_many_windows",
                    f"At most {MAX_WINDOWS} windows; ask for longer ones.",
                    [{"loc": "window", "code": "too_short"}],
                )
            start = end - MAX_WINDOWS * window
        return max(start, EPOCH), end, window

    def _parts(self, of: _Question) -> list[_Part[Any]]:
        table = self._served.table(of.model)
        if table is None:
            return []
        params: dict[str, object] = {
            "model": of.model,
            "label": of.label,
            "setup": rollup.setup(of.config, of.label),
            "start": of.start,
            "end": of.end,
            "window_s": int(of.window.total_seconds()),
            "matured_until": of.matured_until,
            **silent.parameters(of.silence, of.config.label(of.label).window),
        }
        where = ""
        if of.version is not None:
            where = "AND model_version = {model_version:String}"
            params["model_version"] = of.version
        if of.segment is None and not of.exact:
            hours = _STORED.format(version=where)
        else:
            if of.exact:
                self._few_enough(table, params)
            statement = rollup.hours_statement(
                *(of.config, of.label, table, _RANGE, None if of.segment is None else of.segment.sql), exact=of.exact
            )
            params |= statement.params | ({} if of.segment is None else of.segment.params)
            hours = f"SELECT * FROM ({statement.sql}) WHERE true {where}"
        sql = _BY_SLOT.format(sums=of.task.sql, hours=hours, segment="''" if of.segment is None else "segment")
        return [
            _Part(
                row["segment_value"],
                row["model_version"],
                row["slot"],
                bool(row["is_matured"]),
                bool(row["is_silent"]),
                of.task.read(row),
            )
            for row in self._store.arrow(sql, params).to_pylist()
        ]

    def _few_enough(self, table: str, params: dict[str, object]) -> None:
        [(rows,)] = self._store.query(f"SELECT count() FROM {table} WHERE {_RANGE}", params)
        if rows > MAX_EXACT_ROWS:
            raise Problem(
                422,
                "too_many_rows",
                f"Exact metrics are made from at most {MAX_EXACT_ROWS:,} rows; ask for a shorter range.",
                [{"loc": "exact", "code": "too_many_rows"}],
            )

    def _say(
        self,
        task: Task[Any],
        parts: Sequence[_Part[Any]],
        rules: LabelConfig,
        wanted: Sequence[str],
        open_parts: Sequence[OpenPart],
        estimator: Estimator | None,
    ) -> dict[str, Any]:
        unless_wanted = hidden(task.name)
        matured = task.add(part.sums for part in parts if part.matured and not part.silent)
        silenced = task.add(part.sums for part in parts if part.silent)
        every = task.add(part.sums for part in parts)
        counts, all_counts = matured.group_rows, every.group_rows
        has_default = rules.default is not None
        defaulted, censored = int(counts[2]) if has_default else 0, int(silenced.group_rows[2])
        labelled = int(counts[0] + counts[1] + silenced.group_rows[0] + silenced.group_rows[1])
        closed = int(matured.rows) + int(silenced.rows)
        measured = task.metrics(matured, has_default)
        answer: dict[str, Any] = {
            "rows": int(every.rows),
            "represents": float(every.group_weights.sum()),
            "effective_rows": measured.effective_rows,
            "matured": closed,
            "labelled": int(all_counts[0] + all_counts[1]),
            "defaulted": defaulted,
            "censored": censored,
            "pending": int(all_counts[2]) - defaulted - censored,
            "retracted": int(all_counts[3]),
            "coverage": (labelled + defaulted) / closed if closed else None,
            **measured.describe(wanted, unless_wanted),
            **(estimator.say(matured, open_parts, wanted) if estimator is not None else {"estimated": {}}),
        }
        if matured.rows < every.rows:
            # Whatever is labelled so far, open rows included: early labels are often not like late ones.
            so_far = task.metrics(every, False)
            answer["so_far"] = {"rows": so_far.rows, **so_far.describe(wanted, unless_wanted)}
        return answer

    def _by_segment(
        self,
        parts: Sequence[_Part[Any]],
        open_parts: Sequence[OpenPart],
        say: Callable[[list[_Part[Any]], list[OpenPart]], dict[str, Any]],
    ) -> list[dict[str, Any]]:
        return [
            {
                "value": value,
                **say(
                    [part for part in parts if part.segment == value],
                    [one for one in open_parts if one.segment == value],
                ),
            }
            for value in _largest(parts)
        ]

    def _gaps(
        self, task: Task[Any], parts: Sequence[_Part[Any]], rules: LabelConfig, wanted: list[str]
    ) -> dict[str, dict[str, Any]]:
        """Of the segments that are listed, each against all other rows that have a segment."""
        usable = [part for part in parts if part.matured and not part.silent]
        has_default = rules.default is not None

        def metrics(some: Iterable[_Part[Any]]) -> Metrics:
            return task.metrics(task.add(part.sums for part in some), has_default)

        pairs = {
            value: (
                metrics(part for part in usable if part.segment == value),
                metrics(part for part in usable if part.segment != value),
            )
            for value in _largest(parts)
        }
        return gaps(task.name, pairs, wanted)

    def _estimates(self, of: _Question, parts: Sequence[_Part[Any]]) -> tuple[list[OpenPart], Estimator | None]:
        """The open hours of a binary model and what estimates of them are made from; nothing where no window is open."""
        if of.config.task != "binary" or not any(part.sums.rows for part in parts if not part.matured):
            return [], None
        rules, now = of.config.label(of.label), self._clock.now()
        first = max(of.start, of.matured_until)
        open_parts = [
            OpenPart(
                *(one.segment, one.version, (first + one.slot * HOUR - of.start) // of.window),
                *(first + one.slot * HOUR, one.sums),
            )
            for one in self._parts(replace(of, start=first, window=HOUR))
        ]
        history = self._parts(
            replace(
                of,
                task=task_of(of.config, rules),
                start=max(EPOCH, of.matured_until - CALIBRATED_ON),
                end=of.matured_until,
                window=CALIBRATED_ON,
                segment=None,
                exact=False,
            )
        )
        matured: dict[str, list[Any]] = {}
        for one in history:
            if not one.silent:
                matured.setdefault(one.version, []).append(one.sums)
        default = None if rules.default is None else rules.default == of.config.positive
        return open_parts, Estimator(
            now,
            default,
            calibrators(((version, of.task.add(sums)) for version, sums in matured.items()), default),
            seen_by_class(self._store, of.model, of.label, rollup.setup(of.config, of.label), rules.window, now),
        )


def _largest(parts: Sequence[_Part[Any]]) -> list[str]:
    """The segments that are listed, those with the most rows first."""
    sizes: Counter[str] = Counter()
    for part in parts:
        sizes[part.segment] += int(part.sums.rows)
    return sorted(sizes, key=lambda value: (-sizes[value], value))[:MAX_SEGMENTS]


def _floor(moment: datetime, step: timedelta) -> datetime:
    return EPOCH + (moment.astimezone(UTC) - EPOCH) // step * step


def _ceiling(moment: datetime, step: timedelta) -> datetime:
    return EPOCH - (EPOCH - moment.astimezone(UTC)) // step * step
