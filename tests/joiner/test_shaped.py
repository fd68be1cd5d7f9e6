"""Bodies whose names are known are decoded by another way: it must be impossible to tell by the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot.wire import JSON_CONTENT_TYPE, NDJSON_CONTENT_TYPE, PACKED_CONTENT_TYPE, Prediction, pack
from upshot_joiner.intake.check import check_prediction
from upshot_joiner.intake.decode import Decoder
from upshot_joiner.intake.shaped import Features, content_of, shape_and_values

Event = dict[str, Any]


def as_list(events: list[Event]) -> tuple[bytes, str]:
    return msgspec.json.encode(events), JSON_CONTENT_TYPE


def as_lines(events: list[Event]) -> tuple[bytes, str]:
    return b"\n".join(map(msgspec.json.encode, events)) + b"\n\n", NDJSON_CONTENT_TYPE


def as_packed(events: list[Event]) -> tuple[bytes, str]:
    return pack(map(msgspec.msgpack.encode, events)), PACKED_CONTENT_TYPE


FORMS = pytest.mark.parametrize("form", [as_list, as_lines, as_packed])
Form = Callable[[list[Event]], tuple[bytes, str]]


def event(number: int, features: Event, **more: Any) -> Event:
    return {"request_id": f"r-{number}", "model": "m", "prediction": 0.5, "features": features, **more}


def decoded(decoder: Decoder[Prediction], sent: tuple[bytes, str]) -> list[Prediction]:
    body, content_type = sent
    found = decoder.decode([body], content_type)
    assert not found.refused
    assert [index for index, _ in found.events] == list(range(len(found.events)))
    return [one for _, one in found.events]


def practised(form: Form, *features: Event) -> Decoder[Prediction]:
    """A decoder that has seen these names before."""
    decoder = Decoder(Prediction)
    for names in features:
        for _ in range(3):
            decoded(decoder, form([event(1, names), event(2, names)]))
    return decoder


def is_shaped(one: Prediction) -> bool:
    return isinstance(one.features, Features)


@FORMS
def test_names_that_were_seen_before_are_decoded_the_short_way(form: Form) -> None:
    decoder = practised(form, {"a": 1, "b.c": "x"})
    first, second = decoded(decoder, form([event(1, {"a": 1, "b.c": "x"}), event(2, {"b.c": None, "a": 2.5})]))
    assert is_shaped(first)
    assert is_shaped(second)
    assert content_of(first)["features"] == {"a": 1, "b.c": "x"}
    assert content_of(second)["features"] == {"a": 2.5, "b.c": None}


value = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.lists(st.floats(allow_nan=False), max_size=3),
)
names = st.text(st.characters(exclude_characters='\\"', exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)


@FORMS
@given(st.dictionaries(names, value, min_size=1, max_size=6), st.data())
def test_an_event_is_the_same_whichever_way_it_was_decoded(form: Form, features: Event, data: st.DataObject) -> None:
    others = [event(n, {name: data.draw(value) for name in features}, tags={"n": str(n)}) for n in range(3)]
    sent = form([event(9, features, predicted_at=1.7e9), *others])
    short, plain = decoded(practised(form, features), sent), decoded(Decoder(Prediction), sent)
    assert all(map(is_shaped, short))
    assert not any(map(is_shaped, plain))
    for ours, theirs in zip(map(check_prediction, short), map(check_prediction, plain), strict=True):
        assert (ours.identity, ours.content_hash, ours.predicted_us) == (
            theirs.identity,
            theirs.content_hash,
            theirs.predicted_us,
        )
        assert (ours.shape.names, list(map(repr, ours.values))) == (theirs.shape.names, list(map(repr, theirs.values)))
    assert list(map(content_of, short)) == list(map(content_of, plain))


@FORMS
@pytest.mark.parametrize("other", [{"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "B": 2}, {}])
def test_one_event_with_other_names_is_not_forced_into_the_known_ones(form: Form, other: Event) -> None:
    decoder = practised(form, {"a": 1, "b": 2})
    events = [event(1, {"a": 1, "b": 2}), event(2, other), event(3, {"a": 3, "b": 4})]
    found = decoded(decoder, form(events))
    assert [content_of(one)["features"] for one in found] == [{"a": 1, "b": 2}, other, {"a": 3, "b": 4}]


@FORMS
def test_several_models_in_turn_are_all_decoded_the_short_way(form: Form) -> None:
    spellings: list[Event] = [{f"{letter}{n}": 1.0 for n in range(3)} for letter in "abcdef"]
    decoder = practised(form, *spellings)
    for features in spellings * 2:
        assert is_shaped(decoded(decoder, form([event(1, features)]))[0])


@FORMS
def test_names_that_no_attribute_can_have_are_decoded_as_before(form: Form) -> None:
    features = {'quoted "name"': 1, "back\\slash": 2, "line\nbreak": 3}
    [one] = decoded(practised(form, features), form([event(1, features)]))
    assert one.features == features


@FORMS
def test_a_service_that_makes_up_names_gets_no_type_for_each(form: Form) -> None:
    decoder = Decoder(Prediction)
    for number in range(50):
        [one] = decoded(decoder, form([event(1, {f"name-{number}": 1})]))
        assert not is_shaped(one)


@FORMS
def test_bodies_that_begin_with_known_names_and_go_on_with_others_are_tried_ever_less(form: Form) -> None:
    decoder = practised(form, {"a": 1})
    mixed = form([event(1, {"a": 1}), event(2, {"b": 1})])
    for _ in range(20):
        decoded(decoder, mixed)
    known = form([event(1, {"a": 1})])
    tried = [is_shaped(decoded(decoder, known)[0]) for _ in range(300)]
    assert not tried[0]
    assert tried[-1]


def test_a_value_that_no_event_can_hold_is_still_made_one() -> None:
    decoder = practised(as_packed, {"a": 1})
    body = pack([msgspec.msgpack.encode(event(1, {"a": {"deep": 1}})), msgspec.msgpack.encode(event(2, {"a": b"x"}))])
    first, second = decoded(decoder, (body, PACKED_CONTENT_TYPE))
    assert first.flags == {"features.a": "repr"}
    assert second.features == {"a": "x"}


def test_values_come_in_the_order_of_the_names() -> None:
    decoder = practised(as_lines, {"b": 1, "a": 2})
    [one] = decoded(decoder, as_lines([event(1, {"b": "second", "a": "first"})]))
    shape, values = shape_and_values(one)
    assert (shape.names, values) == (("a", "b"), ("first", "second"))
