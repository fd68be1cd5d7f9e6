"""Which predictions were watched for how long, and when their labels arrived: the counts that the delay curves are made of.

Whole hours come from the roll-up: the predictions of an hour were all watched until the age of the youngest. The last two hours,
which would tell nothing that way (and are all there is of a model that began to serve just now), are counted from the rows, second
by second, unless they are too many; then there is enough to go by without them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from upshot_joiner.clock import to_micros
from upshot_joiner.config import ModelConfig
from upshot_joiner.delays import positive
from upshot_joiner.delays.bins import PER_OCTAVE, followed
from upshot_joiner.delays.delay_curve import DelayCurve, kaplan_meier
from upshot_joiner.delays.label_hours import BIN, DELAY_S, SHOWN_ONLY
from upshot_joiner.join import activation
from upshot_joiner.store.client import Store

HOUR = timedelta(hours=1)
MOST_SINGLE_ROWS = 200_000
"""Of the last two hours, so many predictions are looked at one by one."""

_OF_WHOM = "model = {model:String} AND ({any_version:Bool} OR model_version = {version:String})"
_FOLLOWED = f"if(age < 1, 0, toUInt16(1 + floor({PER_OCTAVE} * log2(greatest(1, age)))))"
_ASKED = f"{_OF_WHOM} AND hour >= {{start:DateTime('UTC')}} AND hour < {{end:DateTime('UTC')}}"
_IN_HOURS = f"""
SELECT
  name, sum(labelled), sum(retracted), sumIf(labelled, hour < closed_hour), sumIf(retracted, hour < closed_hour)
FROM (
  SELECT *,
    toDateTime(toUInt32(transform(
      toString(name), {{names:Array(String)}}, {{closed_hours:Array(UInt32)}}, {{default_closed_hour:UInt32}})), 'UTC')
      AS closed_hour
  FROM label_hours FINAL WHERE {_ASKED}
)
GROUP BY name
"""
# As rows: sumMap() over arrays takes ten times as long.
_ARRIVED = f"""
SELECT name, followed, bin, sum(n), sum(good), sum(delays)
FROM (
  SELECT toString(name) AS name, bins, arrived, positives, seconds,
    toInt64({{now_s:Float64}}) - toInt64(toUnixTimestamp(hour)) - 3600 AS age, {_FOLLOWED} AS followed
  FROM label_hours FINAL WHERE {_ASKED} AND hour < {{single_from:DateTime('UTC')}}
)
ARRAY JOIN bins AS bin, arrived AS n, positives AS good, seconds AS delays
WHERE bin < followed
GROUP BY name, followed, bin
"""
# The hour in which the window closes, row by row.
_IN_CLOSED_HOUR = f"""
SELECT name, countIf(state = 'labelled'), countIf(state = 'retracted')
FROM (
  SELECT *, fromUnixTimestamp64Micro(transform(
    toString(name), {{names:Array(String)}}, {{closed:Array(Int64)}}, {{default_closed:Int64}}), 'UTC') AS closed_at
  FROM outcomes FINAL
  WHERE {_OF_WHOM} AND name != 'shown' AND toStartOfHour(predicted_at) IN {{partial_hours:Array(DateTime('UTC'))}} %s
)
WHERE toStartOfHour(predicted_at) = toStartOfHour(closed_at) AND predicted_at <= closed_at
  AND toStartOfHour(predicted_at) >= {{start:DateTime('UTC')}} AND toStartOfHour(predicted_at) < {{end:DateTime('UTC')}}
GROUP BY name
"""
_RECENT = "predicted_at >= {from:DateTime('UTC')} AND predicted_at < {until:DateTime('UTC')}"
_SERVED_BY_SECOND = f"""
SELECT toInt64(toUnixTimestamp(predicted_at)) AS second, count() FROM %s FINAL
WHERE {_RECENT} AND ({{any_version:Bool}} OR model_version = {{version:String}}) AND %s
GROUP BY second
"""
_LABELLED_BY_SECOND = f"""
SELECT toString(name), toInt64(toUnixTimestamp(predicted_at)) AS second, {BIN} AS bin, count(), countIf({positive.SQL}),
  sum({DELAY_S})
FROM outcomes FINAL
WHERE {_OF_WHOM} AND name != 'shown' AND {_RECENT} AND toStartOfHour(predicted_at) IN {{hours:Array(DateTime('UTC'))}} %s
GROUP BY name, second, bin
"""


@dataclass(frozen=True)
class Asked:
    """About which predictions: of one version or all, predicted in a range of whole hours."""

    version: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def hours(self) -> tuple[datetime, datetime]:
        """The first hour, and the one after the last."""
        return (
            datetime(1980, 1, 1, tzinfo=UTC) if self.start is None else hour_of(self.start),
            datetime(2100, 1, 1, tzinfo=UTC) if self.end is None else _ceil(self.end),
        )


def hour_of(moment: datetime) -> datetime:
    """The start of the hour of a moment."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _ceil(moment: datetime) -> datetime:
    start = hour_of(moment)
    return start if start == moment else start + HOUR


