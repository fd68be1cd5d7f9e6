"""From a decoded event to its normal form: keys and times as numbers, values with their kind, or the reason why not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from upshot.wire import LabelEvent, Prediction, Scalar, Time, WriterReport
from upshot_joiner.clock import to_micros
from upshot_joiner.intake.shaped import shape_and_values
from upshot_joiner.join.activation import SHOWN
from upshot_joiner.store.keys import content_hash, entity_key, request_key
from upshot_joiner.store.shapes import Shape

MAX_ID_LENGTH = 512
MAX_NAME_LENGTH = 512
MAX_FEATURES = 10_000
MAX_PLACE_LENGTH = MAX_NAME_LENGTH + 32
MAX_FLAG_LENGTH = 64
MAX_TEXT_LENGTH = 64 * 1024
MAX_COUNTERS = 1000
MAX_COUNT = 2**63
"""Of a sequence number or a counter, excluded."""
EARLIEST_US = to_micros(datetime(1990, 1, 1, tzinfo=UTC))
LATEST_US = to_micros(datetime(2200, 1, 1, tzinfo=UTC))
"""A time outside is a mistake of unit (milliseconds taken for seconds is the year 55,000), not a moment."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class NotAccepted(Exception):  # the flow of a check, not an error of ours
    """Why an event cannot be accepted: a stable ``code`` and the place ``loc`` in the event."""

    def __init__(self, code: str, loc: str) -> None:
        super().__init__(code, loc)
        self.code = code
        self.loc = loc


class CheckedPrediction(msgspec.Struct, gc=False):
    """A prediction in normal form. Times are microseconds since 1970; ``predicted_us`` None means "when received"."""

    event: Prediction
    key: int
    predicted_us: int | None
    feature_times_us: dict[str, int] | None
    content_hash: int
    shape: Shape
    values: tuple[Any, ...]
    """The values of the features, in the order of ``shape.names``."""

    @property
    def identity(self) -> tuple[str, int, str, str, str]:
        """What makes this prediction the same as another."""
        event = self.event
        return (event.model, self.key, event.request_id, event.model_version, event.item_id)


@dataclass(slots=True)
class CheckedLabel:
    """A label event in normal form; ``observed_us`` None means "when received"."""

    event: LabelEvent
    key: int
    """Of the request; of a label that names an entity, of the entity."""
    label_id: str
    observed_us: int | None
    content_hash: int

    @property
    def identity(self) -> tuple[int, str, str]:
        """What makes this label event the same as another."""
        return (self.key, self.event.request_id, self.label_id)


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """A writer's report in normal form. Times are microseconds since 1970, by the writer's clock."""

    event: WriterReport
    reported_us: int
    started_us: int

    @property
    def order(self) -> tuple[int, bool, int]:
        """Of two reports of a writer the larger is the later; its clock may jump back, its numbers never do."""
        return (self.event.next_seq, self.event.is_last, self.reported_us)


def check_prediction(event: Prediction) -> CheckedPrediction:
    """Normal form of a prediction; raises :class:`NotAccepted`."""
    check_id(event.request_id, "request_id")
    check_id(event.model, "model")
    check_text(event.model_version, "model_version")
    check_text(event.item_id, "item_id")
    predicted_us = None if event.predicted_at is None else micros(event.predicted_at, "predicted_at")
    shape, values = shape_and_values(event)
    if len(values) > MAX_FEATURES:
        raise NotAccepted("too_many", "features")
    if shape.longest > MAX_NAME_LENGTH:
        raise NotAccepted("too_long", "features")
    check_mappings(event)
    if event.propensity is not None and not 0 < event.propensity <= 1:
        raise NotAccepted("out_of_range", "propensity")
    if not 0 < event.keep_probability <= 1:
        raise NotAccepted("out_of_range", "keep_probability")
    check_text(event.writer_id, "writer_id")
    _count(event.seq, "seq")
    check_scalar(event.prediction, "prediction")
    check_scalar(event.action, "action")
    times = feature_times_us(event.feature_times)
    try:
        digest = content_hash(_content(event, shape, values, predicted_us, times))
    except (RecursionError, ValueError, TypeError):
        raise NotAccepted("unsupported_value", "features") from None
    return CheckedPrediction(event, request_key(event.request_id), predicted_us, times, digest, shape, values)


