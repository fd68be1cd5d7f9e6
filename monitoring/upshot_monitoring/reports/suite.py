"""The test suite of a report: Evidently's tests, by feature, as passed or failed; what could not be judged is neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_STATUS = {"SUCCESS": "passed", "FAIL": "failed", "WARNING": "warning", "ERROR": "error", "SKIPPED": "skipped"}


def suite_of(
    report: Mapping[str, Any],
    features: Sequence[Mapping[str, Any]],
    left_out: Sequence[Mapping[str, Any]],
    *,
    shown: Any,
) -> dict[str, Any]:
    """``status`` and, test by test, ``name``, ``feature`` (None: of all together), ``status`` and ``description``.

    Evidently knows drift or none; where our verdict is ``no_verdict``, so is the test's. A feature that is broken or has too few
    rows on a side is not in Evidently's report, and is a test without a verdict here. ``shown``: what a name is in the report.
    """
    by_name = {shown(one["feature"]): one for one in features}
    tests = []
    for one in report.get("tests", ()):
        column = str((one.get("metric_config") or {}).get("params", {}).get("column", ""))
        feature = by_name.get(column)
        status = _STATUS.get(str(one["status"]).rpartition(".")[2].upper(), "error")
        is_open = feature is not None and feature["verdict"] == "no_verdict"
        tests.append(
            {
                "name": str(one["name"]),
                "feature": feature["feature"] if feature else None,
                "status": "no_verdict" if is_open else status,
                "description": str(one["description"]),
            }
        )
    tests += [
        {
            "name": f"Value Drift for column {one['feature']}",
            "feature": one["feature"],
            "status": "no_verdict",
            "description": one["reason"] or "it is not in the report",
        }
        for one in left_out
    ]
    counts = {word: sum(one["status"] == word for one in tests) for word in ("passed", "failed", "no_verdict")}
    counts["other"] = len(tests) - sum(counts.values())
    bad = counts["failed"] or counts["other"]
    status = "failed" if bad else "passed" if counts["passed"] else "no_verdict"
    return {"status": status, **counts, "tests": tests}
