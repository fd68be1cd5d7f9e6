"""A transport that keeps what it is sent, decoded as a server would decode it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from upshot.capture.convert import Converter
from upshot.delivery.batch import Batch, Kind
from upshot.delivery.transport.contract import Receipt, Transport
from upshot.wire import ARROW_CONTENT_TYPE, PACKED_CONTENT_TYPE, LabelEvent, Prediction, WriterReport

__all__ = ["InMemoryTransport", "Rejected"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that is none: no server would store it."""

    kind: Kind
    event: dict[str, Any]
    why: str


class InMemoryTransport(Transport):
    """Keeps events as a server would: each identity once, the first content wins. Safe to use from any thread.

    Checks what the schema of `upshot.wire` says, and no more: a server also refuses what is out of range.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._predictions: dict[tuple[str, ...], Prediction] = {}
        self._labels: dict[tuple[str, ...], LabelEvent] = {}
        self._reports: list[WriterReport] = []
        self._rejected: list[Rejected] = []

    @property
    def predictions(self) -> list[Prediction]:
        """Those kept, in the order of their arrival."""
        with self._changed:
            return list(self._predictions.values())

    @property
    def labels(self) -> list[LabelEvent]:
        """The label events kept, in the order of their arrival."""
        with self._changed:
            return list(self._labels.values())

    @property
    def reports(self) -> list[WriterReport]:
        """What writers told of their books."""
        with self._changed:
            return list(self._reports)

    @property
    def rejected(self) -> list[Rejected]:
        """What was refused."""
        with self._changed:
            return list(self._rejected)

    def clear(self) -> None:
        """Forget everything, also which events are known."""
        with self._changed:
            self._predictions.clear()
            self._labels.clear()
            self._reports.clear()
            self._rejected.clear()

    def wait_for(self, *, predictions: int = 0, labels: int = 0, timeout: float = 5.0) -> None:
        """Wait until so many are kept. Raises AssertionError, with the numbers, after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: len(self._predictions) >= predictions and len(self._labels) >= labels, timeout
            ):
                seen = f"{len(self._predictions)} predictions and {len(self._labels)} labels"
                raise AssertionError(f"after {timeout} s there are {seen}, not {predictions} and {labels}")

    def send(self, batch: Batch, *, timeout_s: float) -> Receipt:
        """Keep the events of the batch; see ``Transport.send``."""
        stored = duplicates = converted = 0
        rejected: Counter[str] = Counter()
        events = list(_decoded(batch))
        with self._changed:
            for fields, n_repr in events:
                try:
                    code = self._keep(batch.kind, fields)
                except msgspec.ValidationError as error:
                    self._rejected.append(Rejected(batch.kind, fields, str(error)))
                    code = "wrong_type"
                converted += n_repr
                stored += code == "stored"
                duplicates += code == "duplicate"
                if code not in ("stored", "duplicate"):
                    rejected[code] += 1
            self._changed.notify_all()
        return Receipt(stored, duplicates, rejected, converted)

    def close(self) -> None:
        """Nothing to do; what was kept stays."""

    def _keep(self, kind: Kind, fields: dict[str, Any]) -> str:
        """What became of an event: ``stored``, ``duplicate``, or the code of its rejection."""
        if kind == "writers":
            self._reports.append(msgspec.convert(fields, WriterReport))
            return "stored"
        event: Prediction | LabelEvent
        known: dict[tuple[str, ...], Any] = self._predictions if kind == "predictions" else self._labels
        identity: tuple[str, ...]
        if kind == "predictions":
            event = msgspec.convert(fields, Prediction)
            identity = (event.model, event.model_version, event.request_id, event.item_id)
            is_nameless = not event.request_id or not event.model
        else:
            event = msgspec.convert(fields, LabelEvent)
            of_whom = next(iter((event.entity or {}).items()), ()) or (event.request_id,)
            identity = (*of_whom, event.label_id or f"content:{_content(event)}")
            is_nameless = bool(event.request_id) == bool(event.entity) or not event.name
        if is_nameless:
            self._rejected.append(Rejected(kind, fields, "an ID or a name is empty"))
            return "empty"
        first = known.setdefault(identity, event)
        if first is event:
            return "stored"
        if _content(first) == _content(event):
            return "duplicate"
        self._rejected.append(Rejected(kind, fields, "other content under the same identity"))
        return "conflict"


def _decoded(batch: Batch) -> Iterator[tuple[dict[str, Any], int]]:
    """The events of a batch as a server reads them, each with the number of values that could only be kept as text."""
    for fields in _fields(batch):
        n_repr = _apply_reader_rule(fields) if batch.kind == "predictions" else 0
        yield fields, n_repr


def _fields(batch: Batch) -> Iterator[dict[str, Any]]:
    if batch.content_type == ARROW_CONTENT_TYPE:
        from upshot.capture.frames.body import events  # its pyarrow is there: somebody made this batch with it

        for body in batch.bodies():
            yield from events(body)
        return
    decode = msgspec.msgpack.decode if batch.content_type == PACKED_CONTENT_TYPE else json.loads
    for event in batch.encoded_events():
        yield decode(event)


def _apply_reader_rule(fields: dict[str, Any]) -> int:
    """The rule of `upshot.wire` for values that an event cannot hold. Returns how many were kept as ``repr``."""
    flags: dict[str, str] = {}
    for field in ("features", "inputs"):
        given = fields.get(field)
        if type(given) is not dict:
            continue
        names = Converter(lambda: None).mapping({name: i for i, name in enumerate(given)})
        fields[field] = made = {}
        for name, value in zip(names, given.values(), strict=True):
            made[name] = Converter(partial(flags.setdefault, f"{field}.{name}", "repr")).value(value)
    if flags:
        fields["flags"] = {**flags, **(fields.get("flags") or {})}
    return len(flags)


def _content(event: Prediction | LabelEvent) -> str:
    """An event without who wrote it, as text: NaN is itself there."""
    bare: Prediction | LabelEvent = msgspec.structs.replace(event, writer_id="", seq=0)
    if isinstance(bare, LabelEvent):
        bare = msgspec.structs.replace(bare, label_id="", tags=None)
    return repr(bare)