def _content(
    event: Prediction, shape: Shape, values: tuple[Any, ...], predicted_us: int | None, times: dict[str, int] | None
) -> tuple[Any, ...]:
    """What makes two predictions the same: all but who sent it, and the flags, which say how a value came to be, not what it is.

    An empty mapping is the same as none. Names of features go in as one digest: encoding them again for every row is what
    costs most.
    """
    return (
        event.request_id,
        event.model,
        event.model_version,
        event.item_id,
        predicted_us,
        event.prediction,
        event.probabilities or None,
        shape.digest,
        values,
        times,
        event.inputs or None,
        event.attributions or None,
        event.entities or None,
        event.tags or None,
        event.action,
        event.propensity,
        event.shown,
        float(event.keep_probability),
    )


def check_mappings(event: Prediction) -> None:
    """Raise NotAccepted when names of the mappings of an event, its features apart, are too long or too many."""
    if event.probabilities or event.attributions or event.entities or event.tags:
        _check_names(event)
    if event.flags:
        _check_flags(event.flags)


def feature_times_us(times: Mapping[str, Time] | None) -> dict[str, int] | None:
    """When the features of an event were computed, in microseconds since 1970; raises NotAccepted."""
    if not times:
        return None
    return {name: micros(value, f"feature_times.{name}") for name, value in times.items()}


def _check_names(event: Prediction) -> None:
    for names, field in (
        (event.probabilities, "probabilities"),
        (event.attributions, "attributions"),
        (event.entities, "entities"),
        (event.tags, "tags"),
    ):
        if names and max(map(len, names)) > MAX_NAME_LENGTH:
            raise NotAccepted("too_long", field)


def _check_flags(flags: Mapping[str, str]) -> None:
    for place, flag in flags.items():
        if len(place) > MAX_PLACE_LENGTH or len(flag) > MAX_FLAG_LENGTH:
            raise NotAccepted("too_long", "flags")
    if len(flags) > 2 * MAX_FEATURES:
        raise NotAccepted("too_many", "flags")


def check_label(event: LabelEvent) -> CheckedLabel:
    """Normal form of a label event; raises :class:`NotAccepted`."""
    if event.entity is not None:
        key = _entity_key(event)
    elif event.request_id:
        check_text(event.request_id, "request_id")
        key = request_key(event.request_id)
    else:
        raise NotAccepted("missing", "request_id")
    check_id(event.name, "name")
    check_text(event.item_id, "item_id")
    check_text(event.model, "model")
    check_text(event.source, "source")
    check_text(event.label_id, "label_id")
    if event.op == "set":
        if event.value is None:
            raise NotAccepted("missing", "value")
        if isinstance(event.value, float) and not math.isfinite(event.value):
            raise NotAccepted("not_finite", "value")
        if isinstance(event.value, str) and len(event.value) > MAX_TEXT_LENGTH:
            raise NotAccepted("too_long", "value")
        if event.name == SHOWN and not isinstance(event.value, bool):
            raise NotAccepted("wrong_type", "value")
    elif event.value is not None:
        raise NotAccepted("unexpected", "value")
    check_text(event.writer_id, "writer_id")
    _count(event.seq, "seq")
    observed_us = None if event.observed_at is None else micros(event.observed_at, "observed_at")
    content = msgspec.structs.replace(event, observed_at=observed_us, label_id="", writer_id="", seq=0, tags=None)
    digest = content_hash(content)
    label_id = event.label_id or f"content:{digest:032x}"
    return CheckedLabel(event, key, label_id, observed_us, digest)


