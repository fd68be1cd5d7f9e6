"""The events as they travel: one schema for the SDK that writes them and the server that reads them.

Two kinds of event exist, :class:`Prediction` and :class:`LabelEvent`. Anyone may send them as JSON (one object, a list, or
one object per line). The SDK sends the *packed form*: the same objects, by the same names, as one MessagePack array,
compressed with zstd. MessagePack keeps what JSON blurs: integers stay integers, NaN and the infinities stay what they are.
A body may consist of several zstd frames, one after the other; each of them then holds one array.

In the packed form, and only there, a value of ``features`` or ``inputs`` may be one that an event cannot hold: whoever writes the
event did not look (looking would cost more than encoding). The reader makes it one, by this rule, and notes it in ``flags``:

=====================================  ===============================================================================
MessagePack                            becomes
=====================================  ===============================================================================
timestamp (extension -1)               ISO 8601 text in UTC
binary                                 text, when it is valid UTF-8; else its ``repr``, flagged ``repr``
other extension                        its ``repr``, flagged ``repr``
map; array with anything but numbers   its ``repr`` as Python writes it, cut at 1,000 characters, flagged ``repr``
name that is no text                   its usual text: ``5`` is ``"5"``, ``true`` is ``"true"``
=====================================  ===============================================================================

Besides events, a writer sends its books now and then: a :class:`WriterReport`.

The rules by which this schema may change:

1. a new field has a default, so that an old writer and a new reader (and the reverse) understand each other;
2. a field is never renamed and never changes its type;
3. the name of a removed field is not used again;
4. a reader ignores the fields it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

__all__ = [
    "ARROW_CONTENT_TYPE",
    "JSON_CONTENT_TYPE",
    "NDJSON_CONTENT_TYPE",
    "PACKED_CONTENT_TYPE",
    "LabelEvent",
    "Prediction",
    "Scalar",
    "Time",
    "WriterReport",
    "pack",
]

ARROW_CONTENT_TYPE = "application/vnd.apache.arrow.stream"
"""Predictions as an Arrow IPC stream: one row each, columns named as in an export (``request_id``, ``feature__amount``)."""

PACKED_CONTENT_TYPE = "application/vnd.upshot.packed.v1"
"""MessagePack array of events. ``Content-Encoding: zstd`` or ``gzip`` says how it is compressed, as for every other form."""

JSON_CONTENT_TYPE = "application/json"
NDJSON_CONTENT_TYPE = "application/x-ndjson"

Scalar = float | int | bool | str
Time = float | int | str
"""A moment: seconds since 1970-01-01T00:00:00Z (kept to the microsecond), or an RFC 3339 text with an offset."""


class Prediction(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a model answered for one request (or for one item of its slate), with the features as they were served.

    Identity is (``model``, ``model_version``, ``request_id``, ``item_id``): the first stored content wins, the same content
    again is a duplicate and harmless, other content is a conflict and is refused.
    """

    request_id: str
    model: str
    model_version: str = ""
    item_id: str = ""
    predicted_at: Time | None = None
    """When the model answered; when it is missing, the moment the server received it."""
    prediction: Scalar | None = None
    probabilities: dict[str, float | int] | None = None
    features: dict[str, Any] = {}
    """Numbers, bools, strings, null, or lists of numbers. *null* and a missing name are two different things."""
    feature_times: dict[str, Time] | None = None
    inputs: dict[str, Any] | None = None
    attributions: dict[str, float | int] | None = None
    entities: dict[str, str] | None = None
    tags: dict[str, str] | None = None
    action: Scalar | None = None
    propensity: float | int | None = None
    shown: bool | None = None
    keep_probability: float | int = 1.0
    """With which probability this event was kept when its writer sampled; an export's ``weight`` is its inverse."""
    flags: dict[str, str] | None = None
    """What is not as the caller gave it: place (``features.amount``) -> ``repr`` (kept as bounded text), ``sanitized`` (text that
    was no valid Unicode), ``redacted`` (``drop``, ``hash`` or ``mask`` was configured)."""
    writer_id: str = ""
    """Random ID of the process that logged this; with ``seq``, a count without gaps, it makes every loss visible."""
    seq: int = 0


class LabelEvent(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One statement about an outcome: ``set`` a named value for a request (or for an entity), or ``retract`` it."""

    request_id: str = ""
    """Whose outcome it is. Either this or ``entity`` is given, never both."""
    entity: dict[str, str] | None = None
    """Where nobody knows the request: one type and its ID (``{"order": "o-17"}``), as predictions name them in ``entities``. The
    label goes to predictions of this entity in the window before ``observed_at``, by the label's rule of attribution."""
    name: str = "label"
    op: Literal["set", "retract"] = "set"
    value: Scalar | None = None
    """Number, string or bool; 0, 0.0 and false are values. Must be present with ``set`` and absent with ``retract``."""
    item_id: str = ""
    model: str = ""
    """Restricts the label to one model; empty: every prediction of the request (or entity)."""
    observed_at: Time | None = None
    """When the outcome happened in the world; when it is missing, the moment the server received the event."""
    source: str = ""
    label_id: str = ""
    """Idempotency key within its request or entity; made from the content when absent, so that sending it again does nothing."""
    tags: dict[str, str] | None = None
    writer_id: str = ""
    seq: int = 0


class WriterReport(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One writer's books at one moment. All numbers are totals since its start, so a lost report costs nothing."""

    writer_id: str
    next_seq: int
    """How many ``seq`` numbers were given out: those from 0 to here that never arrive are lost, or still on their way."""
    reported_at: Time
    started_at: Time
    counters: dict[str, int] = {}
    """The names and numbers of ``upshot.stats()``."""
    host: str = ""
    pid: int = 0
    sdk: str = ""
    """Name and version of the software that wrote: ``upshot-python/0.4.0``."""
    is_last: bool = False
    """Nothing more will come from this process."""


def pack(encoded: Iterable[bytes]) -> bytes:
    """Join events that were MessagePack-encoded one by one into one MessagePack array."""
    events = list(encoded)
    return b"\xdd" + len(events).to_bytes(4, "big") + b"".join(events)
