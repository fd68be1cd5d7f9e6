"""Multivariate drift over the store: samples of both sides, the worker process, kept verdicts, what an alert reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_limits

from tests.monitoring.alerts.test_readings import outcome
from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from tests.waiting import eventually
from upshot_joiner.errors import Problem
from upshot_monitoring.drift.kept import AskedKept
from upshot_monitoring.multivariate import jobs as module
from upshot_monitoring.multivariate import worker
from upshot_monitoring.multivariate.grouping import groups_of
from upshot_monitoring.multivariate.jobs import MultivariateDrifts
from upshot_monitoring.multivariate.prepare import CannotCompare
from upshot_monitoring.multivariate.question import read
from upshot_monitoring.multivariate.table import table_of
from upshot_monitoring.worker_process import MAX_STDERR_BYTES

LATER = START + DAY + HOUR
BOTH = ["domain_classifier", "pca_reconstruction"]


def pair(rng: np.random.Generator, correlation: float, rows: int) -> Any:
    return rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], rows)


def add_reference(flywheel: Flywheel, folder: Path, correlation: float = 0.9, rows: int = 700, **columns: Any) -> None:
    rng = np.random.default_rng(0)
    made = pair(rng, correlation, rows)
    training = {"a": made[:, 0], "b": made[:, 1], "c": rng.choice(["x", "y"], rows), **columns}
    pq.write_table(pa.table(training), folder / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, folder / "training.parquet")
    flywheel.roll()


def serve(flywheel: Flywheel, correlation: float, rows: int = 600, **more: Any) -> None:
    rng = np.random.default_rng(1)
    made = pair(rng, correlation, rows)
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-{i}",
            "features": {
                "a": float(made[i, 0]), "b": float(made[i, 1]), "c": str(rng.choice(["x", "y"])),
                **{name: values[i] for name, values in more.items()},
            },
            "at": START + i * (DAY / rows),
        }
        for i in range(rows)
    )  # fmt: skip
    flywheel.roll()


def compared(flywheel: Flywheel, folder: Path, **request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the samples are about and what the worker makes of them, in this process."""
    question = read(request, flywheel.configs.get(flywheel.model).drift)
    about = flywheel.monitor._multivariate._prepare(flywheel.model, question, folder)
    with threadpool_limits(1):  # as in its own process
        worker.compare(folder)
    return about, json.loads((folder / "result.json").read_text("utf-8"))


@pytest.fixture
def drifts(flywheel: Flywheel, tmp_path: Path) -> Iterator[MultivariateDrifts]:
    """The monitor's own comparisons, with a thread."""
    made = flywheel.monitor._multivariate
    made._closing.clear()
    made.start()
    yield made
    made._queue.put(None)
    assert made._thread is not None
    made._thread.join(60)


