"""Labels that know no request ID find the predictions of their entity, under the promises of every label."""

from __future__ import annotations

import itertools
import random
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.joiner.conftest import NOW, Line
from tests.joiner.test_committer import failing_once
from tests.waiting import eventually
from upshot_joiner.clock import from_micros, to_micros
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.export.request import ExportRequest
from upshot_joiner.export.training_set import TrainingSet
from upshot_joiner.intake.check import NotAccepted
from upshot_joiner.join import fold
from upshot_joiner.join.attributed import both
from upshot_joiner.join.attribution import EntityEvent, EntityPrediction, attribute
from upshot_joiner.join.rule import Event
from upshot_joiner.join.rule import fold as fold_by_rule
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import request_key

_numbers = itertools.count()


def at(**ago: float) -> str:
    """A moment before now."""
    return (NOW - timedelta(**ago)).isoformat()


def of(fresh: str, id_: str = "o-17") -> dict[str, str]:
    """An entity of a type that no other test uses."""
    return {fresh: id_}


def values(line: Line, *request_ids: str) -> dict[str, Any]:
    """State and value of the only outcome of each request; None where there is no row."""
    line.settle()
    found: dict[str, Any] = {}
    for request_id in request_ids:
        rows = line.outcomes(request_id)
        assert len(rows) <= 1, "one row per prediction"
        found[request_id] = (rows[0][3], rows[0][4]) if rows else None
    return found


def test_a_label_goes_to_the_last_prediction_of_its_entity(line: Line, fresh: str) -> None:
    """Not to one made after the outcome, nor to one of another entity, nor to one of another type of entity."""
    for n, (hours, entities) in enumerate(
        [(5, of(fresh)), (3, of(fresh)), (1, of(fresh)), (2, of(fresh, "o-18")), (2, {f"{fresh}-x": "o-17"})]
    ):
        line.predict(
            {"request_id": f"{fresh}-{n}", "model": fresh, "predicted_at": at(hours=hours), "entities": entities}
        )
    answer = line.label({"entity": of(fresh), "value": 0, "observed_at": at(hours=2)})
    assert (answer.accepted, answer.rejected) == (1, 0)
    assert values(line, *(f"{fresh}-{n}" for n in range(5))) == {
        f"{fresh}-{n}": ("labelled", "0") if n == 1 else None for n in range(5)
    }


def test_a_label_of_an_entity_may_come_before_its_prediction(line: Line, fresh: str) -> None:
    """It is listed as an orphan with its age until the prediction comes, and joins at once then."""
    line.label({"entity": of(fresh), "name": fresh, "value": 1, "observed_at": at(hours=1)})
    waiting = line.coverage(fresh, name=fresh)
    assert (waiting["orphans"], waiting["labelled"]) == (1, 0)
    assert waiting["oldest_orphan"] is not None
    assert line.entity(fresh, "o-17")["label_events"][0]["waits"]
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh)})
    assert values(line, fresh) == {fresh: ("labelled", "1")}
    joined = line.coverage(fresh, name=fresh)
    assert (joined["orphans"], joined["labelled"]) == (0, 1)
    assert not line.entity(fresh, "o-17")["label_events"][0]["waits"]


def test_a_prediction_that_comes_late_takes_the_label_over(line: Line, fresh: str) -> None:
    """Under ``last``; the one that had it is pending again, and the story of the label shows both."""
    first, second = f"{fresh}-1", f"{fresh}-2"
    line.predict({"request_id": first, "model": fresh, "predicted_at": at(hours=5), "entities": of(fresh)})
    line.label({"entity": of(fresh), "value": 7, "observed_at": at(hours=1)})
    assert values(line, first, second) == {first: ("labelled", "7"), second: None}
    line.predict({"request_id": second, "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh)})
    assert values(line, first, second) == {first: ("pending", ""), second: ("labelled", "7")}
    [label] = line.entity(fresh, "o-17")["label_events"]
    assert [(one["request_id"], one["withdrawn_at"] is None) for one in label["attributed_to"]] == [
        (first, False), (second, True),
    ]  # fmt: skip
    counted = line.coverage(fresh)
    assert (counted["labelled"], counted["pending"], counted["retracted"]) == (1, 1, 0)


def test_predictions_stored_before_the_first_label_of_a_type_are_found(line: Line, fresh: str) -> None:
    """Nothing is indexed until a label names the type; then everything of it is."""
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh, "entities": of(fresh, str(n))} for n in range(50)))
    key = {"t": fresh}
    assert line.store.query("SELECT count() FROM entity_types WHERE entity_type = {t:String}", key) == [(0,)]
    line.label(*({"entity": of(fresh, str(n)), "value": n} for n in range(50)))
    assert values(line, *(f"{fresh}-{n}" for n in range(50))) == {
        f"{fresh}-{n}": ("labelled", str(n)) for n in range(50)
    }
    assert line.store.query("SELECT filled FROM entity_types FINAL WHERE entity_type = {t:String}", key) == [(1,)]


