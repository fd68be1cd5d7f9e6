"""Whatever is passed, the model service does not notice: nothing raises, and every call is in a counter."""

from __future__ import annotations

import logging

import pytest

import upshot
from tests.logger.collector import balance


class Hostile:
    """Raises wherever Python can call it."""

    def _raise(self, *_: object) -> None:
        raise RuntimeError("a value: 4111 1111 1111 1111")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __getitem__ = keys = _raise  # type: ignore[assignment]


HOSTILE = Hostile()
recursive: dict[str, object] = {}
recursive["self"] = recursive

NOT_EVENTS = {
    "features None": lambda log: log.log_prediction(None, 0),
    "features a list": lambda log: log.log_prediction([1, 2], 0),
    "features hostile": lambda log: log.log_prediction(HOSTILE, 0),
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
    "feature a generator": lambda log: log.log_prediction({"a": (i for i in range(3))}, 0),
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