def finished(drifts: MultivariateDrifts, id_: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = drifts.get(id_)
        return found if found["status"] in ("done", "failed") else None

    found = eventually(look, timeout_s=200)
    assert found is not None
    return found


def test_a_closed_window_is_judged_once_and_its_verdicts_are_kept_and_read_by_alerts(
    flywheel: Flywheel, drifts: MultivariateDrifts, tmp_path: Path
) -> None:
    """A correlation that breaks: both methods say drift, and no feature does; in /verdicts, and for a rule."""
    flywheel.clock.set(LATER)
    flywheel.configure(drift={"multivariate": BOTH})
    add_reference(flywheel, tmp_path)
    serve(flywheel, 0.0)
    assert outcome(flywheel, "drift.multivariate > 0").why_unknown == "no closed window was judged yet"
    assert flywheel.monitor.give_multivariate(flywheel.model) == 1
    assert flywheel.monitor.give_multivariate(flywheel.model) == 0, "while it waits, it is not asked for again"
    kept = eventually(
        lambda: flywheel.monitor.verdicts(flywheel.model, AskedKept(role="multivariate")) or None, timeout_s=200
    )
    eventually(lambda: flywheel.monitor.multivariates(flywheel.model)[0]["status"] == "done", timeout_s=30)
    assert flywheel.monitor.give_multivariate(flywheel.model) == 0, "and not after it was judged"
    assert [(one["feature"], one["verdict"]) for one in kept] == [(name, "drift") for name in BOTH]
    [reference] = flywheel.monitor.references(flywheel.model)
    assert {(one["baseline"], one["baseline_id"]) for one in kept} == {("reference", reference["id"])}
    assert {(one["window_start"], one["window_end"]) for one in kept} == {(START, START + DAY)}
    assert {(one["rows_reference"], one["rows_current"], one["tested"]) for one in kept} == {(700, 600, 2)}
    assert flywheel.monitor.give_verdicts(flywheel.model) == 3, "features are judged by themselves"
    of_features = flywheel.monitor.verdicts(flywheel.model, AskedKept(role="feature"))
    assert "drift" not in {one["verdict"] for one in of_features}
    assert {one["role"] for one in flywheel.monitor.verdicts(flywheel.model, AskedKept())} == {
        "feature",
        "multivariate",
    }
    told = outcome(flywheel, "drift.multivariate > 1").describe()
    assert (told["value"], told["columns"]) == (2.0, BOTH)
    assert told["window"] == {"start": START, "end": START + DAY}
    flywheel.configure()
    assert outcome(flywheel, "drift.multivariate > 0").why_unknown == "drift.multivariate is not configured"


def test_a_window_that_is_open_or_just_closed_is_not_judged_yet(flywheel: Flywheel, tmp_path: Path) -> None:
    """Its last rows are on their way; and a model that is not configured so is never judged."""
    flywheel.configure(drift={"multivariate": BOTH})
    add_reference(flywheel, tmp_path)
    serve(flywheel, 0.9, 200)
    for now in (START + DAY - HOUR, START + DAY + HOUR / 20):
        flywheel.clock.set(now)
        assert flywheel.monitor.give_multivariate(flywheel.model) == 0
    flywheel.configure()
    flywheel.clock.set(LATER)
    assert flywheel.monitor.give_multivariate(flywheel.model) == 0


def test_a_window_that_cannot_be_compared_has_no_verdict_and_the_reason(
    flywheel: Flywheel, drifts: MultivariateDrifts, tmp_path: Path
) -> None:
    """The file of the reference is gone: kept as such, known to rules as unknown, and not tried again and again."""
    flywheel.clock.set(LATER)
    flywheel.configure(drift={"multivariate": ["domain_classifier"]})
    add_reference(flywheel, tmp_path, rows=200)
    serve(flywheel, 0.9, 200)
    for file in flywheel.monitor._references._folder.glob("*.parquet"):
        if file.stem == flywheel.monitor.references(flywheel.model)[0]["id"]:
            file.unlink()
    assert flywheel.monitor.give_multivariate(flywheel.model) == 1
    [kept] = eventually(
        lambda: flywheel.monitor.verdicts(flywheel.model, AskedKept(role="multivariate")) or None, timeout_s=60
    )
    assert (kept["verdict"], kept["statistic"]) == ("no_verdict", None)
    assert "another one took its upload" in kept["reason"]
    eventually(lambda: not drifts.waiting(flywheel.model))
    assert flywheel.monitor.give_multivariate(flywheel.model) == 0
    assert "another one took its upload" in str(outcome(flywheel, "drift.multivariate > 0").why_unknown)


def test_both_sides_are_the_same_numbers_wherever_they_come_from(flywheel: Flywheel, tmp_path: Path) -> None:
    """The very rows that were served, uploaded as the reference: every column of both sides has the same values."""
    rng = np.random.default_rng(2)
    rows = 150
    values = {
        "n": [None if i % 9 == 0 else float(x) for i, x in enumerate(rng.normal(size=rows))],
        "odd": [float("inf") if i % 5 == 0 else float("nan") if i % 7 == 0 else 1e300 if i == 1 else i / 3 for i in range(rows)],
        "flag": [bool(i % 3) if i % 4 else None for i in range(rows)],
        "text": [["é" * 30, "é" * 30 + "!", "short", None][i % 4] for i in range(rows)],
        "v": [rng.normal(size=70).tolist() if i % 6 else [1.0, 2.0] for i in range(rows)],
    }  # fmt: skip
    serve(flywheel, 0.9, rows, **values)
    made = pair(np.random.default_rng(1), 0.9, rows)
    training = {"a": made[:, 0], "b": made[:, 1], "c": ["x", "y"] * (rows // 2), **values}
    pq.write_table(pa.table(training), tmp_path / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, tmp_path / "training.parquet")
    about, _ = compared(flywheel, tmp_path, methods=["domain_classifier"])
    assert about["rows"] == {"reference": rows, "current": rows}
    reference, current = (pq.read_table(tmp_path / f"{side}.parquet") for side in ("reference", "current"))
    names = json.loads((tmp_path / "request.json").read_text())["features"]
    table = table_of(reference, current, names, (reference["group"].to_numpy(), current["group"].to_numpy()))
    sides = table.sides
    same = [i for i, feature in enumerate(sides.feature_of) if sides.features[feature] != "c"]
    np.testing.assert_allclose(sides.rows[:rows, same], sides.rows[rows:, same], rtol=1e-14)
    assert len(same) == 2 + 1 + 1 + 1 + 1 + 65
    assert {"feature": "v", "reason": "only its norm and its first 64 dimensions are looked at"} in table.left_out


def test_broken_features_are_left_out_and_named_and_fail_nothing(flywheel: Flywheel, tmp_path: Path) -> None:
    """All null, constant, another type, many categories, absent on one side, asked to be left out: the rest is compared."""
    rows, training = 200, 240
    add_reference(
        flywheel,
        tmp_path,
        rows=training,
        gone=[1.0] * training,
        nulls=[None] * training,
        now_null=np.arange(training) / 7,
        constant=[5] * training,
        type=np.arange(training) / 3,
        ids=[f"u{i}" for i in range(training)],
        mixed=np.arange(training) / 5,
        clock=np.arange(training),
    )
    serve(
        flywheel,
        0.9,
        rows,
        nulls=[None] * rows,
        now_null=[None] * rows,
        constant=[5] * rows,
        type=[str(i) for i in range(rows)],
        ids=[f"w{i}" for i in range(rows)],
        mixed=[i / 5 if i % 2 else "?" for i in range(rows)],
        clock=[10_000 + i for i in range(rows)],
        new=[1.0] * rows,
    )
    about, found = compared(flywheel, tmp_path, without=["clock", "nobody"])
    reasons = {one["feature"]: one["reason"] for one in about["left_out"] + found["left_out"]}
    assert reasons == {
        "gone": "in the reference, and never served",
        "new": "new: not in the reference",
        "clock": "it was asked to be left out",
        "nulls": "no values on either side",
        "now_null": "no values in the window",
        "constant": "constant on both sides",
        "type": "the type changed: numbers in the reference, texts and bools in the window",
        "mixed": "its texts and bools are left out: there are none in the reference",
    }
    assert sorted(found["features"]) == ["a", "b", "c", "ids", "mixed"]
    told = found["methods"]["domain_classifier"]
    assert told["importance"][0]["feature"] == "mixed"


def test_more_columns_than_are_learnt_from_are_left_out_vectors_first() -> None:
    """1,000 columns at most: numbers come before vectors of 65."""
    rng = np.random.default_rng(1)
    sides = []
    for _ in range(2):
        columns: dict[str, Any] = {f"vector_{i}": list(rng.normal(size=(3, 64))) for i in range(16)}
        columns |= {f"norm_{i}": rng.random(3) for i in range(16)}
        sides.append(pa.table(columns | {f"number_{i}": rng.random(3) for i in range(16, 20)}))
    table = table_of(sides[0], sides[1], [f"f{i}" for i in range(20)], (np.arange(3), np.arange(3, 6)))
    assert table.sides.rows.shape == (6, 15 * 65 + 4)
    assert table.left_out == [{"feature": "f15", "reason": "there are more than 1000 columns with it"}]


def test_rows_of_one_entity_are_one_group_and_a_type_with_few_values_is_none() -> None:
    """The finest type of entity; else the request; else each row for itself."""
    served = [{"request": f"r{i // 2}", "entity user": f"u{i % 120}", "entity country": "DE"} for i in range(240)]
    uploaded: list[dict[str, str]] = [{"entity user": "u5"}, {"request": "r1"}, {}, {}]
    then, now, kind = groups_of(uploaded, served)
    assert kind == "entity user"
    assert len(set(now)) == 120
    assert then[0] == now[5] == now[125]
    assert len(set(then)) == 4
    without = [{name: value for name, value in one.items() if name != "entity user"} for one in served]
    _, requests, kind = groups_of(uploaded, without)
    assert (kind, len(set(requests))) == ("request", 120)


def test_an_earlier_window_is_a_baseline_too_and_few_rows_are_no_verdict(flywheel: Flywheel, tmp_path: Path) -> None:
    """No reference: compared with the window before, and said so; 40 rows are too few."""
    serve(flywheel, 0.9, 160)
    halves: dict[str, Any] = {"start": (START + DAY / 2).isoformat(), "end": (START + DAY).isoformat()}
    about, found = compared(flywheel, tmp_path, **halves)
    assert (about["baseline"], about["rows"]) == ("previous", {"reference": 80, "current": 80})
    assert about["note"] == "no reference was uploaded for this model; compared with the window before"
    reason = "too few rows: 80 in the reference, 80 in the window, 100 needed on both sides"
    assert found["methods"] == {name: {"reason": reason} for name in BOTH}
    with pytest.raises(CannotCompare, match="no reference was uploaded"):
        compared(flywheel, tmp_path, baseline="reference", **halves)


@pytest.mark.parametrize(
    ("request_", "loc"),
    [
        ({"methods": ["magic"]}, "methods"),
        ({"thresholds": {"magic": 1}}, "thresholds"),
        ({"thresholds": {"domain_classifier": 0.4}}, "thresholds.domain_classifier"),
        ({"rows": 10**9}, "rows"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(flywheel: Flywheel, request_: dict[str, Any], loc: str) -> None:
    """With the place of what is wrong."""
    with pytest.raises(Problem) as refused:
        flywheel.monitor._multivariate.submit(flywheel.model, request_)
    assert (refused.value.status, refused.value.errors[0]["loc"]) == (422, loc)


LIMITED = "from upshot_monitoring.worker_limits import limit_this_process\nlimit_this_process(%s)\n"
MEMORY = LIMITED % "256 * 1024**2" + "bytearray(1024**3)"
DISK = "import sys\n" + LIMITED % "2**33" + "open(sys.argv[1] + '/big', 'wb').truncate(2**31)"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('x' * 100_000)", "ended with an error"),
        ("import time; time.sleep(60)", "not done after 1 s"),
        (MEMORY, "ended with an error"),
        (DISK, "ended with an error"),
    ],
    ids=["fails", "hangs", "takes memory", "takes disk"],
)
def test_a_worker_has_bounds_and_its_end_is_a_status(
    flywheel: Flywheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Its folder is removed, the status says why, the next comparison is still made."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "bad_worker.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "package"), prepend=":")
    monkeypatch.setattr(module, "_WORKER", "bad_worker")
    made = MultivariateDrifts(
        flywheel.store,
        flywheel.configs,
        flywheel.clock,
        tmp_path / "made",
        lambda *_: {},
        timeout_s=1 if "sleep" in code else 60,
    )
    made.start()
    try:
        for _ in range(2 if "exit" in code else 1):
            found = finished(made, made.submit(flywheel.model, {})["id"])
            assert found["status"] == "failed"
            assert reason in found["error"]
        assert list((tmp_path / "made").iterdir()) == []
        assert all(len(one.getMessage()) < MAX_STDERR_BYTES + 200 for one in caplog.records)
    finally:
        made.stop()


def test_a_comparison_that_was_cut_off_is_failed_after_the_restart_and_the_window_asked_for_again(
    flywheel: Flywheel, tmp_path: Path
) -> None:
    """A closed window whose job was queued when the server was killed has no verdict, so it is asked for once more."""
    left = MultivariateDrifts(flywheel.store, flywheel.configs, flywheel.clock, tmp_path, lambda *_: {})
    request = {"start": START.isoformat(), "end": (START + DAY).isoformat(), "methods": BOTH, "revision": 1}
    id_ = left.submit(flywheel.model, request)["id"]
    (tmp_path / id_).mkdir()
    restarted = MultivariateDrifts(flywheel.store, flywheel.configs, flywheel.clock, tmp_path, lambda *_: {})
    restarted.start()
    restarted.stop()
    assert restarted.get(id_)["status"] == "failed"
    assert not (tmp_path / id_).exists()
    assert not restarted.waiting(flywheel.model)
