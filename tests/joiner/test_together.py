"""The normal form of many predictions at once is that of each by itself."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot.wire import PACKED_CONTENT_TYPE, Prediction, pack
from upshot_joiner.intake import check, together
from upshot_joiner.intake.check import CheckedPrediction, NotAccepted, check_prediction
from upshot_joiner.intake.decode import Decoder
from upshot_joiner.intake.shaped import content_of
from upshot_joiner.intake.together import check_together

Event = dict[str, Any]
NAMES = ("a", "b", "c")
NOW = 1_764_400_000.123456


def shaped(events: Sequence[Event]) -> list[Prediction]:
    """Events as they come out of a decoder that has seen their names before."""
    decoder = Decoder(Prediction)
    body = pack(map(msgspec.msgpack.encode, [{"request_id": "r", "model": "m", "features": events[0]["features"]}] * 2))
    for _ in range(3):
        decoder.decode([body], PACKED_CONTENT_TYPE)
    found = decoder.decode([pack(map(msgspec.msgpack.encode, events))], PACKED_CONTENT_TYPE)
    assert not found.refused
    return [event for _, event in found.events]


def one(number: int = 0, **more: Any) -> Event:
    features = {"a": 0.5, "b": "x", "c": None}
    return {"request_id": f"r-{number}", "model": "m", "predicted_at": NOW, "features": features, **more}


def seen(checked: CheckedPrediction) -> tuple[Any, ...]:
    """All of a normal form; by repr, so that NaN is NaN and 1 is not 1.0."""
    times = checked.feature_times_us
    values = [repr(value) for value in checked.values]
    return checked.identity, checked.predicted_us, times, checked.content_hash, checked.shape, values


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8)
values = scalars | st.lists(st.floats() | st.integers(-5, 5), max_size=3)
names = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
ids = names | st.uuids().map(str) | st.uuids().map(lambda key: str(key).upper()) | st.just("01ARZ3NDEKTSV4RRFFQ69G5FAV")
times = (
    st.none()
    | st.floats(0, 1e10)
    | st.integers(0, 10**10)
    | st.sampled_from([math.nan, math.inf, -1.0, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "soon"])
)
rare = st.fixed_dictionaries(
    {},
    optional={
        "probabilities": st.dictionaries(names, st.floats(0, 1), max_size=2),
        "feature_times": st.dictionaries(
            names, st.floats(1e9, 1e10) | st.just("2026-01-01T00:00:00+01:00"), max_size=2
        ),
        "inputs": st.dictionaries(names, scalars, max_size=2),
        "attributions": st.dictionaries(names, st.floats(), max_size=2),
        "entities": st.dictionaries(names, names, max_size=2),
        "tags": st.dictionaries(names, names, max_size=2),
        "flags": st.dictionaries(names, names, max_size=2),
        "action": scalars.filter(lambda value: value is not None),
        "propensity": st.floats(-1, 2),
        "shown": st.booleans(),
        "keep_probability": st.sampled_from([1.0, 1, 0.5, 0.0, 1.5, math.nan]),
        "item_id": names,
        "model_version": names,
        "writer_id": names,
        "seq": st.integers(-1, 2**63),
    },
)
events = st.builds(
    lambda request_id, model, at, prediction, given, more: (
        {"request_id": request_id, "model": model, "prediction": prediction, "features": given}
        | ({} if at is None else {"predicted_at": at})
        | more
    ),
    ids,
    names,
    times,
    scalars,
    st.fixed_dictionaries(dict.fromkeys(NAMES, values)),
    rare,
)


@given(st.lists(events, min_size=1, max_size=4))
def test_it_is_the_normal_form_of_each_or_nothing(sent: list[Event]) -> None:
    decoded = shaped(sent)
    found = check_together(decoded)
    try:
        each = list(map(check_prediction, decoded))
    except NotAccepted:
        assert found is None
        return
    assert found is not None
    assert list(map(seen, found)) == list(map(seen, each))


@pytest.mark.parametrize(
    "wrong",
    [
        {"request_id": ""},
        {"request_id": "r" * 513},
        {"request_id": "r\x00"},
        {"model": ""},
        {"model_version": "v\n"},
        {"item_id": "i" * 513},
        {"writer_id": "\x7f"},
        {"predicted_at": math.nan},
        {"predicted_at": NOW * 1000},
        {"predicted_at": "soon"},
        {"prediction": "x" * (check.MAX_TEXT_LENGTH + 1)},
        {"action": "x" * (check.MAX_TEXT_LENGTH + 1)},
        {"propensity": 0.0},
        {"keep_probability": 1.5},
        {"seq": -1},
        {"seq": 2**63},
        {"tags": {"t" * 513: ""}},
        {"flags": {"f": "f" * 65}},
        {"feature_times": {"a": -1.0}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_one_event_that_cannot_be_accepted_sends_all_to_be_looked_at_one_by_one(wrong: Event) -> None:
    good = [one(number) for number in range(3)]
    assert check_together(shaped(good)) is not None
    bad = shaped([*good, one(3, **wrong)])
    assert check_together(bad) is None
    with pytest.raises(NotAccepted):
        check_prediction(bad[-1])


def test_events_of_several_kinds_are_looked_at_one_by_one() -> None:
    plain = Prediction(**one(1))
    assert check_together([*shaped([one(0)]), plain]) is None
    assert check_together([]) is None


def test_keys_of_ids_that_are_all_numbers_are_those_numbers() -> None:
    given = [uuid.uuid4() for _ in range(5)]
    found = check_together(shaped([one(request_id=str(key)) for key in given]))
    assert found is not None
    assert [checked.key for checked in found] == [key.int for key in given]
    assert together.check_together(shaped([one(request_id=str(given[0]).upper())])) is not None


def test_what_is_refused_keeps_its_features_as_they_were_sent() -> None:
    [bad] = shaped([one(seq=-1)])
    assert content_of(bad)["features"] == {"a": 0.5, "b": "x", "c": None}
