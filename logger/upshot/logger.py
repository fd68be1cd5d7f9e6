"""The call in a model's request path, and the object behind it.

A call checks, stamps, encodes and appends; that is all. It takes no lock, does no I/O and wakes no thread, whatever
the server does. A background thread (`Sender`) delivers.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self, Unpack

from upshot.buffer import Buffer
from upshot.capture.events import SCALAR_TYPES
from upshot.capture.frames import Layout, log_frame
from upshot.capture.plain import PlainPrediction, are_texts, with_context
from upshot.capture.request_id import current_request
from upshot.capture.slates import encode_slate
from upshot.delivery.batch import Batch
from upshot.delivery.outbox import MemoryOutbox
from upshot.delivery.sender import Sender
from upshot.delivery.spooled import SpooledOutbox
from upshot.delivery.transport import open_transport
from upshot.delivery.transport.contract import Transport
from upshot.errors import ConfigurationError
from upshot.lifecycle import watch_logger, watch_sender
from upshot.settings import Options, Settings
from upshot.writer import Writer

__all__ = ["Logger", "Moment"]

Moment = datetime | float | int | str
"""A ``datetime`` (without a zone it is UTC), seconds since 1970-01-01T00:00:00Z, or RFC 3339 text."""

_RETIRED_GRACE_S = 30.0
"""How long events of the former configuration are still tried for after `Logger.reconfigure`."""

_now = time.time
_EMPTY = ""
_COMPACT_FROM = 1024
"""The encoder's result has some 90 bytes of memory behind its end. Where a queue grows long, each event is copied to its size."""
_compacted = b"".join


