"""The SQL fold equals the plain-Python rule on generated histories."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from upshot.wire import LabelEvent, Prediction
from upshot_joiner.clock import to_micros
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.intake.check import check_label, check_prediction, scalar_from_parts
from upshot_joiner.join import few, fold, orphans, singles
from upshot_joiner.join.rule import Event, Outcome
from upshot_joiner.join.rule import fold as oracle
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, request_key

_numbers = itertools.count()
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)
PREDICTED = MIDNIGHT - timedelta(minutes=30)

values = st.one_of(
    st.integers(-3, 3),
    st.floats(-2, 2, width=16),
    st.booleans(),
    st.sampled_from(["", "yes", "1", "no"]),
)
events = st.builds(
    Event,
    label_id=st.sampled_from("abcdefgh"),
    op=st.sampled_from(["set", "set", "set", "retract"]),
    value=values,
    observed_at=st.integers(-2, 4).map(lambda h: PREDICTED + timedelta(hours=h)),
    source=st.sampled_from(["", "analyst", "feed"]),
)
rules = st.builds(
    LabelConfig,
    window=st.just(timedelta(hours=2)),
    combine=st.sampled_from(["first", "last", "sum", "mean", "min", "max", "majority", "count"]),
    late=st.sampled_from(["accept", "reject"]),
    source_priority=st.sampled_from([[], ["analyst"], ["analyst", "feed"], ["feed", "analyst"]]),
)


def store_history(store: Store, model: str, histories: list[list[Event]], repeats: int) -> list[str]:
    """Store one prediction per history and its events, in blocks of two, each block ``repeats`` times."""
    ids = [f"{model}-{i}" for i in range(len(histories))]
    predictions = [
        check_prediction(Prediction(request_id=i, model=model, predicted_at=PREDICTED.timestamp())) for i in ids
    ]
    store.insert("predictions", rows.spine_block(predictions, to_micros(MIDNIGHT)))
    labels = []
    for request_id, history in zip(ids, histories, strict=True):
        seen: dict[str, Event] = {}
        for event in history:
            seen.setdefault(event.label_id, event)
        labels += [
            check_label(
                LabelEvent(
                    request_id=request_id,
                    op=event.op,
                    value=event.value if event.op == "set" else None,
                    observed_at=event.observed_at.timestamp(),
                    source=event.source,
                    label_id=event.label_id,
                )
            )
            for event in seen.values()
        ]
    for start in range(0, len(labels), max(2, len(labels) // 3)):
        block = rows.label_block(labels[start : start + max(2, len(labels) // 3)], to_micros(MIDNIGHT) + start)
        for _ in range(repeats):
            store.insert("label_events", block)
    return ids


def outcomes_in_sql(store: Store, model: str, config: ModelConfig) -> dict[str, Outcome]:
    """What the SQL fold says, by request ID."""
    table = fold.fold(store, fold.SPINE_OF_MODEL, fold.EVENTS_OF_MODEL, {model: config}, {"model": model})
    result = {}
    for row in table.to_pylist():
        assert row["request_id"] not in result, "one row per prediction"
        result[row["request_id"]] = Outcome(
            row["state"], scalar_from_parts(row["value_kind"], row["value_text"]), row["observed_at"]
        )
    return result


@settings(
    max_examples=examples(15),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking through a database takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(events, max_size=7), min_size=25, max_size=25), rules, st.integers(1, 2))
def test_the_sql_fold_equals_the_rule(
    store: Store, histories: list[list[Event]], label_rules: LabelConfig, repeats: int
) -> None:
    """Any history, under any rule, repeated and split into blocks: outcomes in SQL are those of rule.py."""
    model = f"fold-{next(_numbers)}"
    config = ModelConfig(labels={"label": label_rules})
    ids = store_history(store, model, histories, repeats)
    got = outcomes_in_sql(store, model, config)
    keys = Keys(map(request_key, ids))
    of_few = few.fold_few(store, lambda _: config, keys)
    assert of_few.outcomes.schema == few.SCHEMA
    of_many = fold.fold(store, fold.SPINE_OF_BATCH, fold.EVENTS_OF_BATCH, {model: config}, keys=keys)
    assert same(of_few.outcomes, of_many)
    of_batch = singles.fold_batch(
        store,
        keys,
        lambda _: config,
        lambda rest: fold.fold(store, fold.SPINE_OF_BATCH, fold.EVENTS_OF_BATCH, {model: config}, keys=rest),
    )
    assert same(of_few.outcomes, of_batch.outcomes)
    assert of_batch.events == []
    assert orphans.events_of_batch(store, keys) == []
    assert not any(event.waiting for event in of_few.events)
    for request_id, history in zip(ids, histories, strict=True):
        first: dict[str, Event] = {}
        for event in history:
            first.setdefault(event.label_id, event)
        expected = oracle(first.values(), PREDICTED, label_rules)
        found = got.get(request_id, Outcome("pending"))
        if label_rules.combine in ("sum", "mean") and isinstance(expected.value, float):
            assert found.value == pytest.approx(expected.value)
            expected = Outcome(expected.state, found.value, expected.observed_at)
        assert found == expected
        assert type(found.value) is type(expected.value)


def same(left: pa.Table, right: pa.Table) -> bool:
    """The same outcomes, in any order; computed numbers to twelve digits."""

    def plain(table: pa.Table) -> list[tuple[object, ...]]:
        table = table.select(few.SCHEMA.names).cast(few.SCHEMA)
        found = []
        for row in table.to_pylist():
            if row["value_number"] is not None:
                row["value_number"] = float(f"{row['value_number']:.12g}") + 0.0  # -0.0 is 0.0
            if row["value_kind"] == "float":
                row["value_text"] = f"{float(row['value_text']) + 0.0:.12g}"
            found.append(tuple(row.values()))
        return sorted(found, key=repr)

    return plain(left) == plain(right)


def test_every_request_with_events_has_one_outcome_and_others_none(store: Store, fresh: str) -> None:
    """The fold returns rows only where label events are known."""
    one = [Event("a", "set", 0, PREDICTED)]
    ids = store_history(store, fresh, [one, [], one], 1)
    got = outcomes_in_sql(store, fresh, ModelConfig())
    assert {i: got[i].value for i in got} == {ids[0]: 0, ids[2]: 0}


def test_the_fold_of_a_batch_touches_only_its_keys(store: Store, fresh: str) -> None:
    """Cost and result follow the keys of the batch, not the history."""
    one = [Event("a", "set", 1, PREDICTED)]
    ids = store_history(store, fresh, [one] * 10, 1)
    keys = Keys([request_key(ids[3])])
    found = fold.fold(store, fold.SPINE_OF_BATCH, fold.EVENTS_OF_BATCH, {}, keys=keys)
    assert found["request_id"].to_pylist() == [ids[3]]