def _entity_key(event: LabelEvent) -> int:
    """The key of the entity that a label names instead of a request."""
    if event.request_id:
        raise NotAccepted("unexpected", "entity")
    entities = event.entity or {}
    if not entities:
        raise NotAccepted("empty", "entity")
    if len(entities) > 1:
        raise NotAccepted("too_many", "entity")
    [(entity_type, entity_id)] = entities.items()
    check_id(entity_type, "entity")
    check_id(entity_id, "entity")
    if event.name == SHOWN:  # who was shown what is known of a request only
        raise NotAccepted("not_allowed", "name")
    return entity_key(entity_type, entity_id)


def check_report(event: WriterReport) -> CheckedReport:
    """Normal form of a writer's report; raises :class:`NotAccepted`."""
    check_id(event.writer_id, "writer_id")
    check_text(event.host, "host")
    check_text(event.sdk, "sdk")
    _count(event.pid, "pid")
    _count(event.next_seq, "next_seq")
    if len(event.counters) > MAX_COUNTERS:
        raise NotAccepted("too_many", "counters")
    for name, count in event.counters.items():
        check_text(name, "counters")
        _count(count, f"counters.{name}")
    return CheckedReport(event, micros(event.reported_at, "reported_at"), micros(event.started_at, "started_at"))


def micros(value: Time, loc: str) -> int:
    """A moment as microseconds since 1970: seconds as a number, or RFC 3339 with an offset."""
    if isinstance(value, bool):
        raise NotAccepted("wrong_type", loc)
    if isinstance(value, str):
        try:
            moment = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            raise NotAccepted("invalid_time", loc) from None
        if moment.tzinfo is None:
            raise NotAccepted("time_without_offset", loc)
        result = to_micros(moment)
    elif not math.isfinite(value):
        raise NotAccepted("out_of_range", loc)
    else:
        result = round(value * 1_000_000)
    if not EARLIEST_US <= result < LATEST_US:
        raise NotAccepted("out_of_range", loc)
    return result


def scalar_parts(value: Scalar | None) -> tuple[str, float | None, str]:
    """Kind (``int``, ``float``, ``bool``, ``str``, ``""`` for null), the value as a number where it is one, and its exact text."""
    if value is None:
        return "", None, ""
    if isinstance(value, bool):
        return "bool", float(value), "true" if value else "false"
    if isinstance(value, int):
        try:
            return "int", float(value), str(value)
        except OverflowError:
            return "int", math.inf if value > 0 else -math.inf, str(value)
    if isinstance(value, float):
        return "float", value, repr(value)
    return "str", None, value


def scalar_from_parts(kind: str, text: str) -> Scalar | None:
    """The inverse of :func:`scalar_parts`."""
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    if kind == "bool":
        return text == "true"
    return text if kind == "str" else None


def exact_json(value: Any) -> str:
    """JSON text that :func:`json.loads` reads back to an equal value of the same types, NaN and large integers included."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def check_id(value: str, loc: str) -> None:
    """Raise NotAccepted when a text cannot be an ID."""
    if not value:
        raise NotAccepted("empty", loc)
    check_text(value, loc)


def check_text(value: str, loc: str) -> None:
    """Raise NotAccepted when a text cannot be an ID, which this one may do without."""
    if len(value) > MAX_ID_LENGTH:
        raise NotAccepted("too_long", loc)
    check_printable(value, loc)


def check_printable(value: str, loc: str) -> None:
    """Raise NotAccepted when there are control characters in a text."""
    if not value.isprintable() and _CONTROL.search(value):  # the first is quicker, and nearly always says enough
        raise NotAccepted("control_character", loc)


def check_scalar(value: Scalar | None, loc: str) -> None:
    """Raise NotAccepted when a prediction or an action is too long a text."""
    if isinstance(value, str) and len(value) > MAX_TEXT_LENGTH:
        raise NotAccepted("too_long", loc)


def _count(value: int, loc: str) -> None:
    if not 0 <= value < MAX_COUNT:
        raise NotAccepted("out_of_range", loc)
