"""Ranked lists: one event per item, one request ID, and no item that costs another."""

from __future__ import annotations

import dataclasses
import logging

import pandas as pd
import pytest

import upshot.testing
from upshot.capture.slates import encode_slate
from upshot.delivery.batch import Packer
from upshot.settings import Settings
from upshot.testing import InMemoryTransport
from upshot.writer import Writer


def slate(items, writer=None, **of_all):
    """The events of a slate as the other side reads them."""
    writer = writer or Writer(Settings())
    events = encode_slate(
        writer, items, request_id="r", model="m", model_version="1", predicted_at=1767225600.0, **of_all
    )
    transport = InMemoryTransport()
    for batch in Packer().batches("predictions", events) if events else []:
        transport.send(batch, timeout_s=1)
    assert transport.rejected == []
    writer.complaints.say()
    return transport.predictions


def test_every_item_is_an_event_of_one_request():
    """In order; with what is said of it and what is said of all."""
    made = slate(
        [
            {"item_id": "a", "prediction": 0.9, "features": {"price": 5}, "propensity": 0.5, "shown": True},
            {"item_id": 17, "prediction": 0.4, "features": {"price": 7, "query": "own"}, "action": "promoted"},
        ],
        features={"query": "shoes"},
        entities={"user": "u"},
        tags={"channel": "web"},
        action="listed",
        shown=False,
        propensity=0.1,
    )
    assert [(event.request_id, event.model, event.model_version, event.predicted_at) for event in made] == [
        ("r", "m", "1", 1767225600.0)
    ] * 2
    assert [event.item_id for event in made] == ["a", "17"]
    assert [event.prediction for event in made] == [0.9, 0.4]
    assert [event.features for event in made] == [{"query": "shoes", "price": 5}, {"query": "own", "price": 7}]
    assert [event.propensity for event in made] == [0.5, 0.1]
    assert [event.shown for event in made] == [True, False]
    assert [event.action for event in made] == ["listed", "promoted"]
    assert [event.tags for event in made] == [
        {"position": "0", "channel": "web"},
        {"position": "1", "channel": "web"},
    ]
    assert {event.entities["user"] for event in made} == {"u"}
    assert [event.seq for event in made] == [0, 1]


def test_items_without_an_id_are_named_by_their_index():
    assert [event.item_id for event in slate([{"prediction": 1}, {"item_id": None}, {"item_id": "x"}])] == [
        "0",
        "1",
        "x",
    ]


def test_a_position_may_be_given():
    """In the item, or as a tag of one's own."""
    made = slate([{"item_id": "a", "position": 4}, {"item_id": "b", "tags": {"position": "left"}}, {"item_id": "c"}])
    assert [event.tags["position"] for event in made] == ["4", "left", "2"]


def test_what_an_item_says_comes_on_top_of_what_is_said_of_all():
    [event] = slate(
        [{"features": {"b": 2}, "tags": {"t": "own"}, "entities": {"item": "i"}, "inputs": {"x": 1}}],
        features={"a": 1, "b": 1},
        tags={"t": "all", "s": "all"},
        entities={"user": "u"},
        inputs={"x": 0, "y": 0},
    )
    assert event.features == {"a": 1, "b": 2}
    assert event.tags == {"position": "0", "t": "own", "s": "all"}
    assert event.entities == {"user": "u", "item": "i"}
    assert event.inputs == {"x": 1, "y": 0}


def test_nothing_of_the_caller_is_changed():
    items = [{"item_id": "a", "features": {"x": 1}, "tags": {"t": "1"}}]
    common = {"y": 2}
    slate(items, features=common)
    assert items == [{"item_id": "a", "features": {"x": 1}, "tags": {"t": "1"}}]
    assert common == {"y": 2}


@dataclasses.dataclass
class Item:
    """What a service may have instead of a dict."""

    item_id: str
    prediction: float
    features: object = None


def test_items_may_be_objects_and_features_a_series():
    made = slate([Item("a", 0.5, pd.Series({"x": 1.5})), Item("b", 0.4)], features={"q": 1})
    assert [event.features for event in made] == [{"q": 1, "x": 1.5}, {"q": 1}]
    assert slate(iter([Item("a", 0.5)]))[0].prediction == 0.5