class Logger:
    """Logs predictions and labels to one Upshot server.

    Takes the options of `upshot.configure`; what is not given comes from ``UPSHOT_*`` variables. Raises
    ConfigurationError when one is wrong. Safe to use from any thread, and in forked children. ``with Logger(...) as
    logger:`` closes it at the end.
    """

    __slots__ = (
        "__weakref__",
        "_finalizer",
        "_is_closed",
        "_live",
        "_lock",
        "_retired",
        "_sender",
        "_settings",
        "_transport",
        "_writer",
    )

    def __init__(self, *, transport: Transport | None = None, **options: Unpack[Options]) -> None:
        self._settings: Settings | None = Settings.read(options, os.environ)
        self._transport = transport
        self._is_closed = False
        self._reset()
        watch_logger(self)

    @classmethod
    def unconfigured(cls) -> Logger:
        """A logger that reads ``UPSHOT_*`` at its first use. Nothing happens until then."""
        logger = cls.__new__(cls)
        logger._settings = None  # noqa: SLF001  # its own class
        logger._transport = None  # noqa: SLF001
        logger._is_closed = False  # noqa: SLF001
        logger._reset()  # noqa: SLF001
        watch_logger(logger)
        return logger

    def _reset(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may log while this thread configures
        self._live: Writer | None = None  # the writer, once its sender runs and until it is closed
        self._writer: Writer | None = None
        self._sender: Sender | None = None
        self._finalizer: weakref.finalize[..., Logger] | None = None
        self._retired: list[tuple[Writer, Sender]] = []

    # ---- logging -----------------------------------------------------------------------------------------------------

    def log_prediction(
        self,
        features: Mapping[str, object],
        prediction: float | int | bool | str | Mapping[Any, float],
        *,
        request_id: str | None = None,
        item_id: str = "",
        model: str | None = None,
        model_version: str | None = None,
        predicted_at: Moment | None = None,
        feature_times: Mapping[str, Moment] | None = None,
        entities: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        inputs: Mapping[str, object] | None = None,
        attributions: Mapping[str, float] | None = None,
        action: float | int | bool | str | None = None,
        propensity: float | None = None,
        shown: bool | None = None,
    ) -> str:
        """Log what a model answered, with the features as it was served. Returns the request ID that labels refer to.

        ``features``: name -> number, bool, text, None or list of numbers; other values by the table in
        ``upshot.capture.convert``. They are encoded before the call returns, so changing them afterwards changes nothing.
        ``prediction``: a score, a class, or class -> probability: then the most probable class is the prediction.
        ``request_id``: yours, or None: that of the web request (``upshot.integrations.fastapi``), or a new UUIDv7.
        ``item_id``: which item of a ranked list.
        ``model``, ``model_version``: those of the configuration unless given.
        ``predicted_at``: now unless given. ``feature_times``: name -> when that value was computed.
        ``entities``: type -> ID of whom it is about. ``tags``: for segments.
        ``inputs``: raw values, where they differ from the features. ``attributions``: name -> contribution (SHAP).
        ``action``, ``propensity``, ``shown``: what was done, with which probability, and whether the user saw it.

        Never raises and never blocks (unless ``on_full="block"``). What cannot be logged is counted in `stats`.
        """
        writer = None
        try:
            writer = self._live or self._open()
            settings = writer.settings
            if model is None:
                model = settings.model
            elif type(model) is not str:
                model = writer.encoder.text(model)
            if model_version is None:
                model_version = settings.model_version
            elif type(model_version) is not str:
                model_version = writer.encoder.text(model_version)
            if request_id is None:
                request = current_request.get()
                request_id = writer.new_request_id() if request is None else request.take(model, model_version, item_id)
            elif type(request_id) is not str:
                request_id = writer.encoder.text(request_id)
            buffer = writer.predictions
            n_queued = len(buffer.events)
            keep_probability, is_marked = 1.0, False
            if writer.is_marking or n_queued >= buffer.watch_from:
                keep_probability, is_marked = writer.keep_probability(request_id), True
                if not keep_probability:
                    return request_id
            seq = writer.next_seq()
            if n_queued >= buffer.max_events and not self._may_append(writer, buffer, 1):
                return request_id
            if not model:
                return self._no_model(writer, request_id)
            event = None
            if (
                type(features) is dict
                and type(prediction) in SCALAR_TYPES
                and predicted_at is None
                and item_id is _EMPTY
                and feature_times is None
                and inputs is None
                and attributions is None
                and action is None
                and propensity is None
                and shown is None
                and (tags is None or are_texts(tags))
                and (entities is None or are_texts(entities))
            ):
                plain = PlainPrediction(
                    request_id,
                    model,
                    model_version,
                    _now(),
                    prediction,  # type: ignore[arg-type]  # its type was looked up in a set
                    features,
                    writer.writer_id,
                    seq,
                )
                if tags is not None or entities is not None:
                    plain = with_context(plain, entities, tags)  # type: ignore[arg-type]  # they were looked at
                try:
                    if is_marked:
                        plain = writer.marked(plain, keep_probability)
                    event = writer.plain.encode(plain)
                except Exception:  # noqa: BLE001  # another way mends it, or says what is wrong
                    event = _retried(writer, plain)
            if event is None:
                event = writer.encoder.prediction(
                    request_id=request_id,
                    item_id=item_id,
                    model=model,
                    model_version=model_version,
                    predicted_at=_now() if predicted_at is None else predicted_at,
                    prediction=prediction,
                    features=features,
                    feature_times=feature_times,
                    inputs=inputs,
                    attributions=attributions,
                    entities=entities,
                    tags=tags,
                    action=action,
                    propensity=propensity,
                    shown=shown,
                    writer_id=writer.writer_id,
                    seq=seq,
                    keep_probability=keep_probability,
                )
            size = len(event)
            if (
                size > settings.event_max_bytes or buffer.size_bytes + size > buffer.max_bytes
            ) and not self._may_append(writer, buffer, size):
                return request_id
            if n_queued > _COMPACT_FROM:
                event = _compacted((event, b""))
            buffer.size_bytes += size
            buffer.append(event)
        except Exception as error:  # noqa: BLE001  # nothing may reach the model service
            _count_failure(writer, error)
        return request_id if type(request_id) is str else str(uuid.uuid4())

    def log_slate(
        self,
        items: Iterable[object],
        *,
        request_id: str | None = None,
        model: str | None = None,
        model_version: str | None = None,
        predicted_at: Moment | None = None,
        features: Mapping[str, object] | None = None,
        feature_times: Mapping[str, Moment] | None = None,
        entities: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        inputs: Mapping[str, object] | None = None,
        action: float | int | bool | str | None = None,
        propensity: float | None = None,
        shown: bool | None = None,
    ) -> str:
        """Log a ranked list: one prediction per item, all with one request ID, which it returns.

        ``items``: mappings (or objects with such fields) that hold ``item_id``, ``prediction``, and whatever else
        `log_prediction` takes by the same name, and ``position``: the place it was served at, unless given its index in
        the list, from 0; it becomes the tag ``position``. The other arguments are those of every item; of ``features``,
        ``feature_times``, ``entities``, ``tags`` and ``inputs``, what an item says comes on top.

        A slate is taken or dropped as a whole. Never raises and never blocks, as `log_prediction`.
        """
        writer = None
        try:
            writer = self._live or self._open()
            settings = writer.settings
            model = settings.model if model is None else writer.encoder.text(model)
            model_version = settings.model_version if model_version is None else writer.encoder.text(model_version)
            if request_id is None:
                request = current_request.get()
                request_id = writer.new_request_id() if request is None else request.take(model, model_version, "")
            elif type(request_id) is not str:
                request_id = writer.encoder.text(request_id)
            buffer = writer.predictions
            keep_probability = 1.0
            if (writer.is_marking or len(buffer.events) >= buffer.watch_from) and not (
                keep_probability := writer.keep_probability(request_id)
            ):
                return request_id
            events = encode_slate(
                writer,
                items,
                request_id=request_id,
                model=model,
                model_version=model_version,
                predicted_at=_now() if predicted_at is None else predicted_at,
                keep_probability=keep_probability,
                features=features,
                feature_times=feature_times,
                entities=entities,
                tags=tags,
                inputs=inputs,
                action=action,
                propensity=propensity,
                shown=shown,
            )
            if not model:
                return self._no_model(writer, request_id, len(events))
            if events and self._may_append(writer, buffer, max(map(len, events)), len(events), sum(map(len, events))):
                buffer.size_bytes += sum(map(len, events))
                for event in events:
                    buffer.append(event)
        except Exception as error:  # noqa: BLE001  # nothing may reach the model service
            _count_failure(writer, error)
        return request_id if type(request_id) is str else str(uuid.uuid4())

    def log_frame(
        self,
        frame: Any,
        *,
        prediction: str = "prediction",
        probabilities: Mapping[Any, str] | None = None,
        request_id: str | None = None,
        item_id: str | None = None,
        features: Sequence[str] | Mapping[str, str] | None = None,
        model: str | None = None,
        model_version: str | None = None,
        predicted_at: Moment | None = None,
        feature_times: Mapping[str, str] | None = None,
        entities: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        inputs: Mapping[str, str] | None = None,
        attributions: Mapping[str, str] | None = None,
        action: str | None = None,
        propensity: str | float | None = None,
        shown: str | bool | None = None,
        batch_rows: int = 10_000,
        timeout: float = 60.0,
    ) -> Sequence[str]:
        """Log the rows of a frame as predictions. Returns the request ID of each row, in order, as a pyarrow array.

        ``frame``: a pandas DataFrame, or anything with ``__arrow_c_stream__`` (polars, pyarrow, DuckDB). Needs pyarrow
        (``pip install 'upshot[frames]'``). The other arguments name the columns that hold what `log_prediction` takes by the
        same name; ``docs/sdk.md`` says each. ``features``: None takes every column that nothing else names.

        Never raises; what cannot be logged is counted in `stats`. Works in the calling thread, and waits up to
        ``timeout`` seconds for room for each batch of ``batch_rows`` rows.
        """
        writer = None
        try:
            writer = self._live or self._open()
            layout = Layout(
                prediction=prediction,
                probabilities=probabilities,
                request_id=request_id,
                item_id=item_id,
                features=features,
                predicted_at=predicted_at,
                feature_times=feature_times,
                entities=entities,
                tags=tags,
                inputs=inputs,
                attributions=attributions,
                action=action,
                propensity=propensity,
                shown=shown,
            )
            live = writer

            def submit(batch: Batch) -> bool:
                return self._submit(live, batch, timeout)

            return log_frame(
                writer,
                frame,
                layout,
                model=writer.settings.model if model is None else writer.encoder.text(model),
                model_version=writer.settings.model_version
                if model_version is None
                else writer.encoder.text(model_version),
                submit=submit,
                batch_rows=batch_rows,
                redaction=writer.redaction,
            )
        except Exception as error:  # noqa: BLE001
            _count_failure(writer, error)
            return []

    def log_label(
        self,
        request_id: str | None = None,
        value: float | int | bool | str | None = None,
        *,
        entity: Mapping[str, object] | None = None,
        name: str = "label",
        observed_at: Moment | None = None,
        item_id: str = "",
        model: str | None = None,
        source: str = "",
        label_id: str | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Log how a prediction turned out: set the label ``name`` of a request to ``value`` (0 and False are values).

        ``entity``: instead of a request ID, one type and ID of whom it is about, ``{"order": "o-17"}``, as the predictions name
        them in their ``entities``. The server finds the predictions it belongs to.
        ``observed_at``: when it happened in the world; unless given, when the server learns of it.
        ``item_id``: the item of a ranked list. ``model``: only for its predictions; else for all of the request.
        ``source``: who says so. ``label_id``: your key of this statement; the same one again does nothing.

        Never raises and never blocks (unless ``on_full="block"``).
        """
        self._log_label(request_id, "set", value, name, observed_at, item_id, model, source, label_id, tags, entity)

    def retract_label(
        self,
        request_id: str | None = None,
        *,
        entity: Mapping[str, object] | None = None,
        name: str = "label",
        observed_at: Moment | None = None,
        item_id: str = "",
        model: str | None = None,
        source: str = "",
        label_id: str | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Take back the label ``name`` of a request (or entity): it is as if nothing were known. Arguments as in `log_label`."""
        self._log_label(request_id, "retract", None, name, observed_at, item_id, model, source, label_id, tags, entity)

    def log_shown(
        self,
        request_id: str,
        *,
        item_id: str = "",
        model: str | None = None,
        observed_at: Moment | None = None,
        source: str = "",
    ) -> None:
        """Log that a prediction logged with ``shown=False`` was shown after all: from now on it counts.

        Arguments as in `log_label`.
        """
        self._log_label(request_id, "set", True, "shown", observed_at, item_id, model, source, None, None)

    def _log_label(
        self,
        request_id: object,
        op: Literal["set", "retract"],
        value: object,
        name: object,
        observed_at: object,
        item_id: object,
        model: object,
        source: object,
        label_id: object,
        tags: object,
        entity: object = None,
    ) -> None:
        writer = None
        try:
            writer = self._live or self._open()
            if writer.is_sampling and entity is None and not writer.sampler.keeps(writer.encoder.text(request_id)):
                writer.ledger.sampled_out.next()
                return
            seq = writer.next_seq()
            buffer = writer.labels
            event = writer.encoder.label(
                request_id=request_id,
                name=name,
                op=op,
                value=value,
                item_id=item_id,
                model=model,
                observed_at=observed_at,
                source=source,
                label_id=label_id,
                tags=tags,
                writer_id=writer.writer_id,
                seq=seq,
                entity=entity,
            )
            if self._may_append(writer, buffer, len(event)):
                buffer.size_bytes += len(event)
                buffer.append(event)
        except Exception as error:  # noqa: BLE001
            _count_failure(writer, error)

    def _may_append(
        self, writer: Writer, buffer: Buffer, size_bytes: int, n_events: int = 1, total_bytes: int | None = None
    ) -> bool:
        """Whether there is room, after waiting for it if so configured; when not, the events are counted as dropped.

        ``size_bytes``: of the largest event; ``total_bytes``: of all, when there are several.
        """
        ledger, settings = writer.ledger, writer.settings
        needed = size_bytes if total_bytes is None else total_bytes
        if writer.refuses is not None:
            tally = ledger.after_close if writer.refuses == "after_close" else ledger.misconfigured
            tally.raise_by(n_events)
            writer.complaints.note(writer.refuses, "events logged after close() are dropped (stats() counts them)")
            writer.complaints.say()  # here, in the caller's thread: no other is left to say it, and it is said once
            return False
        if size_bytes > settings.event_max_bytes:
            ledger.too_large.raise_by(n_events)
            writer.complaints.note("too_large", f"events above {settings.event_max_bytes} bytes are dropped")
            return False
        if settings.on_full == "block":
            if self._sender is not None:
                self._sender.nudge()
            deadline = time.monotonic() + settings.block_timeout_s
            while not buffer.has_room(needed, n_events) and time.monotonic() < deadline:
                time.sleep(0.001)
        if buffer.has_room(needed, n_events):
            return True
        (ledger.spool_full if writer.is_spool_full else ledger.full).raise_by(n_events)
        writer.complaints.note("full", "the queue is full: new events are dropped (stats() counts them)")
        return False

    @staticmethod
    def _no_model(writer: Writer, request_id: str, n_events: int = 1) -> str:
        writer.ledger.no_model.raise_by(n_events)
        writer.complaints.note("no_model", "predictions without a model are dropped: give model= or set UPSHOT_MODEL")
        return request_id

    # ---- life --------------------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None, *, to: Literal["server", "disk"] = "server") -> bool:
        """Wait until every event logged before this call is settled: stored, a duplicate, rejected or dropped.

        ``timeout``: seconds; None waits as long as it takes. Returns False when the time ran out first, or when the server
        refuses us for a reason that somebody has to mend (then events stay in the spool).
        ``to="disk"``: only until every event is on this machine's disk, where a power cut does not reach it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            senders = self._senders()

        def left_s() -> float | None:
            return None if deadline is None else max(0.0, deadline - time.monotonic())

        if to == "disk":
            return [sender.secure(left_s()) for sender in senders].count(False) == 0
        return [sender.flush(left_s()) for sender in senders].count(False) == 0

    def close(self, timeout: float = 2.0) -> None:
        """Send what is queued, in at most ``timeout`` seconds, and end. What is left then is counted as dropped.

        What is logged afterwards is counted as ``dropped_after_close``. Closing again does nothing.
        """
        with self._lock:
            self._is_closed = True
            self._live = None
            senders = self._senders()
        deadline = time.monotonic() + timeout
        for sender in senders:
            sender.begin_close(deadline)
        for sender in senders:
            sender.finish_close()

    def stats(self) -> dict[str, int]:
        """Counters of this process since its start; ``docs/sdk.md`` lists them.

        ``accepted + recovered == stored + duplicates + rejected + dropped + queued + spooled + in_flight``, and every
        event is in exactly one of them.
        """
        with self._lock:
            writers = [writer for writer, _ in self._retired]
            writers += [self._writer] if self._writer is not None else [Writer(Settings())]
        total: Counter[str] = Counter()
        for writer in writers:
            total.update(writer.stats())
        return dict(total)

    def reconfigure(self, *, transport: Transport | None = None, **options: Unpack[Options]) -> None:
        """Use other options from now on. What was logged before is still sent where it was meant to go."""
        settings = Settings.read(options, os.environ)
        self._transport = transport
        with self._lock:
            if self._writer is not None and self._sender is not None:
                self._retired.append((self._writer, self._sender))
                self._sender.begin_close(time.monotonic() + _RETIRED_GRACE_S)
            self._settings = settings
            self._is_closed = False
            self._live = self._writer = self._sender = None

    def forget_parent(self) -> None:
        """In a forked child: start anew, with the same settings. The parent sends what it had logged."""
        if self._finalizer is not None:
            self._finalizer.detach()
        for sender in self._senders():
            sender.forget_parent()
        self._reset()

    def stop_taking(self) -> None:
        """The interpreter ends: events logged from now on are counted as logged after close."""
        self._is_closed = True
        self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, writer: Writer, batch: Batch, timeout_s: float) -> bool:
        """Hand a batch over, when there is room for it within this time; else its events are counted as dropped."""
        sender = self._sender
        deadline = time.monotonic() + timeout_s
        while writer.refuses is None and sender is not None:
            if sender.put(batch):
                return True
            if time.monotonic() >= deadline:
                break
            sender.nudge()
            time.sleep(0.01)
        reason = writer.refuses or ("spool_full" if writer.is_spool_full else "full")
        with writer.ledger.lock:
            writer.ledger.dropped[reason] += batch.n_events
        writer.complaints.note("full", "the queue is full: new events are dropped (stats() counts them)")
        return False

    def _new_sender(self, writer: Writer) -> Sender:
        settings = writer.settings
        if self._transport is not None:  # the user's own: nobody but he knows where its events belong
            return Sender(writer, self._transport, MemoryOutbox(writer))
        outbox = SpooledOutbox(writer, settings.url) if settings.spool else MemoryOutbox(writer)
        return Sender(writer, open_transport(settings), outbox)

    def _senders(self) -> list[Sender]:
        return [sender for _, sender in self._retired] + ([self._sender] if self._sender is not None else [])

    def _open(self) -> Writer:
        """The writer to use when none is live: a new one at the first call, or the one that refuses events."""
        with self._lock:
            if self._writer is not None:
                if self._sender is not None and not self._is_closed and self._sender.start():
                    self._live = self._writer
                return self._writer
            complaint = ""
            settings = self._settings
            if settings is None:
                try:
                    settings = self._settings = Settings.read({}, os.environ)
                except ConfigurationError as error:
                    settings, complaint = Settings(), f"nothing is logged: {error}"
            writer = self._writer = Writer(settings)
            if complaint:
                writer.complaints.note("misconfigured", complaint)
                writer.complaints.say()
                writer.refuse("misconfigured")
            elif self._is_closed:
                writer.refuse("after_close")
            else:
                sender = self._sender = self._new_sender(writer)
                self._finalizer = weakref.finalize(self, sender.abandon)
                self._finalizer.atexit = False  # the end of the interpreter has a handler of its own
                watch_sender(sender)
                if sender.start():
                    self._live = writer
            return writer


def _retried(writer: Writer, plain: PlainPrediction) -> bytes | None:
    try:
        return writer.plain.retry(plain) if writer.redaction is None else None
    except Exception:  # noqa: BLE001  # the long way finds out what is wrong
        return None


def _count_failure(writer: Writer | None, error: Exception) -> None:
    if writer is not None:
        writer.ledger.failed.next()
        # The type only: the message of a foreign exception may hold the value it is about.
        writer.complaints.note("failed", f"an event could not be encoded ({type(error).__name__}) and was dropped")
