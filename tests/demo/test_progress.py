"""What is shown while the year passes."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import cast

from rich.console import Console

from upshot_server.demo.progress import Lines, LivePanel, display_on, figures
from upshot_server.demo.upshot_api import UpshotApi
from upshot_server.demo.watch import Snapshot, Watch, Window, window_of, with_drift

START = datetime(2013, 4, 1, 4, tzinfo=UTC)
MATURE = Window(START, True, rows=1_900, measured=1_900, value=0.712, low=0.690, high=0.734, estimated=None)
OPEN = Window(START + timedelta(days=7), False, 1_900, 300, value=0.802, low=0.75, high=0.85, estimated=0.705)
SNAPSHOT = Snapshot(
    at=START,
    predictions=2_200,
    labelled=2_100,
    pending=40,
    coverage=0.973,
    orphans=2,
    delay_p50_s=9_000.0,
    matured=MATURE,
    tail=OPEN,
    drifted=["humid", "temp"],
    skewed=[],
    features=17,
)


def shown(snapshot: Snapshot | None) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(figures(snapshot))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_panel_shows_what_upshot_said() -> None:
    text = shown(SNAPSHOT)
    assert "2,100 of 2,200 (95.5 %), 40 pending, 2 orphans" in text
    assert "97.3 % of those whose window has closed" in text
    assert "half of them within 2.5 h" in text
    assert "0.712 (0.690 to 0.734), week of 01 Apr, 1,900 flights" in text
    assert "0.802 on the 300 of 1,900 whose label has come, estimated 0.705" in text
    assert "2 of 17: humid, temp" in text


def test_before_anything_is_mature_the_panel_says_so() -> None:
    empty = Snapshot(START, 0, 0, 0, None, 0, None, None, None, [], [], 0)
    text = shown(empty)
    assert "0 of 0 (?)" in text
    assert "no week is mature yet" in text
    assert "first look" in shown(None)


def test_a_pipe_gets_one_line_per_month_and_no_control_codes() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=200), lambda: SNAPSHOT)
    lines.say("hello")
    for hour in range(0, 90 * 24, 3):
        lines.step(START + timedelta(hours=hour), hour)
    lines.close()
    text = out.getvalue()
    assert "\x1b" not in text
    assert [line.split()[:2] for line in text.splitlines()] == [["hello"], ["01", "May"], ["01", "Jun"]]


def test_a_terminal_gets_a_panel_that_moves_and_goes() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, highlight=False)
    watch = Watch(cast(UpshotApi, None), lambda: START, "1")  # asks after two seconds; this is over before
    watch.latest = SNAPSHOT
    panel = display_on(console, watch, START, START + timedelta(days=90))
    assert isinstance(panel, LivePanel)
    panel.step(START + timedelta(days=45), 1_234)
    panel.close()
    panel.close()
    assert "Thu 16 May 2013 00:00" in out.getvalue()
    assert "1,234 flights" in out.getvalue()
    assert "2,100 of 2,200 (95.5 %)" in out.getvalue()
    assert watch.trouble == []


def test_a_window_counts_as_mature_when_its_wait_is_over() -> None:
    """Until then, what it shows is measured on the labels that came early."""
    answer = {
        "start": "2013-04-01T04:00:00Z",
        "end": "2013-04-08T04:00:00Z",
        "rows": 10,
        "matured": 8,
        "metrics": {"roc_auc": 0.7},
        "intervals": {"roc_auc": [0.6, 0.8]},
        "estimated": {},
        "so_far": {"rows": 9, "metrics": {"roc_auc": 0.9}, "intervals": {"roc_auc": [0.8, 1.0]}},
    }
    end = START + timedelta(days=7)
    assert window_of(answer, matured_until=end) == Window(START, True, 10, 8, 0.7, 0.6, 0.8, None)
    assert window_of(answer, matured_until=end - timedelta(hours=1)) == Window(START, False, 10, 9, 0.9, 0.8, 1.0, None)


def test_only_the_verdict_drift_names_a_feature_and_the_farthest_comes_first() -> None:
    found = [("slight", "drift", 0.12), ("calm", "ok", 0.01), ("far", "drift", 3.6), ("few", "no_verdict", None)]
    found.append(("missing", "drift", None))
    features = [{"feature": n, "verdict": v, "statistic": s, "threshold": 0.1} for n, v, s in found]
    assert with_drift({"features": features}) == ["far", "slight", "missing"]
