"""What is said of labels comes from hourly roll-ups, and equals what counting every row says."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.joiner.conftest import NOW, Line
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.delays.bins import bin_of, followed
from upshot_joiner.delays.delay_curve import kaplan_meier
from upshot_joiner.delays.label_hours import LabelHours
from upshot_joiner.delays.watched import Asked

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def history(line: Line, model: str, rows: int, seed: int = 1) -> list[tuple[datetime, float | None, int]]:
    """Predictions of five days by two versions, and for most a label within two days; what is not due yet has none."""
    rng = random.Random(seed)
    told: list[tuple[datetime, float | None, int]] = []
    predictions, labels = [], []
    for n in range(rows):
        at = NOW - rng.random() * 5 * DAY
        delay = rng.expovariate(1 / 40_000) if rng.random() < 0.8 else None
        if delay is not None and at + timedelta(seconds=delay) > NOW:
            delay = None
        version = "1" if n % 3 else "2"
        event = {"request_id": f"{model}-{n}", "model": model, "model_version": version, "predicted_at": at.isoformat()}
        predictions.append(event)
        value = int(rng.random() < 0.3)
        told.append((at, delay, value))
        if delay is not None:
            labels.append((at + timedelta(seconds=delay), {"request_id": f"{model}-{n}", "value": value}))
    line.predict(*predictions)
    # Labels are received in the order in which they came: the clock stands at each hour.
    labels.sort(key=lambda one: one[0])
    line.clock.set(min(at for at, _ in labels))
    for start in range(0, len(labels), 40):
        block = labels[start : start + 40]
        line.clock.set(max(line.clock.now(), block[-1][0]))
        line.label(*(event for _, event in block))
    line.clock.set(NOW)
    assert line.joiner.wait_until_idle(30)
    return told


@pytest.fixture
def line(line: Line) -> Line:
    """A line whose clock is not behind what other tests have stamped."""
    line.clock.set(line.stamper.next())
    return line


@pytest.fixture
def past(line: Line) -> Line:
    """A line whose stamps begin ten days ago, so that labels can be received before now."""
    line.stamper._last = NOW - 10 * DAY
    line.clock.set(NOW - 6 * DAY)
    return line


def received(line: Line, model: str) -> dict[str, tuple[datetime, datetime, int]]:
    """What the outcomes say, row by row: predicted, first received, version."""
    rows = line.store.query(
        "SELECT request_id, predicted_at, first_received_at, toInt64(model_version) FROM outcomes FINAL "
        "WHERE model = {m:String}",
        {"m": model},
    )
    return {request_id: (predicted, first, version) for request_id, predicted, first, version in rows}


def same_curve(line: Line, model: str, answer: dict[str, Any], hours: bool) -> None:
    """The curve of the answer is that of single rows, each watched until the age of the youngest of its cohort."""
    known = received(line, model)
    served = line.store.query(
        "SELECT request_id, predicted_at FROM predictions FINAL WHERE model = {m:String}", {"m": model}
    )
    arrived: dict[int, int] = {}
    ended: dict[int, int] = {}
    now = line.clock.now()
    single_from = now.replace(minute=0, second=0, microsecond=0) - HOUR
    for request_id, predicted in served:
        cohort = HOUR if predicted < single_from or not hours else timedelta(seconds=1)
        start = predicted.replace(microsecond=0)
        if cohort == HOUR:
            start = start.replace(minute=0, second=0)
        watched = followed((now - start - cohort).total_seconds())
        delay = (known[request_id][1] - predicted).total_seconds() if request_id in known else 1e18
        if bin_of(delay) < watched:
            arrived[bin_of(delay)] = arrived.get(bin_of(delay), 0) + 1
        else:
            ended[watched] = ended.get(watched, 0) + 1
    curve = kaplan_meier(arrived, ended)
    assert len(curve.steps) > 10
    assert [share for _, share in answer["delay_curve"]] == pytest.approx(
        [1 - step.after.value for step in curve.steps]
    )
    assert answer["arrival"]["watched"] == curve.predictions


def test_the_curve_from_the_roll_up_is_that_of_the_rows(past: Line, fresh: str) -> None:
    """Whole hours and the seconds of the last two; after labels came late, and came again."""
    history(past, fresh, 1500)
    answer = past.coverage(fresh)
    same_curve(past, fresh, answer, hours=True)
    past.clock.advance(90 * timedelta(minutes=1))
    past.label(*({"request_id": f"{fresh}-{n}", "value": 1, "label_id": "late"} for n in range(0, 1500, 7)))
    answer = past.coverage(fresh)
    same_curve(past, fresh, answer, hours=True)


def test_counts_by_version_and_hours_add_up(past: Line, fresh: str) -> None:
    """Every count of the answer is the sum over versions, and over a range of hours and the rest."""
    history(past, fresh, 600)
    past.configs.put(
        fresh, ModelConfig(labels={"label": LabelConfig(window=timedelta(hours=37, minutes=23), default=0)})
    )

    def counts(asked: Asked) -> dict[str, int]:
        told = past.labels(fresh, asked)
        label = past.coverage(fresh, asked=asked)
        names = ("predictions", "labelled", "defaulted", "pending", "retracted", "matured")
        return {name: label[name] for name in names} | {f"funnel {k}": v for k, v in told["funnel"].items()}

    whole = counts(Asked())
    assert whole["predictions"] == whole["labelled"] + whole["defaulted"] + whole["pending"] == 600
    assert whole["defaulted"] > 20
    middle = (NOW - 2 * DAY).replace(minute=0, second=0)
    for parts in (
        [Asked(version="1"), Asked(version="2")],
        [Asked(end=middle), Asked(start=middle)],
        [Asked(end=NOW - timedelta(hours=37)), Asked(start=NOW - timedelta(hours=36))],
    ):
        told = [counts(part) for part in parts]
        assert {name: sum(one[name] for one in told) for name in whole} == whole
        assert all(one["matured"] > 0 or one["predictions"] for one in told)


def test_a_roll_up_that_was_missed_is_found_at_the_next_start(line: Line, fresh: str) -> None:
    """Outcomes that nobody told of are counted after a restart; another positive value counts anew."""
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": (NOW - DAY).isoformat()})
    line.label({"request_id": fresh, "value": 7})
    assert line.joiner.wait_until_idle(30)
    line.label_hours._changes.take()  # as a killed process does
    if not line.store.is_shared:  # where others write too, it is looked for all the time
        assert not any(one["labelled"] for one in line.labels(fresh)["labels"])

    def started() -> LabelHours:
        return LabelHours(line.store, line.served, line.configs, line.activity, line.changes.twin())

    line.label_hours = started()
    assert line.coverage(fresh)["labelled"] == 1
    rows = "SELECT arraySum(positives) FROM label_hours FINAL WHERE model = {m:String}"
    assert line.store.query(rows, {"m": fresh}) == [(0,)]
    line.configs.put(fresh, ModelConfig(positive=7))
    line.label_hours = started()
    line.labels(fresh)
    assert line.store.query(rows, {"m": fresh}) == [(1,)]
    again = started()
    assert again.bring_up_to_date(fresh)
    assert not again._due[fresh]


def test_what_is_not_shown_any_more_leaves_the_roll_up(line: Line, fresh: str) -> None:
    """An activation that is taken back empties its hour."""
    line.predict({"request_id": fresh, "model": fresh, "shown": False, "predicted_at": (NOW - DAY).isoformat()})
    line.label({"request_id": fresh, "value": 1}, {"request_id": fresh, "name": "shown", "value": True})
    assert line.coverage(fresh)["labelled"] == 1
    line.label(
        {"request_id": fresh, "name": "shown", "value": False, "observed_at": (line.clock.now() + HOUR).isoformat()}
    )
    label = line.coverage(fresh)
    assert (label["predictions"], label["labelled"]) == (0, 0)


def test_a_model_that_began_to_serve_just_now_has_a_curve(line: Line, fresh: str) -> None:
    """Of the last two hours, single seconds are watched."""
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(4)))
    line.clock.advance(timedelta(seconds=100))
    line.label(*({"request_id": f"{fresh}-{n}", "value": 1} for n in range(2)))
    assert line.coverage(fresh)["delay_curve"] == []
    line.clock.advance(timedelta(seconds=20))
    label = line.coverage(fresh)
    [[seconds, share]] = label["delay_curve"]
    assert (round(seconds), share) == (100, 0.5)
    [[_, low, high]] = label["delay_band"]
    assert low < 0.5 < high
    assert label["arrival"] == {**label["arrival"], "watched": 4, "arrived": 2, "share": 0.5}


def test_window_advice_is_of_positives_and_in_words(past: Line, fresh: str) -> None:
    """Positives later than the window are false negatives; below 50 there is no advice."""
    past.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(window=timedelta(days=1), default=0)}))
    past.clock.set(NOW - 5 * DAY)
    past.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(1000)))
    past.clock.advance(timedelta(hours=2))
    past.label(*({"request_id": f"{fresh}-{n}", "value": 1} for n in range(40)))
    assert past.joiner.wait_until_idle(30)
    past.clock.advance(timedelta(hours=3))
    advice = past.coverage(fresh)["window_advice"]
    assert (advice["arrived"], advice["windows"]) == (40, [])
    assert advice["text"] == "40 positives have come so far; from 50 on, windows can be judged."
    past.label(*({"request_id": f"{fresh}-{n}", "value": 1} for n in range(40, 90)))
    past.label(*({"request_id": f"{fresh}-{n}", "value": 0} for n in range(90, 500)))
    assert past.joiner.wait_until_idle(30)
    past.clock.set(NOW - 3 * DAY)
    past.label(*({"request_id": f"{fresh}-{n}", "value": 1} for n in range(500, 510)))
    assert past.joiner.wait_until_idle(30)
    past.clock.set(NOW)
    advice = past.coverage(fresh)["window_advice"]
    assert advice["of"] == "positives"
    assert advice["configured"]["late"] == pytest.approx(0.1)
    assert advice["configured"]["text"].startswith(
        "A window of 1 d would turn 10 % of positives into false negatives ("
    )
    assert advice["recommended"] == {"0.01": None, "0.05": 3 * 86400.0}
    assert advice["text"].endswith("3 d is enough to lose at most 5 %.")
