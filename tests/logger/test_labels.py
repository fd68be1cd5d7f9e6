"""What log_label and retract_label become on the wire."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from upshot.wire import LabelEvent


def test_a_label_carries_every_argument(logger, collector):
    """Each argument arrives under its own name."""
    logger.log_label(
        "r-1",
        2.5,
        name="refund",
        observed_at=datetime(2024, 1, 1, tzinfo=UTC),
        item_id="i",
        model="m2",
        source="analyst",
        label_id="l-1",
        tags={"batch": 7},
    )
    assert logger.flush(10)
    (event,) = collector.labels
    assert (event.request_id, event.op, event.name, event.value) == ("r-1", "set", "refund", 2.5)
    assert event.observed_at == 1_704_067_200.0
    assert (event.item_id, event.model, event.source, event.label_id) == ("i", "m2", "analyst", "l-1")
    assert event.tags == {"batch": "7"}


@pytest.mark.parametrize("value", [0, 0.0, False, "", 1, True, "chargeback", -1.5], ids=repr)
def test_zero_false_and_empty_text_are_label_values(logger, collector, value):
    """They arrive with their type: 0 is not False, and none of them is missing."""
    logger.log_label("r", value)
    assert logger.flush(10)
    (event,) = collector.labels
    assert event.value == value
    assert type(event.value) is type(value)


def test_a_bare_label_restricts_nothing_and_stamps_nothing(logger, collector):
    """A stamp made here would turn the same label, logged twice by a rerun job, into two labels."""
    logger.log_label("r", 1)
    assert logger.flush(10)
    (event,) = collector.labels
    assert (event.model, event.observed_at, event.label_id, event.name) == ("", None, "", "label")


def test_a_retraction_has_no_value(logger, collector):
    """It takes back what was set under the name."""
    logger.retract_label("r", name="refund", source="analyst")
    assert logger.flush(10)
    (event,) = collector.labels
    assert (event.op, event.value, event.name, event.source) == ("retract", None, "refund", "analyst")


def test_a_label_logged_after_its_prediction_is_sent_after_it(logger, collector):
    """Normally no label has to wait at the server for its prediction."""
    for i in range(200):
        logger.log_prediction({}, 0, request_id=str(i))
        logger.log_label(str(i), 1)
    assert logger.flush(10)
    seen = set()
    for event in collector.stored:
        if isinstance(event, LabelEvent):
            assert event.request_id in seen
        else:
            seen.add(event.request_id)
