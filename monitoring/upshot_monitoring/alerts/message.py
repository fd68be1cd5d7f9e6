"""What an alert says: model, rule, value, threshold, rows, window, since when, where to look. Never a value of a feature."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

MAX_TITLE = 200
MAX_COLUMNS = 5
MAX_LINES = 50
"""Of a message that stands for many."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_WORDS = {
    "firing": "firing",
    "repeat": "still firing",
    "resolved": "resolved",
    "unknown": "cannot be told",
    "known": "can be told again",
    "test": "test",
}


@dataclass(frozen=True)
class Message:
    """One message. ``id`` is the same at every attempt and for every channel, ``incident`` at everything about one incident."""

    id: str
    kind: str
    incident: str
    model: str
    rule: str
    severity: str
    title: str
    text: str
    at: str
    link: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    """What it rests on, for programs."""

    @property
    def is_good(self) -> bool:
        """Whether it says that something is over."""
        return self.kind in ("resolved", "known")

    def body(self) -> bytes:
        """The document that a webhook gets, as Standard Webhooks suggests it: ``type``, ``timestamp``, ``data``."""
        told = {name: value for name, value in asdict(self).items() if name not in ("kind", "at")}
        return msgspec.json.encode({"type": f"alert.{self.kind}", "timestamp": self.at, "data": told})

    def stored(self) -> str:
        """As it is kept until it is delivered."""
        return msgspec.json.encode(asdict(self)).decode()

    @classmethod
    def read(cls, stored: str) -> Message:
        """The reverse of :meth:`stored`."""
        known: dict[str, Any] = msgspec.json.decode(stored)
        return cls(**{name: value for name, value in known.items() if name in cls.__dataclass_fields__})


def message_id(*about: object) -> str:
    """An ID made from what a message is about: made again, it is the same."""
    said = "\0".join(map(str, about)).encode("utf-8", "surrogatepass")
    return f"msg_{hashlib.sha256(said).hexdigest()[:32]}"


def about_rule(
    kind: str,
    *,
    id_: str,
    incident: str,
    model: str,
    rule: str,
    when: str,
    severity: str,
    outcome: Mapping[str, Any],
    since: datetime,
    at: datetime,
    link: str | None,
    note: str = "",
) -> Message:
    """What is said about a rule; ``outcome`` is :meth:`Outcome.describe`."""
    page = f"{link.rstrip('/')}/models/{quote(model, safe='')}" if link else None
    first = next(iter(outcome.get("comparisons", [])), None)
    leading = next((one for one in outcome.get("comparisons", []) if one["value"] == outcome.get("value")), first)
    value = f"{leading['name']} is {shown(leading['value'])}" if leading and leading["value"] is not None else rule
    label = "" if kind in ("resolved", "known", "test") else f"[{severity}] "
    title = f"{label}{printable(model)}: {printable(value)} ({_WORDS[kind]})"
    lines = [
        f"{_WORDS[kind].capitalize()}: {printable(rule)}" + (f" ({printable(when)})" if rule != when else ""),
        f"Model: {printable(model)}",
        *(_line(one) for one in outcome.get("comparisons", [])),
        f"Since: {moment(since)}",
    ]
    columns = list(outcome.get("columns", []))[:MAX_COLUMNS]
    if columns:
        lines.append(f"Drifted most: {', '.join(printable(one, 80) for one in columns)}")
    if note:
        lines.append(note)
    if page:
        lines.append(page)
    figures = {name: outcome.get(name) for name in ("value", "threshold", "rows", "window", "reason", "comparisons")}
    return Message(
        id_, kind, incident, model, rule, severity, title[:MAX_TITLE], "\n".join(lines), stamp(at), page,
        {"when": when, "since": stamp(since), "columns": columns, "note": note, **_plain(figures)},
    )  # fmt: skip


def trial_message(channel: str, at: datetime, link: str | None) -> Message:
    """A message that asks for nothing."""
    id_ = message_id("test", channel, at)
    text = f"This is a test of the channel {channel}. Nothing is wrong."
    return Message(id_, "test", id_, "", "test", "info", "Upshot: test of an alert channel", text, stamp(at), link)


def together(messages: Sequence[Message], channel: str, at: datetime, link: str | None) -> Message:
    """Many messages as one, for people."""
    lines = [one.title for one in messages[:MAX_LINES]]
    if len(messages) > MAX_LINES:
        lines.append(f"and {len(messages) - MAX_LINES} more")
    if link:
        lines.append(link)
    firing = [one for one in messages if not one.is_good]
    kind = "firing" if firing else "resolved"
    severity = next((word for word in ("critical", "warning") if any(one.severity == word for one in firing)), "info")
    id_ = message_id("together", channel, *(one.id for one in messages))
    title = f"{len(messages)} alerts: {len(firing)} firing or not known, {len(messages) - len(firing)} resolved"
    figures = {"messages": [one.id for one in messages]}
    return Message(id_, kind, id_, "", "many", severity, title, "\n".join(lines), stamp(at), link, figures)


def printable(text: str, most: int = 120) -> str:
    """A name in one line, without what would turn or break it, and not too long."""
    flat = _CONTROL.sub(" ", text)
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def shown(value: object) -> str:
    """A number as a person reads it."""
    return f"{value:,.4g}" if isinstance(value, float) and not value.is_integer() else (
        f"{value:,.0f}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    )  # fmt: skip


def moment(at: datetime) -> str:
    """A moment as a person reads it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def stamp(at: datetime) -> str:
    """A moment for programs."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _line(one: Mapping[str, Any]) -> str:
    against = f"{one['operator']} {shown(one['threshold'])}"
    if one["value"] is None:
        return f"{printable(one['name'])} is not known: {printable(one['reason'] or '')} (asked: {against})"
    rows = f", {one['rows']:,} rows" if one["rows"] is not None else ""
    window = one["window"]
    over = f", {moment(window['start'])} to {moment(window['end'])}" if window else ""
    return f"{printable(one['name'])} is {shown(one['value'])} (asked: {against}{rows}{over})"


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same without moments, for JSON that is read back."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(figures))
    return plain