@dataclass
class OfLabel:
    """Counts of one label."""

    labelled: int = 0
    retracted: int = 0
    matured_labelled: int = 0
    matured_retracted: int = 0
    arrived: Counter[int] = field(default_factory=Counter)
    """First arrivals while watched, by bin."""
    positives: Counter[int] = field(default_factory=Counter)
    """Those with the positive value, by bin."""
    seconds: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    """Sums of the delays, by bin."""
    arrived_of: Counter[int] = field(default_factory=Counter)
    """First arrivals by how many bins their prediction was watched."""
    positives_of: Counter[int] = field(default_factory=Counter)

    def curve(self, watched: Mapping[int, int]) -> DelayCurve:
        """Until the first arrival of any value."""
        return kaplan_meier(self.arrived, {k: n - self.arrived_of[k] for k, n in watched.items()})

    def curve_of_positives(self, watched: Mapping[int, int]) -> DelayCurve:
        """Until the arrival of what holds the positive value."""
        return kaplan_meier(self.positives, {k: n - self.positives_of[k] for k, n in watched.items()})


@dataclass
class Watched:
    """The counts of a model: per label, and how many predictions were watched, by how many bins."""

    labels: defaultdict[str, OfLabel]
    predictions: Counter[int]


def count(
    store: Store,
    model: str,
    config: ModelConfig,
    asked: Asked,
    now: datetime,
    shown_by_hour: Mapping[datetime, int],
    table: str | None,
    *,
    defers: bool,
) -> Watched:
    """Count; ``shown_by_hour`` are the predictions asked about, and ``table`` is the model's typed table."""
    start, end = asked.hours
    single_from = hour_of(now) - HOUR
    recent = sum(n for hour, n in shown_by_hour.items() if hour >= single_from)
    if recent > MOST_SINGLE_ROWS or table is None:
        single_from = hour_of(now)
    names = list(dict.fromkeys([*config.labels, ""]))  # never empty: transform() of empty arrays has no type
    closed = [now - config.label(name).window for name in names]
    default_closed = now - config.label("").window
    only = SHOWN_ONLY % activation.not_shown(table) if defers and table else ""
    params: dict[str, object] = {
        "model": model,
        "any_version": asked.version is None,
        "version": asked.version or "",
        "now_s": now.timestamp(),
        "single_from": single_from,
        "start": start,
        "end": end,
        "names": names,
        "closed": [to_micros(moment) for moment in closed],
        "default_closed": to_micros(default_closed),
        "closed_hours": [_seconds(hour_of(moment)) for moment in closed],
        "default_closed_hour": _seconds(hour_of(default_closed)),
        "partial_hours": sorted({hour_of(moment) for moment in (*closed, default_closed)}),
        **positive.parameters(config),
    }
    watched = Watched(defaultdict(OfLabel), Counter())
    for hour, predictions in shown_by_hour.items():
        if hour < single_from:
            watched.predictions[followed((now - hour - HOUR).total_seconds())] += predictions
    for name, labelled, retracted, closed_labelled, closed_retracted in store.query(_IN_HOURS, params):
        one = watched.labels[name]
        one.labelled += labelled
        one.retracted += retracted
        one.matured_labelled += closed_labelled
        one.matured_retracted += closed_retracted
    for name, bins, bin_, arrived, positives, seconds in store.query(_ARRIVED, params):
        _add(watched.labels[name], bins, bin_, arrived, positives, seconds)
    for name, labelled, retracted in store.query(_IN_CLOSED_HOUR % only, params):
        watched.labels[name].matured_labelled += labelled
        watched.labels[name].matured_retracted += retracted
    if single_from < hour_of(now) and table is not None and recent:
        _count_single(store, params, watched, now, single_from, table, activation.counts() if defers else "true", only)
    return watched


def _count_single(
    store: Store,
    params: dict[str, object],
    watched: Watched,
    now: datetime,
    single_from: datetime,
    table: str,
    shown: str,
    only: str,
) -> None:
    start, end = params["start"], params["end"]
    assert isinstance(start, datetime)  # noqa: S101  # put there by count()
    assert isinstance(end, datetime)  # noqa: S101
    params = {
        **params,
        "from": max(start, single_from),
        "until": min(end, now.replace(microsecond=0)),
        "hours": [single_from, single_from + HOUR],
    }
    now_s = now.timestamp()

    def watched_for(second: int) -> int:
        return followed(now_s - second - 1)

    for second, predictions in store.query(_SERVED_BY_SECOND % (table, shown), params):
        watched.predictions[watched_for(second)] += predictions
    for name, second, bin_, arrived, positives, seconds in store.query(_LABELLED_BY_SECOND % only, params):
        bins = watched_for(second)
        if bin_ < bins:
            _add(watched.labels[name], bins, bin_, arrived, positives, seconds)


def _add(one: OfLabel, bins: int, bin_: int, arrived: int, positives: int, seconds: float) -> None:
    one.arrived[bin_] += arrived
    one.positives[bin_] += positives
    one.seconds[bin_] += seconds
    one.arrived_of[bins] += arrived
    one.positives_of[bins] += positives


def _seconds(moment: datetime) -> int:
    return max(0, math.floor(moment.timestamp()))
