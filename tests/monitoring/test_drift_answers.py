"""Drift, skew and the trend of a feature, over what was served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from upshot_joiner.errors import Problem
from upshot_monitoring.drift.baselines import Asked

FIELDS = {
    "feature", "role", "kind", "baseline", "baseline_id", "method", "statistic", "threshold", "direction", "p_value",
    "adjusted_p_value", "verdict", "reason", "rows_reference", "rows_current",
    "null_share_reference", "null_share_current", "statistics",
}  # fmt: skip


def serve_days(
    flywheel: Flywheel, shifts: list[float], *, per_day: int = 300, start_day: int = 0, **common: Any
) -> None:
    """One day after the other, x shifted by each day's shift."""
    rng = np.random.default_rng(start_day + 1)
    for day, shift in enumerate(shifts, start_day):
        flywheel.serve(
            {
                "request_id": f"{flywheel.model}-{day}-{i}",
                "features": {
                    "x": float(rng.normal(shift, 1)),
                    "c": str(rng.choice(["a", "b"])),
                    "late": None if i % 2 else 1.0,
                },
                "prediction": float(rng.beta(2, 5)),
                "at": START + day * DAY + i * (DAY / per_day),
                **common,
            }
            for i in range(per_day)
        )
    flywheel.roll()


def add_reference(flywheel: Flywheel, folder: Path, version: str = "", **columns: Any) -> None:
    rng = np.random.default_rng(0)
    rows = 2_000
    training = {
        "x": rng.normal(0, 1, rows),
        "c": rng.choice(["a", "b"], rows),
        "late": [None, 1.0] * (rows // 2),
    } | columns
    pq.write_table(pa.table(training), folder / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, folder / "training.parquet", version)
    flywheel.roll()


def by_name(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["feature"]: row for row in answer["features"]}


def test_the_default_window_is_the_last_served_day_against_the_reference(flywheel: Flywheel, tmp_path: Path) -> None:
    """A shift on the last day is seen; the earlier days are not in the window."""
    add_reference(flywheel, tmp_path)
    serve_days(flywheel, [0, 0, 1.0])
    answer = flywheel.monitor.drift(flywheel.model, Asked())
    assert answer["baseline"] == "reference"
    assert answer["window"] == {"start": START + 2 * DAY, "end": START + 3 * DAY}
    rows = by_name(answer)
    assert all(set(row) == FIELDS for row in rows.values())
    assert rows["x"]["verdict"] == "drift"
    assert rows["x"]["statistic"] == pytest.approx(1, abs=0.15)
    assert (rows["x"]["rows_reference"], rows["x"]["rows_current"]) == (2000, 300)
    assert rows["c"]["verdict"] == rows["late"]["verdict"] == "ok"
    assert answer["features"][0]["feature"] == "x"
    assert answer["drifted_share"] == pytest.approx(1 / 3)
    assert flywheel.monitor.health(flywheel.model)["status"] == "warning"


def test_the_window_follows_the_clock(flywheel: Flywheel, tmp_path: Path) -> None:
    """On a replayed clock, what lies in its future does not count as now."""
    add_reference(flywheel, tmp_path)
    serve_days(flywheel, [0, 0, 5.0])
    flywheel.clock.set(START + 2 * DAY - HOUR / 2)
    answer = flywheel.monitor.drift(flywheel.model, Asked())
    assert answer["window"]["end"] == START + 2 * DAY
    assert by_name(answer)["x"]["verdict"] == "ok"


def test_baselines(flywheel: Flywheel, tmp_path: Path) -> None:
    """The window before, and the same window a week ago, by question or configuration."""
    serve_days(flywheel, [0, 0, 0, 0, 0, 0, 2.0, 2.0])
    last_week = flywheel.monitor.drift(flywheel.model, Asked(baseline="last_week"))
    assert last_week["baseline_detail"] == {"start": START, "end": START + DAY}
    assert by_name(last_week)["x"]["verdict"] == "drift"
    previous = flywheel.monitor.drift(flywheel.model, Asked(baseline="previous"))
    assert previous["baseline_detail"]["start"] == START + 6 * DAY
    assert by_name(previous)["x"]["verdict"] != "drift"
    flywheel.configure(drift={"baseline": "last_week", "window": "1d"})
    assert flywheel.monitor.drift(flywheel.model, Asked())["baseline"] == "last_week"


def test_without_a_reference_drift_says_what_it_compared_with(flywheel: Flywheel) -> None:
    """The default falls back to the window before and says so; skew and an explicit question do not."""
    serve_days(flywheel, [0, 2.0])
    answer = flywheel.monitor.drift(flywheel.model, Asked())
    assert answer["baseline"] == "previous"
    assert "no reference" in answer["note"]
    assert by_name(answer)["x"]["verdict"] == "drift"
    for silent in (
        flywheel.monitor.skew(flywheel.model, Asked()),
        flywheel.monitor.drift(flywheel.model, Asked(baseline="reference")),
    ):
        assert silent["baseline"] == "reference"
        assert {row["verdict"] for row in silent["features"]} == {"no_verdict"}
        assert silent["drifted_share"] is None
        assert "no reference" in silent["features"][0]["reason"]


def test_skew_names_what_only_one_side_has(flywheel: Flywheel, tmp_path: Path) -> None:
    """A feature of training that is not served, one that is new, one of another type; a label column is no feature."""
    flywheel.configure(labels={"y": {"window": "1h"}})
    rows = 2_000
    add_reference(flywheel, tmp_path, forgotten=np.arange(rows), y=np.arange(rows) % 2, c=np.arange(rows) % 2)
    serve_days(flywheel, [0], per_day=200)
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-n{i}",
            "features": {"x": 0.0, "c": "a", "late": 1.0, "fresh": i},
            "at": START + 23 * HOUR,
        }
        for i in range(200)
    )
    flywheel.roll()
    rows_of = by_name(flywheel.monitor.skew(flywheel.model, Asked()))
    assert (rows_of["forgotten"]["verdict"], rows_of["forgotten"]["statistic"]) == ("drift", None)
    assert "not served" in rows_of["forgotten"]["reason"]
    assert (rows_of["fresh"]["verdict"], rows_of["fresh"]["reason"]) == ("no_verdict", "new: not in the reference")
    assert "type changed" in rows_of["c"]["reason"]
    assert "missing values 50% -> " in rows_of["late"]["reason"]
    assert "y" not in rows_of


