"""Whatever is passed, the model service does not notice: nothing raises, and every call is in a counter."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import upshot
from tests.logger.collector import Collector, balance


class Hostile:
    """Raises wherever Python can call it."""

    def _raise(self, *_: object) -> None:
        raise RuntimeError("a value: 4111 1111 1111 1111")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __getitem__ = keys = _raise  # type: ignore[assignment]


class Endless(Mapping[str, int]):
    """A mapping whose keys never end."""

    def __iter__(self) -> Iterator[str]:
        return map(str, itertools.count())

    def __getitem__(self, name: str) -> int:
        return 1

    def __len__(self) -> int:
        return 1


class Spinning:
    """Iterable for ever, and says that it is short."""

    def __iter__(self) -> Iterator[int]:
        return itertools.repeat(1)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, _: object) -> int:
        return 1


class Meddling:
    """Changes the features while it is converted."""

    def __init__(self, features: dict[str, Any]) -> None:
        self._features = features

    def __len__(self) -> int:
        return 2

    def tolist(self) -> list[int]:
        """Called as that of an array."""
        self._features.update({f"new{i}": i for i in range(100)})
        self._features.pop("b", None)
        return [1, 2]


def with_meddling() -> dict[str, Any]:
    features: dict[str, Any] = {"b": 1, "c": 2}
    features["a"] = Meddling(features)
    return features


HOSTILE = Hostile()
recursive: dict[str, object] = {}
recursive["self"] = recursive

NOT_EVENTS = {
    "features None": lambda log: log.log_prediction(None, 0),
    "features a list": lambda log: log.log_prediction([1, 2], 0),
    "features hostile": lambda log: log.log_prediction(HOSTILE, 0),
    "features a generator": lambda log: log.log_prediction(((str(i), i) for i in itertools.count()), 0),
    "features without end": lambda log: log.log_prediction(Endless(), 0),
    "features spinning": lambda log: log.log_prediction(Spinning(), 0),
    "inputs without end": lambda log: log.log_prediction({}, 0, inputs=Endless()),
    "a prediction without end": lambda log: log.log_prediction({}, Endless()),
    "feature times without end": lambda log: log.log_prediction({}, 0, feature_times=Endless()),
    "feature_times a list": lambda log: log.log_prediction({}, 0, feature_times=[1]),
    "tags a number": lambda log: log.log_prediction({}, 0, tags=7),
    "tags of a label a number": lambda log: log.log_label("r", 1, tags=7),
}
EVENTS = {
    "prediction None": lambda log: log.log_prediction({}, None),
    "prediction hostile": lambda log: log.log_prediction({}, HOSTILE),
    "prediction empty mapping": lambda log: log.log_prediction({}, {}),
    "prediction mapping with tuple classes": lambda log: log.log_prediction({}, {(1, 2): 0.5}),
    "feature hostile": lambda log: log.log_prediction({"a": HOSTILE, "b": 1}, 0),
    "feature recursive": lambda log: log.log_prediction({"a": recursive}, 0),
    "feature a generator": lambda log: log.log_prediction({"a": (i for i in itertools.count())}, 0),
    "feature without end": lambda log: log.log_prediction({"a": Endless(), "b": Spinning()}, 0),
    "feature with things without end in it": lambda log: log.log_prediction({"a": [Endless(), {"b": Spinning()}]}, 0),
    "prediction spinning": lambda log: log.log_prediction({}, Spinning()),
    "feature that meddles": lambda log: log.log_prediction(with_meddling(), 0),
    "feature that meddles, the long way": lambda log: log.log_prediction(with_meddling(), 0, inputs={}),
    "inputs that meddle": lambda log: log.log_prediction({}, 0, inputs=with_meddling()),
    "names of every kind": lambda log: log.log_prediction(
        {None: 1, (1, 2): 2, 1.5: 3, b"x": 4, HOSTILE.__class__: 5}, 0
    ),
    "request_id a number": lambda log: log.log_prediction({}, 0, request_id=5),
    "request_id hostile": lambda log: log.log_prediction({}, 0, request_id=HOSTILE),
    "request_id bytes": lambda log: log.log_prediction({}, 0, request_id=b"r"),
    "item_id a number": lambda log: log.log_prediction({}, 0, item_id=0),
    "model a number": lambda log: log.log_prediction({}, 0, model=5),
    "model_version a number": lambda log: log.log_prediction({}, 0, model_version=5),
    "time hostile": lambda log: log.log_prediction({}, 0, predicted_at=HOSTILE),
    "time NaN": lambda log: log.log_prediction({}, 0, predicted_at=float("nan")),
    "time infinite": lambda log: log.log_prediction({}, 0, predicted_at=float("inf")),
    "identity hostile": lambda log: log.log_prediction({}, 0, item_id=HOSTILE, model_version=HOSTILE, action=HOSTILE),
    "label hostile": lambda log: log.log_label("r", HOSTILE),
    "label None": lambda log: log.log_label("r", None),
    "label of request None": lambda log: log.log_label(None, 1),
    "label with everything hostile": lambda log: log.log_label(
        HOSTILE, HOSTILE, name=HOSTILE, observed_at=HOSTILE, item_id=HOSTILE, source=HOSTILE, label_id=HOSTILE
    ),
}
REFUSED = {
    "probability a text": lambda log: log.log_prediction({}, {"a": "b"}),
    "probability hostile": lambda log: log.log_prediction({}, {HOSTILE.__class__: HOSTILE}),
    "propensity hostile": lambda log: log.log_prediction({}, 0, propensity=HOSTILE),
    "shown a text": lambda log: log.log_prediction({}, 0, shown="yes"),
    "attribution a text": lambda log: log.log_prediction({}, 0, attributions={"a": "b"}),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_the_schema_forbids_is_sent_and_the_servers_refusal_counted(logger, collector, call):
    """The server keeps refused events in quarantine, where the SDK would only have lost them."""
    call(logger)
    assert logger.flush(10)
    stats = logger.stats()
    assert (stats["rejected"], stats["rejected_type"]) == (1, 1)
    assert balance(stats) == 0


@pytest.mark.parametrize("call", EVENTS.values(), ids=EVENTS)
def test_odd_values_still_make_an_event(logger, collector, call):
    """It is sent, and the server decides about it by name of the field."""
    returned = call(logger)
    assert returned is None or type(returned) is str
    assert logger.flush(10)
    stats = logger.stats()
    assert (stats["accepted"], stats["stored"], stats["dropped"]) == (1, 1, 0)
    assert len(collector.requests) == 1


@pytest.mark.parametrize("call", NOT_EVENTS.values(), ids=NOT_EVENTS)
def test_what_can_make_no_event_is_counted_and_said_without_the_value(logger, collector, caplog, call):
    """An argument that must be a mapping and is none."""
    returned = call(logger)
    assert returned is None or len(returned) == 36
    assert logger.flush(10)
    stats = logger.stats()
    assert (stats["accepted"], stats["dropped_failed"]) == (1, 1)
    assert balance(stats) == 0
    assert collector.requests == []
    assert caplog.text.count("could not be encoded") == 1
    assert "4111" not in caplog.text


def test_an_item_id_of_zero_is_an_item(logger, collector):
    """0 is not the empty item ID."""
    logger.log_prediction({}, 0, item_id=0)
    assert logger.flush(10)
    assert collector.predictions[0].item_id == "0"


def test_what_changes_the_features_in_the_midst_of_a_call_changes_nothing(logger, collector):
    """The event is as the dict was when the call came."""
    logger.log_prediction(with_meddling(), 0)
    logger.log_prediction(with_meddling(), 0, inputs={})
    assert logger.flush(10)
    for event in collector.predictions:
        assert event.features == {"b": 1, "c": 2, "a": [1, 2]}


def test_nothing_without_end_is_iterated(logger):
    """Were it, the call would not return: a quarter of a second is an age."""
    started = time.perf_counter()
    for call in (*EVENTS.values(), *NOT_EVENTS.values()):
        call(logger)
    assert time.perf_counter() - started < 2.0


class Mourner:
    """Logs when it is collected."""

    def __init__(self, logger: upshot.Logger) -> None:
        self._logger = logger

    def __del__(self) -> None:
        self._logger.log_prediction({"dying": True}, 0, request_id="dying")


def test_an_object_may_log_while_it_is_collected(logger, collector):
    """That may be amid any other call, this one's too."""
    for i in range(50):
        mourner = Mourner(logger)
        mourner.itself = mourner  # type: ignore[attr-defined]  # only the collector finds it
        del mourner
        logger.log_prediction({"i": i}, 0)
    gc.collect()
    assert logger.flush(10)
    stats = logger.stats()
    assert (stats["accepted"], stats["stored"], stats["dropped"]) == (100, 100, 0)
    assert sum(event.request_id == "dying" for event in collector.predictions) == 50


