"""Training sets, models, and the turn from one to the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from upshot_server.demo import flights as year
from upshot_server.demo.features import ARCHIVE_FEATURES, SERVED_FEATURES, Value
from upshot_server.demo.model import LateModel, Trained, train
from upshot_server.demo.next_round import judge, on_the_same_flights, skew_of, train_next, weather_skew
from upshot_server.demo.planes import Planes
from upshot_server.demo.training import TrainingSet, from_archives, from_export, read_export, write_reference
from upshot_server.demo.weather import Reading, Weather


@pytest.fixture(scope="module")
def winter() -> TrainingSet:
    """4,000 flights of January to March."""
    flights = year.as_flights(year.sample(year.of_months(year.load(), 1, 3), 4_000, seed=1))
    return from_archives(flights, Weather.load(), Planes.load())


@pytest.fixture(scope="module")
def trained(winter: TrainingSet) -> Trained:
    return train(winter.columns, winter.labels, ARCHIVE_FEATURES, seed=1)


def export_rows(rows: TrainingSet, version: str, states: list[str]) -> pa.Table:
    """Rows in the shape of an export (design §3.6): the label is null where the state is not ``labelled``."""
    start = datetime(2013, 7, 1, 4, 30, tzinfo=UTC)
    table: dict[str, pa.Array] = {
        "request_id": pa.array([f"r{row}" for row in range(len(rows))]),
        "model_version": pa.array([version] * len(rows)),
        "predicted_at": pa.array(
            [start + timedelta(minutes=row) for row in range(len(rows))], pa.timestamp("us", "UTC")
        ),
        "prediction": pa.array(np.linspace(0, 1, len(rows))),
        "label__late": pa.array(
            [late if state == "labelled" else None for late, state in zip(rows.labels, states, strict=True)]
        ),
        "label_state__late": pa.array(states),
    }
    return pa.table(table | {f"feature__{name}": pa.array(rows.columns[name]) for name in SERVED_FEATURES})


def test_a_training_set_has_every_flight_whose_arrival_is_known(winter: TrainingSet) -> None:
    assert 3_700 < len(winter) < 4_000
    assert set(winter.columns) == set(SERVED_FEATURES)
    assert {len(column) for column in winter.columns.values()} == {len(winter)}
    assert 0.15 < np.mean(winter.labels) < 0.3


def test_the_model_has_learned_something(winter: TrainingSet, trained: Trained) -> None:
    """Held-out AUC on winter flights is 0.63 to 0.70: punctuality is hard to foresee, and not impossible."""
    assert 0.60 < roc_auc_score(winter.labels, trained.held_out) < 0.75


def test_one_board_or_many_give_a_flight_the_same_probability(winter: TrainingSet, trained: Trained) -> None:
    together = trained.model.probabilities(winter.columns)
    for row in (0, 17, 3_000):
        alone = trained.model.probabilities({name: [column[row]] for name, column in winter.columns.items()})
        assert alone[0] == together[row]


def test_a_model_survives_its_file_bit_by_bit(winter: TrainingSet, trained: Trained, tmp_path: Path) -> None:
    trained.model.save(tmp_path / "m.joblib")
    loaded = LateModel.load(tmp_path / "m.joblib")
    assert (loaded.probabilities(winter.columns) == trained.model.probabilities(winter.columns)).all()


def test_an_unknown_carrier_counts_as_missing(winter: TrainingSet, trained: Trained) -> None:
    row: dict[str, list[Value]] = {name: [column[0]] for name, column in winter.columns.items()}
    unknown, missing = (trained.model.probabilities(row | {"carrier": [value]})[0] for value in ("ZZ", None))
    assert unknown == missing


def test_the_reference_is_named_and_typed_like_an_export(winter: TrainingSet, trained: Trained, tmp_path: Path) -> None:
    write_reference(tmp_path / "r.parquet", winter, trained.model.features, trained.held_out)
    table = pq.read_table(tmp_path / "r.parquet")
    assert table.num_rows == len(winter)
    assert table.column_names == [*(f"feature__{name}" for name in ARCHIVE_FEATURES), "prediction", "label__late"]
    kinds = {
        name: str(table.schema.field(f"feature__{name}").type) for name in ("carrier", "hour", "is_weekend", "temp")
    }
    assert kinds == {"carrier": "string", "hour": "int64", "is_weekend": "bool", "temp": "double"}
    assert table["label__late"].to_pylist() == winter.labels


def test_only_labelled_rows_of_the_version_are_learned_from(winter: TrainingSet, tmp_path: Path) -> None:
    """A pending flight and one that was cancelled have no outcome; the shadow's rows are other answers to the same
    questions."""
    states = ["labelled"] * len(winter)
    states[3], states[5] = "pending", "pending"
    for version in ("1", "2"):
        pq.write_table(export_rows(winter, version, states), tmp_path / f"part-{version}.parquet")
    export = read_export(tmp_path, ["part-1.parquet", "part-2.parquet"], "1")
    assert export.num_rows == len(winter)
    rows = from_export(export)
    assert len(rows) == len(winter) - 2
    assert rows.labels == [late for row, late in enumerate(winter.labels) if row not in (3, 5)]
    assert rows.columns["carrier"][3] == winter.columns["carrier"][4]


def test_the_next_round_learns_the_live_features_and_the_control_does_not(winter: TrainingSet) -> None:
    found = train_next(export_rows(winter, "1", ["labelled"] * len(winter)), seed=1)
    assert found.trained.model.features == SERVED_FEATURES
    assert found.without_live.features == ARCHIVE_FEATURES


def test_two_versions_are_compared_on_the_flights_that_both_answered(winter: TrainingSet) -> None:
    """Rows in another order, one row missing on each side, one label not in: what remains is matched by request ID."""
    states = ["labelled"] * len(winter)
    states[7] = "pending"
    first = export_rows(winter, "1", states).slice(1)
    second = export_rows(winter, "2", states).slice(0, len(winter) - 1)
    second = second.take(list(reversed(range(second.num_rows))))
    one, two = on_the_same_flights(first, second)
    assert one["request_id"].to_pylist() == two["request_id"].to_pylist()
    assert one.num_rows == len(winter) - 3
    assert judge(one, two).difference.value == 0.0


def test_weather_skew_counts_the_rows_that_differ() -> None:
    found = skew_of([70.0, 71.0, None, 5.0, None], [70.0, 73.0, 4.0, 4.0, None])
    assert found.rows == 5
    assert found.different == pytest.approx(3 / 5)
    assert found.mean_difference == pytest.approx(1.0)


def test_weather_skew_looks_the_archive_up_at_the_moment_of_the_prediction() -> None:
    hour = int(datetime(2013, 7, 1, 4, tzinfo=UTC).timestamp()) // 3600
    archive = Weather({("JFK", hour): Reading(temp=70.0), ("JFK", hour + 1): Reading(temp=80.0)})
    columns: dict[str, list[Value]] = dict.fromkeys(SERVED_FEATURES, [None] * 60)
    columns |= {"origin": ["JFK"] * 60, "temp": [70.0] * 60}
    found = weather_skew(export_rows(TrainingSet(dict(columns), [0] * 60), "1", ["labelled"] * 60), archive)
    assert found["temp"].different == pytest.approx(0.5)
    assert found["temp"].mean_difference == pytest.approx(5.0)
