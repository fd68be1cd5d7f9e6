"""What was never shown is in no roll-up: every task, segments, comparisons, the drift of labels; and after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.monitoring.conftest import DAY, START, Flywheel
from upshot_monitoring.performance.answers import Asked

ROWS = 60
SHOWN = range(20)
LATER = range(20, 35)


def serve(flywheel: Flywheel, answer: Any, version: str = "1") -> list[str]:
    """Sixty predictions in two days, none of them shown; half of them have a label."""
    flywheel.serve(
        (
            {
                "request_id": f"{flywheel.model}-{i}",
                "features": {"c": "ab"[i % 2]},
                "prediction": answer(i),
                "shown": False,
                "at": START + i * (2 * DAY / ROWS),
            }
            for i in range(ROWS)
        ),
        version=version,
    )
    return [f"{flywheel.model}-{i}" for i in range(ROWS)]


def overall(flywheel: Flywheel, **asked: Any) -> dict[str, Any]:
    told: dict[str, Any] = flywheel.monitor.performance(flywheel.model, Asked(label="y", **asked))["overall"]
    return told


@pytest.mark.parametrize(
    ("task", "answer", "label"),
    [
        ("binary", lambda i: (i % 10) / 10 + 0.05, lambda i: i % 3 == 0),
        ("regression", float, lambda i: i + 0.5),
        ("multiclass", lambda i: "abc"[i % 3], lambda i: "abc"[i % 2]),
    ],
)
def test_a_row_counts_from_its_activation(flywheel: Flywheel, task: str, answer: Any, label: Any) -> None:
    """None at first, then those that were shown, whole and by segment; a retraction takes one out again."""
    flywheel.configure(labels={"y": {"window": "1d"}}, task=task)
    requests = serve(flywheel, answer)
    flywheel.label({requests[i]: label(i) for i in range(ROWS)})
    flywheel.roll()
    assert (overall(flywheel)["rows"], overall(flywheel)["labelled"]) == (0, 0)
    flywheel.label({requests[i]: True for i in SHOWN}, name="shown")
    flywheel.roll()
    assert (overall(flywheel)["rows"], overall(flywheel)["labelled"]) == (len(SHOWN), len(SHOWN))
    assert overall(flywheel, segment="features.c=a")["rows"] == len(SHOWN) // 2
    flywheel.label({requests[0]: None}, name="shown", op="retract")
    flywheel.label({requests[1]: False}, name="shown")
    flywheel.roll()
    assert (overall(flywheel)["rows"], overall(flywheel)["labelled"]) == (len(SHOWN) - 2, len(SHOWN) - 2)
    flywheel.label({requests[i]: False for i in SHOWN}, name="shown")
    flywheel.roll()
    assert (overall(flywheel)["rows"], overall(flywheel)["metrics"]) == (0, {})


def test_an_activation_that_no_roll_up_covers_is_found_again(flywheel: Flywheel) -> None:
    """The note of what has changed dies with its process; the hours are found by what the roll-up covers."""
    flywheel.configure(labels={"y": {"window": "1d"}})
    requests = serve(flywheel, lambda i: 0.5)
    # What is shown later has no outcome but its activation.
    flywheel.label({requests[i]: i % 2 for i in range(ROWS) if i not in LATER})
    flywheel.label({requests[i]: True for i in SHOWN}, name="shown")
    flywheel.roll()
    flywheel.label({requests[i]: True for i in LATER}, name="shown")
    flywheel.changes.take()
    assert flywheel.roll() == 0
    assert overall(flywheel)["rows"] == len(SHOWN)
    assert flywheel.monitor.reconcile() > 0
    flywheel.roll()
    assert overall(flywheel)["rows"] == len(SHOWN) + len(LATER)


def test_versions_are_compared_on_what_was_shown(flywheel: Flywheel) -> None:
    """A pair of answers counts when both were shown, which one statement says of all versions of a request."""
    flywheel.configure(labels={"y": {"window": "1d"}})
    requests = serve(flywheel, lambda i: (i % 7) / 7)
    serve(flywheel, lambda i: (i % 5) / 5, version="2")
    flywheel.label({requests[i]: i % 2 for i in range(ROWS)})
    assert flywheel.monitor.compare(flywheel.model, "1", "2")["rows"] == 0
    flywheel.label({requests[i]: True for i in SHOWN}, name="shown")
    assert flywheel.monitor.compare(flywheel.model, "1", "2")["rows"] == len(SHOWN)


def test_the_distribution_of_labels_is_of_what_was_shown(flywheel: Flywheel) -> None:
    """Its profile has the shown rows only, hour by hour, and ``shown`` itself has none."""
    flywheel.configure(labels={"y": {"window": "1d"}})
    requests = serve(flywheel, lambda i: 0.5)
    flywheel.label({requests[i]: i % 2 for i in range(ROWS)})

    def profiled() -> dict[tuple[str, str], int]:
        flywheel.roll()
        rows = flywheel.store.query(
            "SELECT role, feature, sum(rows) FROM profiles FINAL WHERE model = {m:String} GROUP BY ALL",
            {"m": flywheel.model},
        )
        return {(role, name): count for role, name, count in rows if role in ("label", "feature")}

    flywheel.label({requests[i]: True for i in SHOWN}, name="shown")
    assert profiled() == {("feature", "c"): ROWS, ("label", "y"): len(SHOWN)}
    flywheel.label({requests[i]: False for i in SHOWN[5:]}, name="shown")
    assert profiled() == {("feature", "c"): ROWS, ("label", "y"): 5}