def test_64_threads_may_log_odd_things_at_once(logger):
    """What one of them passes is no other's trouble, and every event is in the books."""
    calls = [*EVENTS.values(), *NOT_EVENTS.values()]

    def log_all(shift: int) -> None:
        for i in range(len(calls)):
            calls[(i + shift) % len(calls)](logger)

    threads = [threading.Thread(target=log_all, args=(shift,)) for shift in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logger.flush(30)
    stats = logger.stats()
    assert stats["accepted"] == 64 * len(calls)
    assert stats["dropped_failed"] == 64 * len(NOT_EVENTS)
    assert balance(stats) == 0


class Broken(logging.Handler):
    """A log handler that fails as no handler may."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Raises, as `emit` may not."""
        raise RuntimeError(record.getMessage())


@pytest.mark.parametrize("level", [logging.DEBUG, logging.CRITICAL + 1])
def test_logging_that_is_broken_costs_no_event(collector, level):
    """Our own warnings go through the host's logging, whatever it does with them."""
    ours = logging.getLogger("upshot")
    handler = Broken()
    ours.addHandler(handler)
    before = ours.level
    ours.setLevel(level)
    try:
        with upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02) as logger:
            logger.log_prediction(None, 0)  # type: ignore[arg-type]  # that is what it warns of
            logger.log_prediction({}, 0)
            assert logger.flush(10)
            stats = logger.stats()
        assert (stats["accepted"], stats["stored"], stats["dropped_failed"]) == (2, 1, 1)
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before)


