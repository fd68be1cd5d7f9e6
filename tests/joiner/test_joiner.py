"""Every label finds its prediction, once, whenever it comes."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from tests.joiner.conftest import NOW, Line
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.join import few
from upshot_joiner.store.client import Store


def at(**ago: float) -> str:
    """A moment before now."""
    return (NOW - timedelta(**ago)).isoformat()


@pytest.mark.parametrize("value", [0, 0.0, False, "", "no", -3, 2**70, 1e300])
def test_a_value_that_looks_like_nothing_is_a_value(line: Line, fresh: str, value: object) -> None:
    """0, 0.0, false and "" are labels, and keep their type."""
    line.predict({"request_id": fresh, "model": "m"})
    line.label({"request_id": fresh, "value": value})
    line.outcomes(fresh)
    [outcome] = line.story(fresh)["outcomes"]
    assert (outcome["state"], outcome["value"], type(outcome["value"])) == ("labelled", value, type(value))


def test_a_label_that_comes_first_waits_and_joins(line: Line, fresh: str) -> None:
    """It is listed as an orphan until its prediction comes, and joins at once then."""
    line.label(*({"request_id": id_, "name": fresh, "value": 1} for id_ in (fresh, f"{fresh}-2")))
    assert line.outcomes(fresh) == []
    label = line.coverage(fresh, name=fresh)
    assert label["orphans"] == 2
    line.predict({"request_id": fresh, "model": fresh})
    assert line.outcomes(fresh) == [("", "", fresh, "labelled", "1")]
    label = line.coverage(fresh, name=fresh)
    assert (label["orphans"], label["labelled"]) == (1, 1)
    assert label["oldest_orphan"] is not None


def test_a_label_400_days_late_joins(line: Line, fresh: str) -> None:
    """However late."""
    line.clock.set(line.stamper.next())
    predicted = line.clock.now() - timedelta(days=400)
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": predicted.isoformat()})
    line.label({"request_id": fresh, "value": 1})
    assert line.outcomes(fresh) == [("", "", "label", "labelled", "1")]
    line.clock.advance(timedelta(days=40))  # a delay is known once the prediction has been watched for a little longer
    assert line.coverage(fresh)["delay_s"]["p50"] == pytest.approx(400 * 86400, abs=86400)


def test_the_same_request_in_two_versions_and_models_gets_its_label_in_each(line: Line, fresh: str) -> None:
    """A label without a model is of all of them; one with a model is of that one only."""
    for model, version in ((fresh, "1"), (fresh, "2"), (f"{fresh}-other", "1")):
        line.predict({"request_id": fresh, "model": model, "model_version": version})
    line.label(
        {"request_id": fresh, "value": 1}, {"request_id": fresh, "name": "only", "value": 2, "model": f"{fresh}-other"}
    )
    assert line.outcomes(fresh) == [
        ("1", "", "label", "labelled", "1"),
        ("1", "", "label", "labelled", "1"),
        ("1", "", "only", "labelled", "2"),
        ("2", "", "label", "labelled", "1"),
    ]


def test_items_of_a_slate_have_labels_of_their_own(line: Line, fresh: str) -> None:
    """A label with an item ID belongs to that item."""
    for item in ("a", "b"):
        line.predict({"request_id": fresh, "model": fresh, "item_id": item})
    line.label({"request_id": fresh, "item_id": "b", "value": 1})
    assert line.outcomes(fresh) == [("", "b", "label", "labelled", "1")]


def test_a_retraction_takes_the_label_back_and_a_later_one_counts_again(line: Line, fresh: str) -> None:
    """labelled → retracted → labelled, by when it was observed."""
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(days=1)})
    line.label({"request_id": fresh, "value": 1, "observed_at": at(hours=5)})
    line.label({"request_id": fresh, "op": "retract", "observed_at": at(hours=4)})
    assert line.outcomes(fresh) == [("", "", "label", "retracted", "")]
    line.label({"request_id": fresh, "value": 0, "observed_at": at(hours=3)})
    assert line.outcomes(fresh) == [("", "", "label", "labelled", "0")]


@pytest.mark.parametrize("combine", ["first", "last", "sum", "max", "count"])
def test_order_repetition_and_batching_do_not_matter(line: Line, fresh: str, combine: Any) -> None:
    """The same events, shuffled, repeated and split at any border: the same outcomes."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(combine=combine)}))
    rng = random.Random(combine)
    told = []
    for trial in range(4):
        request_id = f"{fresh}-{trial}"
        events: list[tuple[str, dict[str, Any]]] = [
            ("label", {"request_id": request_id, "value": value, "label_id": str(n), "observed_at": at(hours=n % 7)})
            for n, value in enumerate([-5, -2, -9, -2, -7])
        ]
        events.append(("predict", {"request_id": request_id, "model": fresh, "predicted_at": at(days=1)}))
        events += rng.sample(events, 3)
        rng.shuffle(events)
        while events:
            size = rng.randint(1, len(events))
            batch, events = events[:size], events[size:]
            for kind in ("label", "predict"):
                of_kind = [event for which, event in batch if which == kind]
                if of_kind:
                    getattr(line, kind)(*of_kind)
        told.append(line.outcomes(request_id))
    expected = {"first": "-7", "last": "-5", "sum": "-25", "max": "-2", "count": "5"}[combine]
    assert told == [[("", "", "label", "labelled", expected)]] * 4


