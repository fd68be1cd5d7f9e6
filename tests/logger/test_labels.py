"""What log_label and retract_label become on the wire."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import upshot
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


def test_a_label_may_name_an_entity_instead_of_a_request(logger, collector):
    """Type and ID become text, as in a prediction's entities."""
    logger.log_label(value=1, entity={"order": 17}, name="returned")
    logger.retract_label(entity={"order": 17}, name="returned")
    assert logger.flush(10)
    first, second = collector.labels
    assert (first.request_id, first.entity, first.op, first.value) == ("", {"order": "17"}, "set", 1)
    assert (second.request_id, second.entity, second.op, second.value) == ("", {"order": "17"}, "retract", None)


def test_a_hashed_entity_is_the_same_in_a_label_and_in_a_prediction(collector):
    """Otherwise no label would ever find it."""
    options = {"redact": "hash:entities.user", "redact_key": "a key of a test, long"}
    with upshot.Logger(url=collector.url, model="m", **options) as logger:
        logger.log_prediction({}, 0, entities={"user": "u-1"})
        logger.log_label(value=1, entity={"user": "u-1"})
        assert logger.flush(10)
    assert collector.labels[0].entity == collector.predictions[0].entities
    assert "u-1" not in str(collector.labels[0].entity)


@pytest.mark.parametrize("rule", ["mask:entities.user", "drop:user", "mask:~email"])
def test_a_label_of_an_entity_that_redaction_hides_is_not_sent(collector, rule):
    """Masked, it would belong to everybody's predictions."""
    with upshot.Logger(url=collector.url, model="m", redact=rule) as logger:
        logger.log_label(value=1, entity={"user": "jo@example.com"})
        logger.log_label("r", 1)
        assert logger.flush(10)
        assert [event.request_id for event in collector.labels] == ["r"]
        assert logger.stats()["dropped"] == 1
