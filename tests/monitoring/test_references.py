"""Uploaded training sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.monitoring.conftest import DAY, START, Flywheel, requests
from upshot_joiner.errors import Problem
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.read import Window, read_window
from upshot_monitoring.profiles.scales import Scales


def add(
    flywheel: Flywheel, folder: Path, columns: dict[str, Any] | pa.Table | pd.DataFrame, version: str = ""
) -> dict[str, Any]:
    file = folder / "training.parquet"
    if isinstance(columns, pd.DataFrame):
        columns.to_parquet(file)
    else:
        pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), file)
    return flywheel.monitor.add_reference(flywheel.model, file, version)


def profiles(flywheel: Flywheel, version: str | None = None) -> dict[tuple[str, str], Profile]:
    references = flywheel.monitor._references
    found = references.for_version(flywheel.model, version)
    assert found is not None
    return references.profiles(flywheel.model, found)


def test_reference_and_serving_are_profiled_alike(flywheel: Flywheel, tmp_path: Path) -> None:
    """The same rows, uploaded and served, have the same profile, feature by feature: skew is exactly 0."""
    rng = np.random.default_rng(1)
    rows = 500
    frame = {
        "feature__x": rng.normal(1000, 5, rows),
        "k": rng.integers(0, 9, rows),
        "feature__c": rng.choice(list("abc"), rows),
        "b": rng.random(rows) < 0.3,
        "vector": list(rng.normal(0, 1, (rows, 3))),
        "gaps": [None if i % 4 else float(i) for i in range(rows)],
    }
    added = add(flywheel, tmp_path, frame)
    assert sorted(added["features"]) == ["b", "c", "gaps", "k", "vector", "x"]
    served = [
        {
            "x": float(frame["feature__x"][i]),
            "k": int(frame["k"][i]),
            "c": str(frame["feature__c"][i]),
            "b": bool(frame["b"][i]),
            "vector": frame["vector"][i].tolist(),
            "gaps": frame["gaps"][i],
        }
        for i in range(rows)
    ]
    flywheel.serve(requests(flywheel.model, served))
    flywheel.roll()
    answer = flywheel.monitor.skew(flywheel.model, Asked())
    rows_of = {row["feature"]: row for row in answer["features"]}
    assert {name: (row["verdict"], row["kind"]) for name, row in rows_of.items()} == {
        "x": ("ok", "numeric"),
        "k": ("ok", "numeric"),
        "c": ("ok", "categorical"),
        "b": ("ok", "bool"),
        "vector": ("ok", "vector"),
        "gaps": ("ok", "numeric"),
    }
    for row in rows_of.values():
        assert row["statistic"] == pytest.approx(0, abs=1e-9)
        assert row["null_share_reference"] == row["null_share_current"]


def test_columns_are_sorted_by_their_names(flywheel: Flywheel, tmp_path: Path) -> None:
    """Named as in an export: identity, tags and label times are left aside; labels, prediction and score are themselves."""
    flywheel.configure(labels={"late": {"window": "1d"}})
    rows = 200
    text = ["t"] * rows
    add(
        flywheel,
        tmp_path,
        {
            "request_id": text,
            "item_id": text,
            "model": text,
            "model_version": text,
            "predicted_at": [START] * rows,
            "prediction": [i % 2 for i in range(rows)],
            "probability__1": np.linspace(0, 1, rows),
            "probability__0": np.linspace(1, 0, rows),
            "feature__prediction": [1.5] * rows,
            "plain": [1] * rows,
            "late": [i % 2 for i in range(rows)],
            "label_state__late": text,
            "label_observed_at__late": [START] * rows,
            "entity__user": text,
            "tag__a": text,
            "action": text,
            "propensity": [0.5] * rows,
            "weight": [1.0] * rows,
        },
    )
    found = profiles(flywheel)
    assert set(found) == {
        ("feature", "prediction"),
        ("feature", "plain"),
        ("label", "late"),
        ("prediction", "prediction"),
        ("score", "score"),
    }
    assert found["prediction", "prediction"].values == ("0", "1")
    assert found["label", "late"].values == ("0", "1")
    assert found["score", "score"].mean == pytest.approx(0.5)


def test_pandas_frames_of_any_type_are_read(flywheel: Flywheel, tmp_path: Path) -> None:
    """Categories, small and unsigned integers, decimals, nullable types, an index; what no feature can be is named."""
    frame = pd.DataFrame(
        {
            "category": pd.Categorical(["a", "b", None, "a"] * 50),
            "small": np.arange(200, dtype="int8") % 5,
            "huge": np.full(200, 2**63 + 1, dtype="uint64"),
            "nullable": pd.array([1, None] * 100, dtype="Int64"),
            "half": np.arange(200, dtype="float32"),
            "when": pd.Timestamp("2024-01-01"),
            "nothing": [None] * 200,
            "truth": pd.array([True, None] * 100, dtype="boolean"),
            "text": ["x"] * 200,
        },
        index=[f"row {i}" for i in range(200)],
    )
    added = add(flywheel, tmp_path, frame)
    assert [one["column"] for one in added["ignored"]] == ["when"]
    found = {name: profile for (role, name), profile in profiles(flywheel).items() if role == "feature"}
    assert {name: (p.kind, p.present, p.missing) for name, p in found.items()} == {
        "category": ("categorical", 150, 50),
        "small": ("numeric", 200, 0),
        "huge": ("numeric", 200, 0),
        "nullable": ("numeric", 100, 100),
        "half": ("numeric", 200, 0),
        "nothing": ("none", 0, 200),
        "truth": ("bool", 100, 100),
        "text": ("categorical", 200, 0),
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid_parquet"),
        (b"not parquet at all", "invalid_parquet"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", "invalid_parquet"),
        (pa.table({"x": pa.array([], pa.float64())}), "empty_reference"),
        (pa.table({"request_id": ["a"]}), "no_features"),
        (pa.table({"x": [1.0], "feature__x": [2.0]}), "duplicate_column"),
        (pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["x", "x"]), "duplicate_column"),
        (pa.table({f"f{i}": [1.0] for i in range(2001)}), "too_many_columns"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_a_reference_is_refused(flywheel: Flywheel, tmp_path: Path, content: Any, code: str) -> None:
    """A 422 with a stable code; nothing is kept."""
    file = tmp_path / "training.parquet"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        pq.write_table(content, file)
    with pytest.raises(Problem) as refused:
        flywheel.monitor.add_reference(flywheel.model, file)
    assert (refused.value.status, refused.value.code) == (422, code)
    assert flywheel.monitor.references(flywheel.model) == []


def test_a_file_that_is_cut_off_is_refused(flywheel: Flywheel, tmp_path: Path) -> None:
    """A good footer over damaged pages: refused, and the table it was read into is gone."""
    file = tmp_path / "training.parquet"
    pq.write_table(pa.table({"x": np.random.default_rng(1).normal(0, 1, 50_000)}), file)
    content = bytearray(file.read_bytes())
    content[1000:200_000] = b"\xff" * 199_000
    file.write_bytes(content)
    with pytest.raises(Problem) as refused:
        flywheel.monitor.add_reference(flywheel.model, file)
    assert refused.value.code == "invalid_parquet"
    tables = flywheel.store.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'staged\\_%'"
    )
    assert tables == []


def test_each_version_has_its_own_reference(flywheel: Flywheel, tmp_path: Path) -> None:
    """The version's own, else the newest without a version, else the newest; the same file again is the same reference."""
    first = add(flywheel, tmp_path, {"x": [1.0, 2.0]}, "1")
    assert add(flywheel, tmp_path, {"x": [1.0, 2.0]}, "1")["id"] == first["id"]
    flywheel.clock.advance(DAY)
    for_all = add(flywheel, tmp_path, {"x": [1.0, 3.0]})
    flywheel.clock.advance(DAY)
    third = add(flywheel, tmp_path, {"x": [1.0, 4.0]}, "3")
    assert [one["id"] for one in flywheel.monitor.references(flywheel.model)] == [
        third["id"],
        for_all["id"],
        first["id"],
    ]
    choose = flywheel.monitor._references.for_version
    chosen = {version: choose(flywheel.model, version) for version in ("1", "2", "3", None)}
    assert {version: one and one.id for version, one in chosen.items()} == {
        "1": first["id"],
        "2": for_all["id"],
        "3": third["id"],
        None: for_all["id"],
    }


def test_the_first_reference_sets_the_scale_and_serving_is_measured_anew(flywheel: Flywheel, tmp_path: Path) -> None:
    """Hours rolled up before the reference came are on its scale afterwards; a second reference changes nothing."""
    rng = np.random.default_rng(2)
    x = rng.normal(0, 100, 1500)
    flywheel.serve(requests(flywheel.model, [{"x": float(v)} for v in x]))
    flywheel.roll()
    add(flywheel, tmp_path, {"x": rng.normal(0, 1, 3000)}, "1")
    flywheel.roll()
    scales = Scales(flywheel.store)
    pinned = scales.read(flywheel.model)["feature", "x"]
    assert pinned.source == "reference"
    assert pinned.scale == pytest.approx(1, abs=0.1)
    window = Window(flywheel.model, START, START + DAY)
    assert read_window(flywheel.store, scales, window)["feature", "x"].n == 1500
    add(flywheel, tmp_path, {"x": rng.normal(0, 9, 3000)}, "2")
    assert scales.read(flywheel.model)["feature", "x"] == pinned
    found = profiles(flywheel, "2")["feature", "x"]
    assert found.scale.scale_id == pinned.scale_id
    assert found.std == pytest.approx(9, rel=0.05)
