"""What a call to log_prediction becomes on the wire."""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import upshot


def sent(logger: upshot.Logger, collector: Any) -> Any:
    """The only event that was stored."""
    assert logger.flush(10)
    (event,) = collector.stored
    return event


def test_a_plain_call_carries_everything_the_server_needs(logger, collector):
    """Identity, stamp, features, and the writer's count."""
    before = time.time()
    request_id = logger.log_prediction({"amount": 12.5, "country": "DE"}, 0.93)
    after = time.time()
    event = sent(logger, collector)
    assert (event.request_id, event.model, event.model_version, event.item_id) == (request_id, "m", "1", "")
    assert (event.prediction, event.features) == (0.93, {"amount": 12.5, "country": "DE"})
    assert before <= event.predicted_at <= after
    assert len(event.writer_id) == 16
    assert event.seq == 0


def test_a_full_call_carries_every_argument(logger, collector):
    """Each argument arrives under its own name."""
    logger.log_prediction(
        {"a": 1},
        True,
        request_id="r-1",
        item_id="i-1",
        model="other",
        model_version="7",
        predicted_at=1_700_000_000.25,
        feature_times={"a": 1_699_999_999},
        entities={"user": "u-17", "card": 5},
        tags={"channel": "web", "new": True, "empty": None},
        inputs={"raw": "x"},
        attributions={"a": 0.5},
        action="approve",
        propensity=0.25,
        shown=False,
    )
    event = sent(logger, collector)
    assert (event.request_id, event.item_id, event.model, event.model_version) == ("r-1", "i-1", "other", "7")
    assert event.prediction is True
    assert event.predicted_at == 1_700_000_000.25
    assert event.feature_times == {"a": 1_699_999_999}
    assert event.entities == {"user": "u-17", "card": "5"}
    assert event.tags == {"channel": "web", "new": "true"}
    assert event.inputs == {"raw": "x"}
    assert event.attributions == {"a": 0.5}
    assert (event.action, event.propensity, event.shown) == ("approve", 0.25, False)


@pytest.mark.parametrize(
    ("by_class", "prediction", "probabilities"),
    [
        ({"cat": 0.2, "dog": 0.8}, "dog", {"cat": 0.2, "dog": 0.8}),
        ({0: 0.9, 1: 0.1}, 0, {"0": 0.9, "1": 0.1}),
        ({False: 0.1, True: 0.9}, True, {"false": 0.1, "true": 0.9}),
        ({"b": 0.5, "a": 0.5}, "b", {"b": 0.5, "a": 0.5}),
        ({"x": float("nan"), "y": 0.1}, "y", None),
    ],
    ids=["text", "int", "bool", "first on ties", "NaN is never the most probable"],
)
def test_class_probabilities_give_the_most_probable_class(logger, collector, by_class, prediction, probabilities):
    """The class keeps its own type in ``prediction``; its name in ``probabilities`` is text."""
    logger.log_prediction({}, by_class)
    event = sent(logger, collector)
    assert event.prediction == prediction
    assert type(event.prediction) is type(prediction)
    if probabilities is not None:
        assert list(event.probabilities.items()) == list(probabilities.items())


@pytest.fixture
def in_tokyo(monkeypatch):
    """A machine whose local time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 2, 29, 12, 30, 0, 123457, tzinfo=UTC),
        datetime(2024, 2, 29, 14, 30, 0, 123457, tzinfo=timezone(timedelta(hours=2))),
        datetime(2024, 2, 29, 12, 30, 0, 123457),  # noqa: DTZ001  # without a zone, which is read as UTC
        1709209800.123457,
    ],
    ids=["aware", "other zone", "naive is UTC", "seconds"],
)
def test_a_moment_is_kept_to_the_microsecond(logger, collector, moment):
    """All ways to say a moment become the same float of seconds, wherever the machine stands."""
    logger.log_prediction({}, 0, predicted_at=moment, feature_times={"a": moment})
    event = sent(logger, collector)
    assert round(event.predicted_at * 1_000_000) == 1_709_209_800_123_457
    assert round(event.feature_times["a"] * 1_000_000) == 1_709_209_800_123_457


def test_a_moment_as_text_is_passed_on(logger, collector):
    """The server reads RFC 3339 itself."""
    logger.log_prediction({}, 0, predicted_at="2024-02-29T12:30:00+02:00")
    assert sent(logger, collector).predicted_at == "2024-02-29T12:30:00+02:00"


def test_a_moment_too_far_for_a_float_of_microseconds_is_sent_as_text(logger, collector):
    """Beyond 2242 a double of seconds no longer holds microseconds."""
    logger.log_prediction({}, 0, predicted_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    assert sent(logger, collector).predicted_at == "9999-12-31T23:59:59.999999+00:00"


def test_a_given_request_id_is_returned_and_used(logger, collector):
    """Also one that is no text: its text is what labels must refer to."""
    given = uuid.uuid4()
    assert logger.log_prediction({}, 0, request_id="mine") == "mine"
    assert logger.log_prediction({}, 0, request_id=17) == "17"
    assert logger.log_prediction({}, 0, request_id=given) == str(given)
    logger.flush(10)
    assert [event.request_id for event in collector.stored] == ["mine", "17", str(given)]


def test_made_request_ids_are_uuid7_in_order_of_time_and_never_repeat(logger):
    """20,000 of them, with the clock's moment in front."""
    before = time.time_ns() // 1_000_000
    made = [logger.log_prediction({}, 0) for _ in range(20_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == len(made)
    for text in (made[0], made[-1]):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
        assert before <= parsed.int >> 80 <= after
    assert made[::1000] == sorted(made[::1000])


def test_made_request_ids_do_not_depend_on_the_hosts_random_seed(collector):
    """Replicas that all call ``random.seed(42)`` must not make the same IDs, and their numbers stay their own."""
    state = random.getstate()
    try:
        made = []
        for _ in range(2):
            random.seed(42)
            with upshot.Logger(url=collector.url, model="m") as logger:
                made.append(logger.log_prediction({}, 0)[-16:])
            assert random.random() == random.Random(42).random()
        assert made[0] != made[1]
    finally:
        random.setstate(state)


def test_what_the_caller_changes_after_the_call_changes_nothing(logger, collector):
    """The event is a snapshot of the moment of the call, nested lists included."""
    features: dict[str, Any] = {"a": 1, "embedding": [0.1, 0.2]}
    tags = {"channel": "web"}
    logger.log_prediction(features, 0.5, tags=tags)
    features["a"] = 2
    features["embedding"].append(9.9)
    tags["channel"] = "app"
    event = sent(logger, collector)
    assert event.features == {"a": 1, "embedding": [0.1, 0.2]}
    assert event.tags == {"channel": "web"}


def test_seq_counts_predictions_and_labels_of_a_writer_without_a_gap(logger, collector):
    """So that whatever is missing at the server is seen to be missing."""
    for i in range(50):
        logger.log_prediction({"i": i}, 0, request_id=str(i))
        logger.log_label(str(i), 1)
    assert logger.flush(10)
    assert sorted(event.seq for event in collector.stored) == list(range(100))
    assert len({event.writer_id for event in collector.stored}) == 1


def test_a_prediction_without_any_model_is_dropped_and_counted(collector, caplog):
    """No server could take it."""
    with upshot.Logger(url=collector.url) as logger:
        assert logger.log_prediction({}, 0, request_id="r") == "r"
        assert logger.flush(10)
        assert logger.stats()["dropped_no_model"] == 1
    assert "UPSHOT_MODEL" in caplog.text
    assert collector.requests == []
