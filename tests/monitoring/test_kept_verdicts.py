"""What was said about a closed window stays, with everything it rests on."""

from __future__ import annotations

from pathlib import Path

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from tests.monitoring.test_drift_answers import add_reference, serve_days
from upshot_monitoring.drift.kept import AskedKept

LATER = START + 3 * DAY + HOUR


def test_verdicts_on_closed_windows_are_kept_with_what_they_rest_on(flywheel: Flywheel, tmp_path: Path) -> None:
    """Three days, the last shifted: one verdict per day and column, with method, threshold, rows, baseline; given once."""
    flywheel.clock.set(LATER)
    add_reference(flywheel, tmp_path)
    [reference] = flywheel.monitor.references(flywheel.model)
    serve_days(flywheel, [0, 0, 1.0])
    assert flywheel.monitor.give_verdicts(flywheel.model) == 3 * 3
    assert flywheel.monitor.give_verdicts(flywheel.model) == 0
    kept = flywheel.monitor.verdicts(flywheel.model, AskedKept(feature="x"))
    assert [(one["window_start"], one["verdict"]) for one in kept] == [
        (START + 2 * DAY, "drift"),
        (START + DAY, "ok"),
        (START, "ok"),
    ]
    last = kept[0]
    assert (last["method"], last["threshold"], last["direction"]) == ("wasserstein", 0.1, "above")
    assert (last["baseline"], last["baseline_id"]) == ("reference", reference["id"])
    assert (last["rows_reference"], last["rows_current"]) == (2000, 300)
    assert last["statistic"] > 0.5
    assert last["adjusted_p_value"] < last["false_discovery_rate"] == 0.01
    assert last["window_end"] == START + 3 * DAY


def test_an_open_window_has_no_verdict_yet(flywheel: Flywheel, tmp_path: Path) -> None:
    """A day that is not over is not judged."""
    flywheel.clock.set(START + 2 * DAY - HOUR)
    add_reference(flywheel, tmp_path)
    serve_days(flywheel, [0, 1.0])
    flywheel.monitor.give_verdicts(flywheel.model)
    kept = flywheel.monitor.verdicts(flywheel.model, AskedKept(end=START + 9 * DAY))
    assert {one["window_start"] for one in kept} == {START}


def test_a_verdict_outlives_its_configuration_and_late_rows_are_judged_again(
    flywheel: Flywheel, tmp_path: Path
) -> None:
    """Another method from now on changes nothing that was said; late rows give a second verdict, and the first stays."""
    flywheel.clock.set(LATER)
    add_reference(flywheel, tmp_path)
    serve_days(flywheel, [0])
    flywheel.monitor.give_verdicts(flywheel.model)
    flywheel.configure(drift={"features": {"x": {"method": "ks", "threshold": 0.3}}})
    assert flywheel.monitor.give_verdicts(flywheel.model) == 0
    flywheel.clock.set(LATER + HOUR)
    flywheel.serve(
        {"request_id": f"{flywheel.model}-late-{i}", "features": {"x": 9.0, "c": "a", "late": 1.0}, "at": START + HOUR}
        for i in range(600)
    )
    flywheel.roll()
    assert flywheel.monitor.give_verdicts(flywheel.model) == 3
    [newest] = flywheel.monitor.verdicts(flywheel.model, AskedKept(feature="x"))
    assert (newest["method"], newest["threshold"], newest["verdict"]) == ("ks", 0.3, "drift")
    history = flywheel.monitor.verdicts(flywheel.model, AskedKept(feature="x", history=True))
    assert [(one["method"], one["verdict"]) for one in history] == [("ks", "drift"), ("wasserstein", "ok")]


def test_versions_are_judged_apart_where_there_are_several(flywheel: Flywheel, tmp_path: Path) -> None:
    """All together, and each of two."""
    flywheel.clock.set(LATER)
    add_reference(flywheel, tmp_path)
    serve_days(flywheel, [0.0], model_version="1")
    serve_days(flywheel, [2.0], model_version="2")
    flywheel.monitor.give_verdicts(flywheel.model)
    verdicts = {
        version: flywheel.monitor.verdicts(flywheel.model, AskedKept(feature="x", version=version))[0]["verdict"]
        for version in ("", "1", "2")
    }
    assert verdicts == {"": "drift", "1": "ok", "2": "drift"}
