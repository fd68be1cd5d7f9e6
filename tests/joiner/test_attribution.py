"""Where a label that names an entity goes: the rule itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot_joiner.config import LabelConfig
from upshot_joiner.join.attribution import Attributed, EntityEvent, EntityPrediction, attribute

HOUR_US = 3_600_000_000


def made(request_id: str, hour: float, model: str = "m", item_id: str = "") -> EntityPrediction:
    """A prediction, by the hour of the day."""
    return EntityPrediction(model, hash(request_id), request_id, item_id, int(hour * HOUR_US))


def said(label_id: str, hour: float, value: Any = 1, **more: Any) -> EntityEvent:
    """A label event, by the hour of the day."""
    op = "retract" if value is None else "set"
    return EntityEvent(label_id, "label", op, value, int(hour * HOUR_US), **more)  # type: ignore[arg-type]


def rules(attribution: Any = "last", hours: float = 6) -> Any:
    """The same rule for every model."""
    config = LabelConfig(window=timedelta(hours=hours), attribution=attribution)
    return lambda _model, _name: config


def where(found: set[Attributed]) -> dict[str, Any]:
    """Request ID -> value."""
    return {one.request_id: one.value for one in found}


THREE = [made("a", 1), made("b", 3), made("c", 5), made("later", 8)]


@pytest.mark.parametrize(
    ("attribution", "expected"),
    [
        ("last", {"c": 9}),
        ("first", {"a": 9}),
        ("all", {"a": 9, "b": 9, "c": 9}),
        ("shared", {"a": 3.0, "b": 3.0, "c": 3.0}),
    ],
)
def test_each_rule_chooses_among_the_predictions_of_the_window(attribution: str, expected: dict[str, Any]) -> None:
    """What was predicted after the outcome is no candidate."""
    assert where(attribute(THREE, [said("l", 6, 9)], rules(attribution))["l"]) == expected


def test_the_window_has_both_its_ends() -> None:
    """A prediction made exactly a window before, or at the very moment, is a candidate; a microsecond beyond it is not."""
    for hour, is_one in ((0, True), (6, True), (-1 / HOUR_US, False), (6 + 1 / HOUR_US, False)):
        found = attribute([made("a", hour)], [said("l", 6)], rules())["l"]
        assert bool(found) is is_one, hour


def test_the_window_of_attribution_may_differ_from_that_of_the_label() -> None:
    """How far back a label looks, and how long it is waited for, are two things."""
    config = LabelConfig(window=timedelta(hours=48), attribution_window=timedelta(hours=1), attribution="all")
    assert where(attribute(THREE, [said("l", 6)], lambda _m, _n: config)["l"]) == {"c": 1}


def test_every_model_decides_by_its_own_rule() -> None:
    """A label without a model is every model's; one with a model is that one's only."""
    predictions = [made(f"{model}-{n}", n, model) for model in ("x", "y") for n in (1, 2)]
    of = {"x": LabelConfig(attribution="first"), "y": LabelConfig(attribution="shared")}
    found = attribute(predictions, [said("l", 3, 10), said("y-only", 3, 1, model="y")], lambda model, _: of[model])
    assert where(found["l"]) == {"x-1": 10, "y-1": 5.0, "y-2": 5.0}
    assert where(found["y-only"]) == {"y-1": 0.5, "y-2": 0.5}


def test_all_versions_that_answered_a_request_count_as_one() -> None:
    """As a label with its request ID would be theirs; a shared value is divided among requests."""
    both = [made("a", 1), made("a", 1.5), made("b", 2)]
    assert where(attribute(both, [said("l", 3, 1)], rules("shared"))["l"]) == {"a": 0.5, "b": 0.5}


def test_a_label_of_an_item_goes_to_predictions_of_that_item() -> None:
    """And one without to predictions without."""
    slate = [made("s", 1, item_id="i"), made("s", 1, item_id="j"), made("t", 1)]
    found = attribute(slate, [said("of-i", 2, item_id="i"), said("plain", 2)], rules("all"))
    assert (where(found["of-i"]), where(found["plain"])) == ({"s": 1}, {"t": 1})


def test_of_predictions_of_the_same_moment_the_request_id_decides() -> None:
    """Nothing depends on the order in which they came."""
    same = [made("b", 1), made("a", 1), made("c", 1)]
    assert where(attribute(same, [said("l", 2)], rules("last"))["l"]) == {"c": 1}
    assert where(attribute(same, [said("l", 2)], rules("first"))["l"]) == {"a": 1}


@pytest.mark.parametrize("value", [True, False, "yes", ""])
def test_what_cannot_be_divided_is_everybodys(value: Any) -> None:
    """A bool or a text under ``shared`` goes to each, whole."""
    assert where(attribute(THREE, [said("l", 6, value)], rules("shared"))["l"]) == {"a": value, "b": value, "c": value}


@given(st.integers(1, 40), st.one_of(st.integers(-(10**400), 10**400), st.floats(-1e300, 1e300)))
def test_shares_are_equal_and_add_up(parts: int, value: float) -> None:
    """To the precision of a float; one share is the whole."""
    found = attribute([made(str(n), 1) for n in range(parts)], [said("l", 2, value)], rules("shared"))["l"]
    shares = [one.value for one in found]
    assert len(shares) == parts
    assert len(set(shares)) == 1
    assert abs(int(shares[0] * parts) - int(value)) <= max(parts, abs(int(value)) // 10**12)  # type: ignore[operator, arg-type]


def test_a_retraction_goes_wherever_earlier_labels_went() -> None:
    """Not to the prediction that is the last one by then, and not to what a later label went to."""
    predictions = [made("a", 1), made("b", 3), made("c", 5)]
    events = [said("one", 2), said("two", 4), said("back", 4.5, None), said("three", 6)]
    found = attribute(predictions, events, rules())
    assert {one.request_id for one in found["back"]} == {"a", "b"}
    assert all(one.value is None for one in found["back"])


def test_a_retraction_of_one_model_leaves_the_others() -> None:
    """As it does with labels of requests."""
    predictions = [made("a", 1, "x"), made("b", 1, "y")]
    found = attribute(predictions, [said("l", 2), said("back", 3, None, model="y")], rules())
    assert {one.request_id for one in found["back"]} == {"b"}


def test_a_retraction_without_an_earlier_label_goes_nowhere() -> None:
    """It waits, like any label that has no prediction."""
    assert attribute(THREE, [said("back", 6, None)], rules()) == {"back": set()}


predictions_ = st.lists(
    st.builds(made, st.sampled_from("abcd"), st.integers(0, 9), st.sampled_from("mn"), st.sampled_from(["", "i"])),
    max_size=8,
)
events_ = st.lists(
    st.builds(
        said, st.sampled_from("stuvwxyz"), st.integers(0, 12), st.sampled_from([1, 2, None]),
        item_id=st.sampled_from(["", "i"]), model=st.sampled_from(["", "", "m"]),
    ),
    max_size=6, unique_by=lambda event: event.label_id,
)  # fmt: skip


@given(predictions_, events_, st.sampled_from(["last", "first", "all", "shared"]), st.randoms())
def test_order_and_repetition_do_not_matter_to_the_rule(
    predictions: list[EntityPrediction], events: list[EntityEvent], attribution: str, rng: Any
) -> None:
    """Shuffled and repeated, the same events of the same predictions go to the same places."""
    expected = attribute(predictions, events, rules(attribution, 4))
    more, again = predictions * 2, events * 2
    rng.shuffle(more)
    rng.shuffle(again)
    assert attribute(more, again, rules(attribution, 4)) == expected
    assert set(expected) == {event.label_id for event in events}
