"""`upshot.testing`: what users' own tests stand on, tried against the real logger and sender."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
from pathlib import Path
from unittest.mock import patch

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import upshot
import upshot.testing
from tests.logger.collector import eventually
from upshot.capture.frames import Layout, log_frame
from upshot.delivery.batch import Batch
from upshot.settings import Settings
from upshot.testing import (
    Bug,
    FaultyTransport,
    Hang,
    InMemoryTransport,
    Invalid,
    LoseResponse,
    Ok,
    Permanent,
    TooLarge,
    Transient,
)
from upshot.wire import ARROW_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, Prediction
from upshot.writer import Writer
from upshot_joiner.intake.decode import Decoder

SETTLED = ("stored", "duplicates", "rejected", "dropped", "queued", "spooled", "in_flight")


def books_balance(stats):
    return stats["accepted"] + stats["recovered"] == sum(stats[name] for name in SETTLED)


def batch(kind, *events):
    return Batch.of(kind, PACKED_CONTENT_TYPE, [msgspec.msgpack.encode(event) for event in events])


def prediction(**fields):
    return {"request_id": "r", "model": "m", "prediction": 0.5, "features": {"a": 1}, **fields}


# ---- capture -------------------------------------------------------------------------------------------------------------


def test_capture_keeps_what_a_block_logs():
    """Predictions and labels, as typed events, with the values as they were given."""
    with upshot.testing.capture(model="fraud", model_version="12") as logged:
        request_id = upshot.log_prediction({"amount": 12.5, "age": None, "n": 3}, 0.93, tags={"channel": "web"})
        upshot.log_label(request_id, 0, name="chargeback")
        [one] = logged.predictions
        assert (one.request_id, one.model, one.model_version) == (request_id, "fraud", "12")
        assert one.features == {"amount": 12.5, "age": None, "n": 3}
        assert type(one.features["n"]) is int
        assert one.tags == {"channel": "web"}
    [label] = logged.labels
    assert (label.request_id, label.name, label.value) == (request_id, "chargeback", 0)
    assert logged.stats["stored"] == 2
    assert logged.problems == []


def test_capture_leaves_a_logger_as_it_was(collector):
    """Before and after the block events go where they were meant to; those of the block go nowhere."""
    with upshot.Logger(url=collector.url, model="m", flush_interval_s=60, spool=False) as logger:
        logger.log_prediction({}, 1, request_id="before")
        with upshot.testing.capture(logger) as logged:
            logger.log_prediction({}, 2, request_id="in the block")
            assert logger.stats()["accepted"] == 1
        logger.log_prediction({}, 3, request_id="after")
        assert type(logger) is upshot.Logger
        assert logger.stats()["accepted"] == 2
        assert logger.flush(10)
        assert [event.request_id for event in collector.predictions] == ["before", "after"]
    assert [event.request_id for event in logged.predictions] == ["in the block"]
    assert logged.predictions[0].model == "m"


def test_nothing_leaves_however_the_service_configures_and_closes(collector):
    """A service that configures at its start and closes at its end, all inside the block."""
    logger = upshot.Logger(url=collector.url, model="m", spool=False)
    with upshot.testing.capture(logger) as logged:
        logger.reconfigure(url=collector.url, model="fraud", spool=False)
        logger.log_prediction({}, 1)
        logger.close()
    with upshot.testing.capture(logger) as again:
        logger.log_prediction({}, 2)
    logger.close()
    assert [event.model for event in logged.predictions] == ["fraud"]
    assert [event.model for event in again.predictions] == ["m"]
    assert collector.requests == []


def test_capture_lets_an_exception_through_and_restores(collector):
    with upshot.Logger(url=collector.url, model="m", spool=False) as logger:
        with pytest.raises(ZeroDivisionError), upshot.testing.capture(logger, strict=True):
            logger.log_prediction(None, 1 / 0)
        logger.log_prediction({}, 1)
        assert logger.flush(10)
    assert len(collector.predictions) == 1


def test_captures_nest():
    with upshot.testing.capture(model="outer") as outer:
        upshot.log_prediction({}, 1)
        with upshot.testing.capture(model="inner") as inner:
            upshot.log_prediction({}, 2)
        upshot.log_prediction({}, 3)
    assert [event.prediction for event in outer.predictions] == [1, 3]
    assert [event.prediction for event in inner.predictions] == [2]


def test_strict_says_what_a_service_would_only_have_counted():
    """A dropped event, a value kept as text, a refused event: each by name."""
    with pytest.raises(AssertionError, match="dropped_failed: 1"), upshot.testing.capture(model="m", strict=True):
        upshot.log_prediction(7, 1)
    with pytest.raises(AssertionError, match="converted_repr: 1"), upshot.testing.capture(model="m", strict=True):
        upshot.log_prediction({"nested": {"a": 1}}, 1)
    with pytest.raises(AssertionError, match="refused labels"), upshot.testing.capture(model="m", strict=True):
        upshot.log_label("", 1)
    with upshot.testing.capture(model="m", strict=True):
        upshot.log_prediction({"a": [1, 2]}, 1)


def test_capture_takes_a_transport_of_ones_own():
    """How a service behaves with a server that is away."""
    transport = FaultyTransport([Transient(retry_after_s=0.01)])
    with upshot.testing.capture(model="m", transport=transport) as logged:
        upshot.log_prediction({}, 1)
    assert len(logged.predictions) == 1
    assert len(transport.attempts) == 2


def test_clear_begins_anew():
    with upshot.testing.capture(model="m") as logged:
        upshot.log_prediction({}, 1)
        logged.clear()
        upshot.log_prediction({}, 2)
        assert [event.prediction for event in logged.predictions] == [2]


# ---- the transport in memory -----------------------------------------------------------------------------------------------


def test_an_event_is_kept_once_and_its_first_content_wins():
    """As in the store: the same again is a duplicate, other content is a conflict."""
    transport = InMemoryTransport()
    assert transport.send(batch("predictions", prediction(seq=1)), timeout_s=1).stored == 1
    assert transport.send(batch("predictions", prediction(seq=2)), timeout_s=1).duplicates == 1
    receipt = transport.send(batch("predictions", prediction(prediction=0.6)), timeout_s=1)
    assert receipt.rejected == {"conflict": 1}
    assert transport.send(batch("predictions", prediction(item_id="b")), timeout_s=1).stored == 1
    assert [event.prediction for event in transport.predictions] == [0.5, 0.5]
    label = {"request_id": "r", "value": 1}
    assert transport.send(batch("labels", label, label), timeout_s=1).duplicates == 1
    assert len(transport.labels) == 1


def test_what_is_no_event_is_refused_and_the_rest_is_kept():
    transport = InMemoryTransport()
    events = [prediction(), prediction(request_id=""), prediction(request_id="x", features=7), {"model": "m"}]
    receipt = transport.send(batch("predictions", *events), timeout_s=1)
    assert (receipt.stored, receipt.rejected) == (1, {"empty": 1, "wrong_type": 2})
    assert [one.event.get("request_id") for one in transport.rejected] == ["", "x", None]
    assert "features" in transport.rejected[1].why


ODD_VALUES = {
    "nested": {"a": [1, {"b": None}]},
    "texts": ["a", "b"],
    "bytes": b"abc",
    "no text": b"\xff",
    "zoned": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    "duration": dt.timedelta(days=1, seconds=2.5),
    "numbers": [1, 2.5, True],
    "with null": [1, None],
    "big": 2**64 - 1,
    "nan": float("nan"),
    7: "a name that is no text",
}


def test_events_are_read_as_the_server_reads_them():
    """Whatever a service logs, in whichever form it travels: the same events, with the same flags."""
    sent = []

    class Spy(InMemoryTransport):
        def send(self, batch, *, timeout_s):
            sent.append(batch)
            return super().send(batch, timeout_s=timeout_s)

    transport = Spy()
    with upshot.testing.capture(model="m", transport=transport):
        upshot.log_prediction(ODD_VALUES, 0.5)
        upshot.log_prediction({**ODD_VALUES, "huge": 2**70}, 0.5, inputs=ODD_VALUES, tags={"a": 1})
    writer = Writer(Settings())
    columns = {str(name): [value] for name, value in ODD_VALUES.items() if name not in ("nested", "numbers", "big")}
    columns["struct"] = [{"a": 1, "b": "x"}]
    log_frame(
        writer,
        pa.table({"prediction": [0.5], **columns}),
        Layout(),
        model="m",
        model_version="",
        submit=lambda batch: transport.send(batch, timeout_s=1),
    )
    by_server = []
    for batch in sent:
        if batch.kind == "predictions":
            decoded = Decoder(Prediction).decode(batch.bodies(), batch.content_type)
            assert decoded.refused == []
            by_server += [event for _, event in decoded.events]
    assert {batch.content_type for batch in sent if batch.kind == "predictions"} == {
        PACKED_CONTENT_TYPE,
        NDJSON_CONTENT_TYPE,
        ARROW_CONTENT_TYPE,
    }
    kept = transport.predictions
    assert len(kept) == len(by_server) == 3
    for ours, theirs in zip(kept, by_server, strict=True):
        for field in Prediction.__struct_fields__:
            assert repr(getattr(ours, field)) == repr(getattr(theirs, field)), field


def test_nan_equals_itself():
    transport = InMemoryTransport()
    event = prediction(features={"a": float("nan")})
    assert transport.send(batch("predictions", event), timeout_s=1).stored == 1
    assert transport.send(batch("predictions", event), timeout_s=1).duplicates == 1


def test_integers_of_any_size_arrive():
    """They travel as JSON."""
    with upshot.testing.capture(model="m") as logged:
        upshot.log_prediction({"n": 2**70, "x": float("inf")}, 1)
    assert logged.predictions[0].features == {"n": 2**70, "x": float("inf")}


def test_wait_for_waits_for_another_thread_and_says_what_it_saw():
    transport = InMemoryTransport()
    sender = threading.Timer(0.05, lambda: transport.send(batch("predictions", prediction()), timeout_s=1))
    sender.start()
    started = time.monotonic()
    transport.wait_for(predictions=1, timeout=60)
    assert time.monotonic() - started < 30  # it was woken, and did not just look at the end
    sender.join()
    with pytest.raises(AssertionError, match="1 predictions and 0 labels"):
        transport.wait_for(predictions=1, labels=1, timeout=0.01)


def test_threads_may_send_at_once():
    transport = InMemoryTransport()

    def send(name):
        for i in range(200):
            transport.send(batch("predictions", prediction(request_id=f"{name}-{i}")), timeout_s=1)

    threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(transport.predictions) == 800


# ---- the transport that fails ----------------------------------------------------------------------------------------------


@pytest.fixture
def quick(quick_retries):
    """A logger on a script."""
    made = []

    def logger_on(*script, default=None, **options):
        transport = FaultyTransport(script, default=default)
        logger = upshot.Logger(transport=transport, model="m", flush_interval_s=60, **options)
        made.append((logger, transport))
        return logger, transport

    yield logger_on
    for logger, transport in made:
        transport.release()
        logger.close()


@pytest.mark.parametrize(
    ("step", "counters", "n_kept"),
    [
        (Ok(), {"stored": 4}, 4),
        (Transient(), {"stored": 4, "retries": 1}, 4),
        (Transient(retry_after_s=0.01), {"stored": 4, "retries": 1}, 4),
        (Permanent(), {"dropped_http_401": 4}, 0),
        (Permanent("http_404"), {"dropped_http_404": 4}, 0),
        (Invalid(), {"stored": 4, "retries": 0}, 4),
        (TooLarge(), {"stored": 4, "retries": 0}, 4),
        (TooLarge(above=4), {"stored": 4}, 4),
        (Hang(0.01), {"stored": 4, "retries": 0}, 4),
        (Hang(60), {"stored": 4, "retries": 1}, 4),
        (LoseResponse(), {"duplicates": 4, "retries": 1}, 4),
        (Bug(KeyError("x")), {"stored": 4, "retries": 1}, 4),
    ],
    ids=repr,
)
def test_each_step_does_what_it_says(quick, step, counters, n_kept):
    """Four events in one batch, one bad step, then a server that is well."""
    logger, transport = quick(step, request_timeout_s=0.05)
    for i in range(4):
        logger.log_prediction({"i": i}, 0.5)
    assert logger.flush(10)
    stats = logger.stats()
    assert stats.items() >= counters.items()
    assert books_balance(stats)
    assert len(transport.predictions) == n_kept
    assert transport.attempts[0].step == step
    assert transport.attempts[0].n_events == 4


def test_the_default_goes_on_for_ever(quick):
    """A server with a small limit: batches are halved until each fits."""
    logger, transport = quick(default=TooLarge(above=3))
    for i in range(10):
        logger.log_prediction({"i": i}, 0.5)
    assert logger.flush(10)
    assert [event.features["i"] for event in transport.predictions] == list(range(10))
    assert max(attempt.n_events for attempt in transport.attempts if attempt.n_events <= 3) == 3


def test_a_hang_ends_when_it_is_released(quick):
    logger, transport = quick(Hang(60), request_timeout_s=60)
    logger.log_prediction({}, 1)
    threading.Timer(0.1, transport.release).start()
    started = time.monotonic()
    assert logger.flush(30)
    assert time.monotonic() - started < 20
    assert len(transport.predictions) == 1
    assert len(transport.attempts) == 1


def test_a_script_can_be_continued(quick):
    logger, transport = quick()
    logger.log_prediction({}, 1)
    assert logger.flush(10)
    transport.then(Permanent())
    logger.log_prediction({}, 2)
    assert logger.flush(10)
    assert [attempt.step for attempt in transport.attempts] == [Ok(), Permanent()]
    eventually(lambda: logger.stats()["dropped"] == 1)


STEPS = st.one_of(
    st.just(Ok()),
    st.builds(Transient, st.sampled_from([None, 0.0, 0.001])),
    st.builds(Permanent, st.sampled_from(["http_401", "http_404"])),
    st.builds(Invalid, st.just("http_400")),
    st.builds(TooLarge, st.integers(0, 8)),
    st.builds(Hang, st.sampled_from([0.0, 0.001, 60.0])),
    st.just(LoseResponse()),
    st.builds(Bug, st.sampled_from([KeyError("x"), OSError(), RecursionError()])),
)


@settings(max_examples=40, deadline=None)
@given(
    script=st.lists(STEPS, max_size=12),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    labels=st.booleans(),
)
def test_the_books_balance_whatever_the_other_side_does(script, sizes, labels):
    """Every event is in one counter; what was acknowledged is what the other side holds; nothing is held that was not logged."""
    transport = FaultyTransport(script)
    with (
        patch("upshot.delivery.sender._FIRST_BACKOFF_S", 0.0005),
        upshot.Logger(transport=transport, model="m", flush_interval_s=60, request_timeout_s=0.01) as logger,
    ):
        logged = []
        for n in sizes:
            logged += [logger.log_prediction({"i": i}, 0.5) for i in range(n)]
            if labels:
                logger.log_label(logged[-1], 1)
            assert logger.flush(20)
            assert books_balance(logger.stats())
        stats = logger.stats()
    assert stats["accepted"] == len(logged) + (len(sizes) if labels else 0)
    assert stats["queued"] == stats["in_flight"] == 0
    held = len(transport.predictions) + len(transport.labels)
    acknowledged = stats["stored"] + stats["duplicates"]
    if any(isinstance(attempt.step, LoseResponse) for attempt in transport.attempts):
        assert acknowledged <= held <= acknowledged + stats["dropped"]
    else:
        assert (stats["stored"], stats["duplicates"]) == (held, 0)
    assert {event.request_id for event in transport.predictions} <= set(logged)


def test_the_examples_of_the_documentation_run():
    """docs/testing.md: every block of Python, and the tests that it defines."""
    page = (Path(__file__).parents[2] / "docs/testing.md").read_text("utf-8")
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, namespace)  # noqa: S102  # our own documentation
    examples = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(examples) == 2
    for example in examples:
        example()
    for name in upshot.testing.__all__:
        if name not in ("Attempt", "Captured", "Rejected", "Step"):
            assert name in page