def test_score_and_label_are_watched_but_do_not_count_as_features(flywheel: Flywheel) -> None:
    """The score drifts like a feature does; labels only when their window has closed."""
    flywheel.configure(labels={"y": {"window": "1d"}})
    serve_days(flywheel, [0, 0])
    ids = [f"{flywheel.model}-{day}-{i}" for day in (0, 1) for i in range(300)]
    flywheel.label({one: int(n >= 300 or n % 10 == 0) for n, one in enumerate(ids)})
    flywheel.roll()
    answer = flywheel.monitor.drift(flywheel.model, Asked(baseline="previous"))
    rows = by_name(answer)
    assert (rows["score"]["role"], rows["score"]["kind"], rows["score"]["verdict"]) == ("score", "numeric", "ok")
    assert "prediction" not in rows
    assert (rows["y"]["role"], rows["y"]["verdict"]) == ("label", "drift")
    assert (
        answer["judged"]
        == sum(row["role"] == "feature" and row["verdict"] != "no_verdict" for row in answer["features"])
        <= 3
    )
    flywheel.clock.set(START + 2 * DAY + HOUR)
    y = by_name(flywheel.monitor.drift(flywheel.model, Asked(baseline="previous")))["y"]
    assert (y["verdict"], y["reason"]) == ("no_verdict", "the labels of this window are still coming in")


def test_versions_are_compared_with_their_own_reference(flywheel: Flywheel, tmp_path: Path) -> None:
    """Version 2 was trained on shifted data: against its own training it does not drift."""
    add_reference(flywheel, tmp_path, "1")
    add_reference(flywheel, tmp_path, "2", x=np.random.default_rng(1).normal(3, 1, 2_000))
    serve_days(flywheel, [3.0], model_version="1")
    serve_days(flywheel, [3.0], model_version="2")
    verdicts = {
        version: by_name(flywheel.monitor.skew(flywheel.model, Asked(version=version)))["x"]["verdict"]
        for version in ("1", "2")
    }
    assert verdicts == {"1": "drift", "2": "ok"}


def test_a_feature_has_a_trend_and_two_distributions(flywheel: Flywheel, tmp_path: Path) -> None:
    """Day by day the statistic and the figures; bars whose shares add up to 1 on both sides."""
    add_reference(flywheel, tmp_path)
    serve_days(flywheel, [0, 0.5, 2.0])
    found = flywheel.monitor.feature(flywheel.model, "x", Asked())
    assert [window["start"] for window in found["windows"]] == [START, START + DAY, START + 2 * DAY]
    assert [window["verdict"] for window in found["windows"]] == ["ok", "drift", "drift"]
    assert found["windows"][2]["mean"] == pytest.approx(2, abs=0.2)
    for side in ("reference", "current"):
        bars = found["histogram"][side]
        assert sum(share for _, _, share in bars) == pytest.approx(1)
        assert all(low < high for low, high, _ in bars)
    assert found["current"]["quantiles"]["p50"] == pytest.approx(2, abs=0.2)
    classes = flywheel.monitor.feature(flywheel.model, "c", Asked())
    assert dict(classes["histogram"]["reference"]).keys() == {"a", "b"}
    assert flywheel.monitor.feature(flywheel.model, "score", Asked())["role"] == "score"
    with pytest.raises(Problem) as unknown:
        flywheel.monitor.feature(flywheel.model, "never seen", Asked())
    assert (unknown.value.status, unknown.value.code) == (404, "unknown_feature")


