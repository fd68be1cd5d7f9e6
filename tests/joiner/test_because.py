"""Why an outcome is what it is: nothing is said that the rule does not do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.joiner.test_fold_equals_rule import events, rules
from upshot_joiner.config import LabelConfig
from upshot_joiner.join.because import Because, because
from upshot_joiner.join.rule import Event, Outcome, at, fold

PREDICTED = datetime(2024, 2, 29, 23, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, max_size=7), rules)
def test_every_event_is_in_one_place_and_the_deciding_one_holds_the_value(
    history: list[Event], label_rules: LabelConfig
) -> None:
    """Any history, any rule."""
    seen = {event.label_id: event for event in history}
    outcome = fold(history, PREDICTED, label_rules)
    why = because(history, PREDICTED, label_rules, outcome)
    assert sorted([*why.decided_by, *(label_id for label_id, _ in why.overridden)]) == sorted(seen)
    assert why.events == len(seen)
    assert bool(why.decided_by) == (outcome.state != "pending")
    if outcome.state == "labelled":
        assert {seen[one].op for one in why.decided_by} == {"set"}
        if label_rules.combine in ("sum", "mean", "count"):
            assert label_rules.combine != "count" or outcome.value == len(why.decided_by)
            # The events that counted, alone, give the same.
            alone = fold([seen[one] for one in why.decided_by], PREDICTED, label_rules)
            assert alone == outcome
        else:
            [decided] = why.decided_by
            assert (seen[decided].value, seen[decided].observed_at) == (outcome.value, outcome.observed_at)
    if outcome.state == "retracted":
        assert [seen[one].op for one in why.decided_by] == ["retract"]


def told(
    history: list[Event], now: datetime = PREDICTED, *, counts: bool = True, **label_rules: object
) -> tuple[Outcome, Because]:
    """The outcome of a history at a moment, and why."""
    config = LabelConfig.model_validate({"window": 2 * HOUR, **label_rules})
    outcome = at(fold(history, PREDICTED, config), PREDICTED, config, now) if counts else Outcome("pending")
    return outcome, because(history, PREDICTED, config, outcome, counts=counts)


MATURES = "matures 2024-03-01 01:30 UTC"
SETS = [Event(name, "set", n, PREDICTED + n * HOUR) for n, name in enumerate("abc")]


@pytest.mark.parametrize(
    ("history", "label_rules", "text"),
    [
        (SETS, {}, "last of 3 events"),
        (SETS[:1], {}, "the only event"),
        (SETS, {"combine": "sum"}, "sum of 3 events"),
        (SETS, {"combine": "max"}, "largest of 3 events"),
        ([], {}, "no label has come"),
        (
            [*SETS[:2], Event("z", "set", 9, PREDICTED, "analyst")],
            {"source_priority": ["analyst"]},
            "last of 3 events; analyst outranks others",
        ),
        ([*SETS[:1], Event("r", "retract", None, PREDICTED + HOUR, "feed")], {}, "retracted by feed; 1 taken back"),
        (
            [Event("x", "set", 1, PREDICTED + 3 * HOUR)],
            {"late": "reject"},
            "no event counts; 1 observed after the window, left out",
        ),
        (
            [*SETS[:2], Event("t", "set", "n/a", PREDICTED)],
            {"combine": "mean"},
            "mean of 2 of 3 events; 1 not a number",
        ),
    ],
)
def test_the_reason_in_words(history: list[Event], label_rules: dict[str, object], text: str) -> None:
    """One clause per fact, the rule first, and when the row matures."""
    assert told(history, **label_rules)[1].text == f"{text}; {MATURES}"


def test_a_default_and_what_was_never_shown_have_their_words() -> None:
    """Nothing came, and why that means what it means."""
    outcome, why = told([], PREDICTED + 3 * HOUR, default=0)
    assert (outcome.state, why.text.split(";")[0]) == (
        "defaulted",
        "the window closed without a label, so the default counts",
    )
    assert told([], counts=False)[1].text.startswith("never shown")


@pytest.mark.parametrize(("combine", "decided"), [("max", "huge"), ("min", "one")])
def test_an_integer_that_no_float_holds_is_compared_as_the_rule_does(combine: str, decided: str) -> None:
    """It is infinite, as in the store."""
    history = [Event("huge", "set", 10**400, PREDICTED), Event("one", "set", 1, PREDICTED)]
    _, why = told(history, combine=combine)
    assert why.decided_by == [decided]