@pytest.mark.parametrize("odd", [7, None, "text", ["a", 0.5], {"item_id": "x", "features": 7}, {"tags": 5}])
def test_an_odd_item_is_kept_as_text_and_costs_no_other(odd, caplog):
    """It has its place in the slate, and all that can be seen of it."""
    first, second, third = slate([{"item_id": "a", "prediction": 1}, odd, {"item_id": "c", "prediction": 3}])
    assert (first.prediction, third.prediction) == (1, 3)
    assert (second.item_id, second.tags) == ("1", {"position": "1"})
    seen = second.features["item"]
    assert seen == (odd if odd is None or isinstance(odd, int | str) else str(odd))
    assert [event.seq for event in (first, second, third)] == [0, 1, 2]
    assert "kept as text" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_a_key_that_is_none_of_an_event_is_said(caplog):
    [event] = slate([{"item_id": "a", "score": 0.9, "rank": 3}])
    assert event.prediction is None
    for key in ("score", "rank"):
        assert f"the key {key!r} of an item is left out" in caplog.text
    assert "0.9" not in caplog.text


def test_the_probability_of_having_been_kept_is_that_of_the_slate():
    assert {event.keep_probability for event in slate([{}, {}], keep_probability=0.25)} == {0.25}


def test_an_empty_slate_is_no_event():
    writer = Writer(Settings())
    assert slate([], writer) == []
    assert writer.stats()["accepted"] == 0


def test_what_cannot_be_iterated_raises_and_is_one_event():
    """The logger's method counts it as failed."""
    writer = Writer(Settings())
    with pytest.raises(TypeError):
        slate(None, writer)
    assert writer.stats()["accepted"] == 1


# ---- through the logger ----------------------------------------------------------------------------------------------------


def test_a_slate_logged_is_its_items():
    with upshot.testing.capture(model="m", strict=True) as logged:
        request_id = upshot.log_slate(
            [{"item_id": "a", "prediction": 1}, {"item_id": "b", "prediction": 2}], features={"q": "x"}
        )
        upshot.log_label(request_id, 1, name="click", item_id="b")
        assert upshot.log_slate([{"prediction": 1}], request_id=7, model="other") == "7"
    assert [(event.request_id, event.item_id, event.model) for event in logged.predictions] == [
        (request_id, "a", "m"),
        (request_id, "b", "m"),
        ("7", "0", "other"),
    ]
    assert logged.predictions[0].predicted_at == logged.predictions[1].predicted_at
    assert logged.labels[0].item_id == "b"


def test_a_slate_is_taken_or_dropped_as_a_whole():
    """No room for all of it, one item too large, no model, after close: as many dropped as it has items."""
    transport = InMemoryTransport()
    items = [{"item_id": str(i), "prediction": i} for i in range(6)]
    with upshot.Logger(transport=transport, model="m", queue_max_events=10, flush_interval_s=60) as logger:
        logger.log_slate(items)
        logger.log_slate(items)
        assert logger.stats()["dropped_full"] == 6
        assert logger.flush(10)
        logger.log_slate([*items[:2], {"item_id": "large", "features": {"x": "y" * 300_000}}])
        assert logger.stats()["dropped_too_large"] == 3
        assert logger.flush(10)
        logger.log_slate(items, model="")
        assert logger.stats()["dropped_no_model"] == 6
    logger.log_slate(items)
    stats = logger.stats()
    assert stats["dropped_after_close"] == 6
    assert len(transport.predictions) == stats["stored"] == 6
    assert stats["accepted"] == 6 * 4 + 3 == stats["stored"] + stats["dropped"]


def test_a_slate_that_is_none_is_one_failed_call():
    with upshot.testing.capture(model="m") as logged:
        for none in (None, 7):
            assert len(upshot.log_slate(none)) == 36
        assert len(upshot.log_slate([])) == 36
    assert (logged.stats["accepted"], logged.stats["dropped_failed"]) == (2, 2)


def test_a_sample_holds_whole_slates():
    with upshot.testing.capture(model="m", sample_rate=0.5) as logged:
        for i in range(200):
            upshot.log_slate([{"item_id": "a"}, {"item_id": "b"}], request_id=f"r{i}")
    kept = {}
    for event in logged.predictions:
        kept.setdefault(event.request_id, []).append(event.item_id)
    assert 60 < len(kept) < 140
    assert set(map(tuple, kept.values())) == {("a", "b")}
    assert logged.stats["accepted"] == 2 * len(kept)