def test_a_retraction_follows_the_label_it_takes_back(line: Line, fresh: str) -> None:
    """It lands where the label went, not on the prediction that is the last one by then."""
    first, second = f"{fresh}-1", f"{fresh}-2"
    for request_id, hours in ((first, 5), (second, 3)):
        line.predict({"request_id": request_id, "model": fresh, "predicted_at": at(hours=hours), "entities": of(fresh)})
    line.label({"entity": of(fresh), "op": "retract", "observed_at": at(hours=2)})
    assert values(line, first, second) == {first: None, second: None}
    line.label({"entity": of(fresh), "value": 1, "observed_at": at(hours=4)})
    assert values(line, first, second) == {first: ("retracted", ""), second: None}
    line.label({"entity": of(fresh), "value": 5, "observed_at": at(hours=1)})
    assert values(line, first, second) == {first: ("retracted", ""), second: ("labelled", "5")}


def test_a_label_of_an_entity_is_stored_once(line: Line, fresh: str) -> None:
    """The same again is a duplicate; other content under its ID is a conflict; the same ID of another entity is another label."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(combine="sum")}))
    line.predict(
        {"request_id": fresh, "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh) | {f"{fresh}-b": "b"}}
    )
    one = {"entity": of(fresh), "value": 2, "label_id": "x", "observed_at": at(hours=1)}
    assert line.label(one, one).duplicates == 1
    assert line.label(one).duplicates == 1
    assert line.label(one | {"value": 3}).errors == [{"index": 0, "loc": "", "code": "conflict"}]
    assert line.label(one | {"entity": {f"{fresh}-b": "b"}, "value": 3}).accepted == 1
    assert line.label({"request_id": fresh, "value": 4, "label_id": "x", "observed_at": at(hours=1)}).accepted == 1
    assert values(line, fresh) == {fresh: ("labelled", "9")}


@pytest.mark.parametrize(
    ("event", "loc", "code"),
    [
        ({"value": 1}, "request_id", "missing"),
        ({"value": 1, "request_id": "r", "entity": {"order": "o"}}, "entity", "unexpected"),
        ({"value": 1, "entity": {}}, "entity", "empty"),
        ({"value": 1, "entity": {"order": ""}}, "entity", "empty"),
        ({"value": 1, "entity": {"": "o"}}, "entity", "empty"),
        ({"value": 1, "entity": {"order": "o", "user": "u"}}, "entity", "too_many"),
        ({"value": 1, "entity": {"order": "o" * 513}}, "entity", "too_long"),
        ({"value": True, "name": "shown", "entity": {"order": "o"}}, "name", "not_allowed"),
    ],
)
def test_a_label_names_a_request_or_an_entity(line: Line, event: dict[str, Any], loc: str, code: str) -> None:
    """Exactly one of both, and one entity."""
    with pytest.raises(NotAccepted) as refused:
        line.label(event)
    assert (refused.value.loc, refused.value.code) == (loc, code)


def test_changed_rules_attribute_anew(line: Line, fresh: str) -> None:
    """Of every label that was received already."""
    ids = [f"{fresh}-{n}" for n in range(3)]
    for n, request_id in enumerate(ids):
        line.predict({"request_id": request_id, "model": fresh, "predicted_at": at(hours=9 - n), "entities": of(fresh)})
    line.label({"entity": of(fresh), "value": 9, "observed_at": at(hours=1)})

    def under(**rules: Any) -> list[Any]:
        line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(**rules)}))
        line.attributor.attribute_again(fresh)
        return list(values(line, *ids).values())

    assert under(attribution="last") == [None, None, ("labelled", "9")]
    assert under(attribution="shared") == [("labelled", "3.0")] * 3
    assert under(attribution="all") == [("labelled", "9")] * 3
    assert under(attribution="first") == [("labelled", "9"), ("pending", ""), ("pending", "")]
    assert under(attribution="first", attribution_window=timedelta(hours=6, minutes=30)) == [
        ("pending", ""), ("pending", ""), ("labelled", "9"),
    ]  # fmt: skip


def test_the_story_of_a_request_says_why_it_has_a_label(line: Line, fresh: str) -> None:
    """Which entity, which rule, which window, and which predictions competed; a label of the request itself says nothing such."""
    for n, hours in enumerate((30, 5, 3)):
        line.predict(
            {"request_id": f"{fresh}-{n}", "model": fresh, "predicted_at": at(hours=hours), "entities": of(fresh)}
        )
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(window=timedelta(hours=24))}))
    line.label({"entity": of(fresh), "value": 1, "label_id": "mine", "observed_at": at(hours=1), "tags": {"k": "v"}})
    line.label({"request_id": f"{fresh}-2", "name": "other", "value": 1})
    line.settle()
    own, attributed = sorted(line.story(f"{fresh}-2")["label_events"], key=lambda event: event["name"], reverse=True)
    assert own["attributed"] is None
    assert (attributed["label_id"], attributed["value"], attributed["tags"]) == ("mine", 1, {"k": "v"})
    why = attributed["attributed"]
    assert why["entity"] == of(fresh)
    assert (why["rule"], why["candidates"]) == ("last", 2)
    assert (why["window_start"], why["window_end"]) == (NOW - timedelta(hours=25), NOW - timedelta(hours=1))
    assert [one["request_id"] for one in why["competed"]] == [f"{fresh}-2", f"{fresh}-1"]
    assert line.story(f"{fresh}-1")["label_events"] == []


# -- any order, repetition and batching --------------------------------------------------------------------------------------

ENTITIES = ("u1", "u2")


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """Predictions and label events of two entities, in any order, some repeated."""
    entity = st.sampled_from(ENTITIES)
    hours = st.integers(0, 12)
    n_predictions = draw(st.integers(1, 6))
    events: list[tuple[str, dict[str, Any]]] = [
        (
            "predict",
            {
                "request_id": str(n // 2 if n == 1 else n),  # two versions of one request
                "model": draw(st.sampled_from(["a", "b"])) if n > 1 else "a",
                "model_version": str(n % 2),
                "entity": draw(entity),
                "hour": draw(hours),
            },
        )
        for n in range(n_predictions)
    ]
    for n in range(draw(st.integers(1, 6))):
        value = draw(st.sampled_from([0, 1, 2.5, -3, True, None]))
        events.append(
            (
                "label",
                {
                    "entity": draw(entity),
                    "label_id": f"l{n}",
                    "op": "set" if value is not None else "retract",
                    "value": value,
                    "model": draw(st.sampled_from(["", "", "b"])),
                    "hour": draw(hours),
                },
            )
        )
    events += draw(st.lists(st.sampled_from(events), max_size=4))
    return draw(st.permutations(events))


@settings(
    max_examples=examples(8),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    histories(),
    st.sampled_from(["last", "first", "all", "shared"]),
    st.sampled_from(["last", "first", "sum", "count"]),
    st.integers(1, 6),
)
def test_what_the_store_says_is_what_the_rule_says(
    line: Line, history: list[tuple[str, dict[str, Any]]], attribution: Any, combine: Any, size: int
) -> None:
    """However the events come, are repeated and are split into groups: attribution and fold equal the plain-Python rules."""
    fresh = f"entities-{next(_numbers)}"
    of_a = LabelConfig(window=timedelta(hours=4), attribution=attribution, combine=combine)
    of_b = LabelConfig(window=timedelta(hours=4), attribution_window=timedelta(hours=8), combine=combine)
    configs = {f"{fresh}-a": ModelConfig(labels={"label": of_a}), f"{fresh}-b": ModelConfig(labels={"label": of_b})}
    for model, config in configs.items():
        line.configs.put(model, config)
    start = NOW - timedelta(days=2)

    def moment(hour: int) -> str:
        return (start + timedelta(hours=hour)).isoformat()

    for begin in range(0, len(history), size):
        for kind in random.Random(size).sample(["label", "predict"], 2):
            group = [dict(event) for of_kind, event in history[begin : begin + size] if of_kind == kind]
            for event in group:
                hour, entity = event.pop("hour"), event.pop("entity")
                event["predicted_at" if kind == "predict" else "observed_at"] = moment(hour)
                event["entities" if kind == "predict" else "entity"] = {fresh: entity}
                event["model"] = event["model"] and f"{fresh}-{event['model']}"
                if kind == "predict":
                    event["request_id"] = f"{fresh}-{event['request_id']}"
            if group:
                getattr(line, kind)(*group)
    line.settle()
    expected = _by_the_rules(fresh, history, configs, start)
    assert _stored(line, fresh, "outcomes") == expected
    for model in configs:
        events = both(fold.EVENTS_OF_MODEL, fold.ATTRIBUTED_OF_MODEL)
        folded = fold.fold(line.store, fold.SPINE_OF_MODEL, events, configs, {"model": model})
        assert {
            (row["model"], row["request_id"], row["model_version"]): (row["state"], _number(row["value_number"]))
            for row in folded.to_pylist()
            if row["state"] != "pending"
        } == {key: value for key, value in expected.items() if key[0] == model}, "the fold in SQL"
    again = _attributions(line, fresh)
    line.attributor.touched([key for (key,) in line.store.query(_KEYS, {"t": fresh})], line.stamper.last)
    line.settle()
    assert _attributions(line, fresh) == again, "attributing anew changes nothing"


_KEYS = "SELECT DISTINCT entity_key FROM entity_label_events WHERE entity_type = {t:String}"


def _attributions(line: Line, fresh: str) -> list[tuple[Any, ...]]:
    return line.store.query(
        "SELECT * FROM attributions FINAL WHERE entity_type = {t:String} ORDER BY ALL", {"t": fresh}
    )


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, 9) + 0.0


def _stored(line: Line, fresh: str, table: str) -> dict[tuple[str, str, str], tuple[str, float | None]]:
    rows = line.store.query(
        f"SELECT toString(model), request_id, toString(model_version), toString(state), value_number FROM {table} FINAL "
        "WHERE startsWith(model, {m:String}) AND state != 'pending'",
        {"m": f"{fresh}-"},
    )
    found = {tuple(row[:3]): (row[3], _number(row[4])) for row in rows}
    assert len(found) == len(rows), "one row per prediction"
    return found  # type: ignore[return-value]


def _by_the_rules(
    fresh: str, history: list[tuple[str, dict[str, Any]]], configs: dict[str, ModelConfig], start: Any
) -> dict[tuple[str, str, str], tuple[str, float | None]]:
    """Outcomes by the two plain-Python rules, over everything at once."""

    def us(hour: int) -> int:
        return to_micros(start + timedelta(hours=hour))

    known: dict[tuple[str, str, str], dict[str, Any]] = {}
    labels: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, event in history:
        if kind == "predict":
            key = (f"{fresh}-{event['model']}", f"{fresh}-{event['request_id']}", event["model_version"])
            known.setdefault(key, event)
        else:
            labels.setdefault((event["entity"], event["label_id"]), event)
    outcomes: dict[tuple[str, str, str], tuple[str, float | None]] = {}
    of_request: dict[tuple[str, str], list[Event]] = {}
    for entity in ENTITIES:
        predictions = [
            EntityPrediction(model, request_key(id_), id_, "", us(event["hour"]))
            for (model, id_, _), event in known.items()
            if event["entity"] == entity
        ]
        events = {
            id_: EntityEvent(
                id_,
                "label",
                event["op"],
                event["value"],
                us(event["hour"]),
                event["model"] and f"{fresh}-{event['model']}",
            )
            for (of_entity, id_), event in labels.items()
            if of_entity == entity
        }
        for id_, places in attribute(predictions, events.values(), lambda m, name: configs[m].label(name)).items():
            for one in places:
                event = events[id_]
                of_request.setdefault((one.model, one.request_id), []).append(
                    Event(f"{id_}-{entity}", event.op, one.value, from_micros(event.observed_us))
                )
    for (model, id_, version), event in known.items():
        found = fold_by_rule(
            of_request.get((model, id_), []), start + timedelta(hours=event["hour"]), configs[model].label("label")
        )
        if found.state != "pending":
            number = None if found.value is None else _number(float(found.value))
            outcomes[model, id_, version] = (found.state, number)
    return outcomes


# -- as of a moment, crashes, and the path of those who have none of it ------------------------------------------------------


def test_an_export_as_of_a_moment_knows_what_was_attributed_then(line: Line, fresh: str, tmp_path: Path) -> None:
    """The same bytes after the label has moved on, and after the rule was changed."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(attribution="shared", combine="sum")}))
    moments = []

    def export(as_of: Any, folder: str) -> dict[str, Any]:
        config = line.configs.as_of(fresh, as_of)
        request = ExportRequest(model=fresh, as_of=as_of)
        writer = TrainingSet(line.store, line.served, config, request, attributed=line.entities.any)
        return writer.write(tmp_path / folder, lambda _share: None)

    def step(name: str) -> None:
        line.settle()
        as_of = line.committer.barrier().result(10)
        moments.append((name, as_of, export(as_of, name)))

    line.predict({"request_id": f"{fresh}-1", "model": fresh, "predicted_at": at(hours=5), "entities": of(fresh)})
    step("nothing")
    line.label({"entity": of(fresh), "value": 6, "observed_at": at(hours=1), "label_id": "a"})
    step("one")
    line.predict({"request_id": f"{fresh}-2", "model": fresh, "predicted_at": at(hours=3), "entities": of(fresh)})
    step("two")
    line.label({"entity": of(fresh), "op": "retract", "observed_at": at(minutes=30)})
    step("back")
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(attribution="first")}))
    line.attributor.attribute_again(fresh)
    step("first")
    for name, as_of, manifest in moments:
        assert export(as_of, f"{name}-again") == manifest, name
    states = {name: manifest["labels"].get("label", {}) for name, _, manifest in moments}
    assert states == {
        "nothing": {"pending": 1}, "one": {"labelled": 1}, "two": {"labelled": 2}, "back": {"retracted": 2},
        "first": {"pending": 1, "retracted": 1},
    }  # fmt: skip