def test_an_event_too_large_in_a_single_text_is_dropped_and_counted(logger, collector: Collector):
    """16 megabytes where a quarter of one is allowed, on both ways."""
    text = "x" * 16_000_000
    logger.log_prediction({"a": text}, 0)
    logger.log_prediction({"a": text}, 0, inputs={})
    logger.log_prediction({}, text)
    logger.log_prediction({"a": [text]}, 0, inputs={})  # of this a thousand characters are kept
    assert logger.flush(10)
    stats = logger.stats()
    assert (stats["accepted"], stats["dropped_too_large"], stats["stored"]) == (4, 3, 1)
    assert balance(stats) == 0
    assert len(collector.predictions[0].features["a"]) == 1000


def test_a_log_handler_that_logs_a_prediction_does_not_recurse(collector):
    """A host may log events from its own logging; ours then says something through that same handler."""

    class Recursing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.log_prediction(None, 0)

    handler = Recursing()
    logging.getLogger("upshot").addHandler(handler)
    try:
        logger = upshot.Logger(url=collector.url, model="m", flush_interval_s=0.02)
        logger.log_prediction(None, 0)
        assert logger.flush(10)
        logger.close()
        logger.log_prediction(None, 0)
        stats = logger.stats()
        assert stats["dropped_failed"] <= 3
        assert balance(stats) == 0
    finally:
        logging.getLogger("upshot").removeHandler(handler)
