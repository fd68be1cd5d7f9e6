"""From a sender's body to label events: pure, bounded, and never more than said in the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from upshot.wire import LabelEvent
from upshot_joiner.clock import from_micros
from upshot_joiner.errors import Place
from upshot_joiner.intake.check import CheckedLabel, NotAccepted, check_label
from upshot_joiner.intake.decoded import explain
from upshot_joiner.intake.webhooks.expression import Budget, Expression, NotEvaluated, TooCostly
from upshot_joiner.intake.webhooks.source import MappingConfig, Taken, TimeForm

MAX_EVENTS = 10_000
"""Label events from one body."""
MAX_PLACES = 100
OTHERWISE = "*"
"""The key of ``value_map`` for words that it does not list."""

_TEXTS = ("request_id", "item_id", "name", "op", "model", "source", "label_id")
_EPOCH = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,9})?")


@dataclass
class Mapped:
    """What a body holds: label events with their index in it, how many were filtered out, and what cannot be mapped."""

    events: list[tuple[int, CheckedLabel]] = field(default_factory=list)
    filtered: int = 0
    unmapped: list[Place] = field(default_factory=list)


class Mapping:
    """A compiled mapping of one source. May be used from any thread."""

    def __init__(self, source: str, config: MappingConfig) -> None:
        self._source = source
        self._config = config
        self._events = Expression(config.events)
        self._id = Expression(config.id) if config.id is not None else None
        self._when = [_Field(one) for one in config.when]
        fields = config.fields
        self._texts = {name: _Field(given) for name in _TEXTS if (given := getattr(fields, name)) is not None}
        self._value = _Field(fields.value) if fields.value is not None else None
        self._observed_at = _Field(fields.observed_at) if fields.observed_at is not None else None
        self._time: TimeForm = fields.observed_at.time if fields.observed_at is not None else "iso"
        self._maps = {name: _fields(getattr(fields, name)) for name in ("entity", "tags") if getattr(fields, name)}

    def apply(self, body: Any, headers: Dict[str, str], budget: Budget | None = None) -> Mapped:
        """The label events of a body (JSON as builtins). One event that cannot be mapped loses no other."""
        mapped = Mapped()
        budget = budget or Budget()
        try:
            self._apply(body, headers, budget, mapped)
        except TooCostly:
            return Mapped(unmapped=[{"loc": "mapping", "code": "too_costly"}])
        return mapped

    def _apply(self, body: Any, headers: Dict[str, str], budget: Budget, mapped: Mapped) -> None:
        seen = {name: headers[name] for name in self._config.headers if name in headers}
        try:
            found = self._events.evaluate(body, budget)
            delivery = self._id.evaluate(body, budget) if self._id is not None else None
        except NotEvaluated:
            mapped.unmapped.append({"loc": "events", "code": "not_evaluated"})
            return
        if self._id is not None and not _is_id(delivery):
            mapped.unmapped.append({"loc": "id", "code": "missing" if delivery is None else "wrong_type"})
            return
        events = found if isinstance(found, list) else [found]
        if found is None:
            mapped.unmapped.append({"loc": "events", "code": "missing"})
        elif len(events) > MAX_EVENTS:
            mapped.unmapped.append({"loc": "events", "code": "too_many"})
        else:
            for index, event in enumerate(events):
                scope = _Scope(event, body, seen, budget)
                # A list is numbered, or its events for one request would stand under one ID.
                suffix = f"/{index}" if isinstance(found, list) else ""
                try:
                    if not self._is_wanted(scope):
                        mapped.filtered += 1
                        continue
                    given = "" if delivery is None else f"{self._source}:{delivery}{suffix}"
                    mapped.events.append((index, self._event(scope, given)))
                except NotAccepted as reason:
                    mapped.unmapped.append({"index": index, "loc": reason.loc, "code": reason.code})

    def _is_wanted(self, scope: _Scope) -> bool:
        for number, one in enumerate(self._when):
            held = one.take(scope, f"when.{number}")
            if held in ("", [], {}) or held is None or held is False:  # JMESPath's truth: 0 is true
                return False
        return True

    def _event(self, scope: _Scope, label_id: str) -> CheckedLabel:
        made: dict[str, Any] = {}
        for name, one in self._texts.items():
            taken = one.take(scope, name)
            if taken is not None:
                made[name] = _text(taken, name)
        if self._value is not None and made.get("op") != "retract":
            made["value"] = self._mapped_value(self._value.take(scope, "value"))
        if self._observed_at is not None:
            taken = self._observed_at.take(scope, "observed_at")
            if taken is not None:
                made["observed_at"] = moment(taken, self._time)
        for name, fields in self._maps.items():
            taken = {key: one.take(scope, f"{name}.{key}") for key, one in fields.items()}
            there = {key: _text(one, f"{name}.{key}") for key, one in taken.items() if one is not None}
            if there:
                made[name] = there
        if "request_id" in made:
            made.pop("entity", None)  # the more exact of the two
        elif "entity" not in made:
            raise NotAccepted("missing", "request_id" if "request_id" in self._texts else "entity")
        made.setdefault("label_id", label_id)
        made.setdefault("source", self._source)
        try:
            return check_label(msgspec.convert(made, LabelEvent))
        except msgspec.ValidationError as error:
            code, loc = explain(str(error))
            raise NotAccepted(code, loc) from None
        except UnicodeEncodeError:  # half a character, from a literal of the mapping's own
            raise NotAccepted("invalid_unicode", "") from None

    def _mapped_value(self, value: Any) -> Any:
        if value is None:
            raise NotAccepted("missing", "value")
        if not isinstance(value, bool | int | float | str):
            raise NotAccepted("wrong_type", "value")
        if not self._config.value_map:
            return value
        word = value if isinstance(value, str) else json.dumps(value)
        if word in self._config.value_map:
            return self._config.value_map[word]
        if OTHERWISE in self._config.value_map:
            return self._config.value_map[OTHERWISE]
        raise NotAccepted("not_in_value_map", "value")


def moment(value: Any, form: TimeForm) -> str | float | int:
    """A sender's time as a label event's: exact to the microsecond. Raises :class:`NotAccepted`."""
    if form in ("iso", "iso_utc"):
        if not isinstance(value, str):
            raise NotAccepted("wrong_type", "observed_at")
        if form == "iso":
            return value
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            raise NotAccepted("invalid_time", "observed_at") from None
        return value if read.tzinfo is not None else read.replace(tzinfo=UTC).isoformat()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise NotAccepted("wrong_type", "observed_at")
    if isinstance(value, str) and not _EPOCH.fullmatch(value):
        raise NotAccepted("invalid_time", "observed_at")
    try:
        # repr of a float is what the sender wrote; its binary value is not.
        number = Decimal(value if isinstance(value, str) else repr(value))
        micros = int((number * (1_000_000 if form == "epoch_s" else 1_000)).to_integral_value())
        return from_micros(micros).isoformat()
    except (InvalidOperation, OverflowError, ValueError):
        raise NotAccepted("out_of_range", "observed_at") from None


@dataclass(frozen=True, slots=True)
class _Scope:
    event: Any
    body: Any
    headers: Dict[str, str]
    budget: Budget


class _Field:
    def __init__(self, taken: Taken) -> None:
        self._const = taken.const
        self._expression = Expression(taken.expr) if taken.expr is not None else None
        self._of = taken.of

    def take(self, scope: _Scope, loc: str) -> Any:
        if self._expression is None:
            return self._const
        try:
            return self._expression.evaluate(getattr(scope, self._of), scope.budget)
        except NotEvaluated:
            raise NotAccepted("not_evaluated", loc) from None


def _fields(given: dict[str, Taken]) -> dict[str, _Field]:
    return {name: _Field(one) for name, one in given.items()}


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _text(value: Any, loc: str) -> str:
    """Senders count their orders: a whole number is its digits. Anything else but text is a mistake of the mapping."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise NotAccepted("wrong_type", loc)