def test_a_shared_value_is_conserved_at_every_moment(line: Line, fresh: str) -> None:
    """Whatever number of predictions came so far: the shares add up to the value, in the fold of every moment."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(attribution="shared")}))
    line.label({"entity": of(fresh), "value": 12, "observed_at": at(hours=1)})
    for n in range(5):
        line.predict(
            {"request_id": f"{fresh}-{n}", "model": fresh, "predicted_at": at(hours=n + 2), "entities": of(fresh)}
        )
        line.settle()
        rows = line.store.query(
            "SELECT count(), sum(value_number) FROM outcomes FINAL WHERE model = {m:String} AND state = 'labelled'",
            {"m": fresh},
        )
        assert rows == [(n + 1, 12.0)]


@pytest.mark.parametrize("table", ["attributions", "attributed_events", "orphans"])
def test_an_attribution_that_fails_halfway_is_finished(
    store: Store, line: Line, fresh: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is cut off, the label is where it belongs once the store takes writes again, and there once."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(combine="sum")}))
    if table == "orphans":
        line.label({"entity": of(fresh), "value": 2, "observed_at": at(hours=1)})
        line.settle()
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=3), "entities": of(fresh)})
    failing_once(store, table, monkeypatch)
    line.label({"entity": of(fresh), "value": 3, "observed_at": at(hours=1), "label_id": "second"})
    line.predict({"request_id": f"{fresh}-2", "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh)})
    total = "5" if table == "orphans" else "3"
    assert values(line, f"{fresh}-2") == {f"{fresh}-2": ("labelled", total)}
    assert values(line, fresh)[fresh] in (None, ("pending", ""))


def test_what_was_left_in_one_of_two_tables_is_found_at_the_next_start(
    store: Store, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written to ``attributions`` and not to ``attributed_events``, then stopped."""
    stopped = Line.open(store)
    stopped.label({"entity": of(fresh), "value": 1, "observed_at": at(hours=1)})
    stopped.settle()
    real = store.insert

    def insert(into: str, rows: pa.Table) -> None:
        if into == "attributed_events":
            raise StoreUnavailable("no space left on device", 243)
        real(into, rows)

    monkeypatch.setattr(store, "insert", insert)
    stopped.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh)})
    count = "SELECT count() FROM %s WHERE request_id = {r:String}"
    eventually(lambda: store.query(count % "attributions", {"r": fresh}) == [(1,)])
    stopped.close()
    monkeypatch.undo()
    assert store.query(count % "attributed_events", {"r": fresh}) == [(0,)]
    again = Line.open(store)
    try:
        assert values(again, fresh) == {fresh: ("labelled", "1")}
    finally:
        again.close()