def test_a_feature_named_like_the_score_is_told_apart(flywheel: Flywheel) -> None:
    """Names of features are opaque; one may be called score, or hold dots and quotes."""
    name = "score'); DROP TABLE profiles; --"
    flywheel.serve(
        {"request_id": f"{flywheel.model}-{i}", "features": {"score": "word", name: i, "a.b": 1.0}, "prediction": 0.5}
        for i in range(150)
    )
    flywheel.roll()
    rows = by_name(flywheel.monitor.drift(flywheel.model, Asked()))
    assert set(rows) == {"score", "score (score)", name, "a.b"}
    assert flywheel.monitor.feature(flywheel.model, "score", Asked())["kind"] == "categorical"
    assert flywheel.monitor.feature(flywheel.model, "score (score)", Asked())["kind"] == "numeric"
    assert flywheel.monitor.feature(flywheel.model, name, Asked())["current"]["max"] == 149


def test_a_model_that_never_served_has_empty_answers(flywheel: Flywheel) -> None:
    """Configured, but nothing served: no failure anywhere."""
    flywheel.configure(labels={"y": {"window": "1d"}})
    flywheel.roll()
    assert flywheel.monitor.drift(flywheel.model, Asked())["features"] == []
    assert flywheel.monitor.skew(flywheel.model, Asked())["features"] == []
    assert flywheel.monitor.health(flywheel.model)["status"] == "unknown"
    assert flywheel.monitor.references(flywheel.model) == []


def test_broken_columns_never_break_the_answer(flywheel: Flywheel, tmp_path: Path) -> None:
    """All null, constant, infinite, all new, mixed types, enormous: one row each, and numbers that JSON can hold."""
    rows = 2_000
    add_reference(
        flywheel,
        tmp_path,
        nothing=[None] * rows,
        constant=[7.0] * rows,
        infinite=[float("inf")] * rows,
        enormous=np.where(np.arange(rows) % 2, 1e308, -1e308),
        mixed=np.arange(rows),
    )
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-{i}",
            "features": {
                "nothing": None, "constant": 7, "infinite": float("inf"), "enormous": 1e308 if i % 3 else -1e308, "new": i,
                "mixed": [i, str(i), bool(i % 2), None][i % 4], "nested": {"a": [i]},
            },
        }
        for i in range(400)
    )  # fmt: skip
    flywheel.roll()
    answer = flywheel.monitor.skew(flywheel.model, Asked())
    found = by_name(answer)
    assert {"nothing", "constant", "infinite", "enormous", "new", "mixed", "nested"} <= set(found)
    assert found["constant"]["verdict"] == "ok"
    for row in answer["features"]:
        assert row["verdict"] in ("ok", "drift", "no_verdict")
        assert row["statistic"] is None or np.isfinite(row["statistic"])
        assert flywheel.monitor.feature(flywheel.model, row["feature"], Asked())["kind"] == row["kind"]


def test_regression_what_is_not_rolled_up_yet_is_not_called_missing(flywheel: Flywheel, tmp_path: Path) -> None:
    """The first rows, and those whose scale a new reference has just changed, were told as features that are not served."""
    rng = np.random.default_rng(3)
    rows = [
        {"request_id": f"{flywheel.model}-{i}", "features": {"x": float(x)}} for i, x in enumerate(rng.normal(size=400))
    ]
    add_reference(flywheel, tmp_path, x=rng.normal(size=2_000))
    flywheel.serve(rows)

    def said() -> tuple[str, str | None]:
        [row] = [one for one in flywheel.monitor.skew(flywheel.model, Asked())["features"] if one["feature"] == "x"]
        assert flywheel.monitor.feature(flywheel.model, "x", Asked())["verdict"] == row["verdict"]
        return row["verdict"], row["reason"]

    assert said() == ("no_verdict", "nothing of this window is rolled up yet")
    flywheel.roll()
    assert said()[0] == "ok"
    flywheel.store.command(  # as while the profiles of the hour are written again on another scale
        "INSERT INTO profiles SELECT * REPLACE (scale_id + 1 AS scale_id, 1 AS n) FROM profiles FINAL "
        "WHERE model = {m:String} AND feature = 'x'",
        {"m": flywheel.model},
    )
    add_reference(flywheel, tmp_path, x=rng.normal(size=2_000), z=rng.normal(size=2_000))
    [row] = [one for one in flywheel.monitor.skew(flywheel.model, Asked())["features"] if one["feature"] == "z"]
    assert (row["verdict"], row["reason"]) == ("no_verdict", "the profiles are being rolled up again on a new scale")