def test_a_default_applies_when_the_window_closes(line: Line, fresh: str) -> None:
    """pending before, defaulted after, labelled when a label comes all the same."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(window=timedelta(hours=2), default=0)}))
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=1)})
    assert line.story(fresh)["outcomes"][0]["state"] == "pending"
    assert line.coverage(fresh)["pending"] == 1
    line.clock.advance(timedelta(hours=1, seconds=1))
    [outcome] = line.story(fresh)["outcomes"]
    assert (outcome["state"], outcome["value"]) == ("defaulted", 0)
    label = line.coverage(fresh)
    assert (label["defaulted"], label["pending"], label["coverage"]) == (1, 0, 1.0)
    line.label({"request_id": fresh, "value": 1})
    line.outcomes(fresh)
    assert line.story(fresh)["outcomes"][0]["state"] == "labelled"


def test_changed_rules_fold_everything_anew(line: Line, fresh: str) -> None:
    """Also where the new rule takes an outcome back."""
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=5)})
    line.label({"request_id": fresh, "value": 1, "observed_at": at(hours=2)})
    assert line.outcomes(fresh) == [("", "", "label", "labelled", "1")]
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(window=timedelta(hours=1), late="reject")}))
    line.joiner.refold(fresh)
    assert line.outcomes(fresh) == [("", "", "label", "pending", "")]


def test_a_joiner_that_was_not_told_finds_out_at_its_next_start(store: Store, fresh: str) -> None:
    """As after a crash between the answer and the join."""
    deaf = Line.open(store, touched=lambda _keys, _received: None)
    try:
        deaf.predict({"request_id": fresh, "model": fresh})
        deaf.label({"request_id": fresh, "value": 1})
        assert deaf.outcomes(fresh) == []
    finally:
        deaf.committer.close()
        deaf.joiner._closed = True  # it dies without noting how far it came
        if deaf.processes is not None:
            deaf.processes.close(is_whole=False)
    again = Line.open(store)
    try:
        assert again.outcomes(fresh) == [("", "", "label", "labelled", "1")]
    finally:
        again.close()


def test_one_request_that_cannot_be_folded_does_not_hold_up_the_others(
    line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the fold of one request is logged and counted; its neighbours join."""
    real = few.fold_by_rule

    def broken(events: list[Any], *rest: Any) -> Any:
        if any(event.value == "poison" for event in events):
            raise RuntimeError("no")
        return real(events, *rest)

    monkeypatch.setattr(few, "fold_by_rule", broken)
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(5)))
    line.label(*({"request_id": f"{fresh}-{n}", "value": "poison" if n == 3 else n} for n in range(5)))
    assert [line.outcomes(f"{fresh}-{n}") for n in range(5)] == [
        [] if n == 3 else [("", "", "label", "labelled", str(n))] for n in range(5)
    ]
    assert line.joiner.failed >= 1