def test_an_attributor_that_was_not_told_finds_out_at_its_next_start(store: Store, fresh: str) -> None:
    """As after a crash between the answer and the attribution."""
    deaf = Line.open(store)
    deaf.attributor.close()
    deaf.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh)})
    deaf.label({"entity": of(fresh), "value": 1, "observed_at": at(hours=1)})
    deaf.close()
    again = Line.open(store)
    try:
        assert values(again, fresh) == {fresh: ("labelled", "1")}
    finally:
        again.close()


@pytest.mark.parametrize("table", ["entity_types", "entity_predictions", "predictions", "entity_label_events"])
def test_a_group_of_entity_labels_that_fails_can_be_sent_again(
    store: Store, line: Line, fresh: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the group is cut off: 503, and after the second try the label is where it belongs, once."""
    prediction = {"request_id": fresh, "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh)}
    label = {"entity": of(fresh), "value": 1, "observed_at": at(hours=1)}
    is_of_label = table in ("entity_types", "entity_label_events")
    if is_of_label:
        line.predict(prediction)
    else:
        line.label(label)
    failing_once(store, table, monkeypatch)
    with pytest.raises(Problem):
        line.label(label) if is_of_label else line.predict(prediction)
    again = line.label(label) if is_of_label else line.predict(prediction)
    assert again.accepted + again.duplicates == 1
    assert values(line, fresh) == {fresh: ("labelled", "1")}
    assert line.entity(fresh, "o-17")["prediction_count"] == 1


def test_a_group_cut_off_before_the_index_is_finished_at_the_next_start(
    store: Store, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed rows whose index and spine are missing are completed, and a waiting label joins them."""
    crashed = Line.open(store)
    crashed.label({"entity": of(fresh), "value": 1, "observed_at": at(hours=1)})
    crashed.settle()
    failing_once(store, "entity_predictions", monkeypatch)
    with pytest.raises(Problem):
        crashed.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=2), "entities": of(fresh)})
    crashed.close(killed=True)
    assert store.query("SELECT count() FROM predictions WHERE request_id = {r:String}", {"r": fresh}) == [(0,)]
    again = Line.open(store)
    try:
        assert values(again, fresh) == {fresh: ("labelled", "1")}
    finally:
        again.close()


def test_numbers_of_entity_labels_are_counted(embedded_store: Store, fresh: str) -> None:
    """A writer's books know them, also when they are counted anew."""
    for events in (range(3), range(0)):
        line = Line.open(embedded_store)
        try:
            line.label(*({"entity": of(fresh), "value": n, "writer_id": fresh, "seq": n} for n in events))
            assert line.writer(fresh)["received"] == 3
        finally:
            line.close()


def test_a_store_without_entity_labels_does_not_look_for_them(
    embedded_store: Store, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No statement of intake, join or story mentions their tables (where others write, too, each group asks once)."""
    line = Line.open(embedded_store)
    line.settle()  # the start looks after what other tests left
    eventually(lambda: not line.attributor._unfinished)
    monkeypatch.setattr(line.entities, "_filled", {})
    said: list[str] = []
    for name in ("query", "arrow", "command", "insert"):
        real = getattr(line.store, name)

        def recorded(what: str, *rest: Any, real: Any = real, **named: Any) -> Any:
            said.append(what)
            return real(what, *rest, **named)

        monkeypatch.setattr(line.store, name, recorded)
    line.predict({"request_id": fresh, "model": fresh, "entities": {"order": "o"}})
    line.label({"request_id": fresh, "value": 1})
    assert values(line, fresh) == {fresh: ("labelled", "1")}
    line.story(fresh)
    assert len(said) > 10
    tables = re.compile(
        r"entity_types|entity_predictions|entity_label_events|attributed_events|(FROM |^)attributions\b"
    )
    line.close()
    assert [one for one in said if tables.search(one)] == []


def test_many_labels_at_once_are_folded_in_sql(line: Line, fresh: str) -> None:
    """More requests than the fold in Python takes; half of the labels move on."""
    n = 2500
    for hours in (3, 2):
        line.predict(
            *(
                {"request_id": f"{fresh}-{i}-{hours}", "model": fresh, "predicted_at": at(hours=hours)}
                | {"entities": of(fresh, str(i))}
                for i in range(n if hours == 3 else n // 2)
            )
        )  # fmt: skip
        line.label(*({"entity": of(fresh, str(i)), "value": i, "observed_at": at(hours=1)} for i in range(n)))
        line.settle()
    rows = line.store.query(
        "SELECT toString(state), count(), sum(value_number) FROM outcomes FINAL WHERE model = {m:String} GROUP BY 1 ORDER BY 1",
        {"m": fresh},
    )
    assert rows == [("labelled", n, float(n * (n - 1) // 2)), ("pending", n // 2, None)]
