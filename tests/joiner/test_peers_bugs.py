"""What other systems get wrong, one test each: as it was found in their source, their documentation or their issues in 2026."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.joiner.conftest import NOW, Line
from tests.joiner.test_committer import failing_once
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.intake.receive import Receiver
from upshot_joiner.store.client import Store

DAY = timedelta(days=1)


def at(**ago: float) -> str:
    """A moment before now."""
    return (NOW - timedelta(**ago)).isoformat()


def combined(line: Line, model: str, combine: Any, **rules: Any) -> None:
    """Fold the label of a model by a rule."""
    line.configs.put(model, ModelConfig(labels={"label": LabelConfig(combine=combine, **rules)}))


def outcome(line: Line, request_id: str) -> tuple[str, Any]:
    """State and value of the one label of the one prediction of a request, as the story tells it and as it is stored."""
    [stored] = line.outcomes(request_id)
    [told] = line.story(request_id)["outcomes"]
    assert told["state"] == stored[3]
    return told["state"], told["value"]


@pytest.mark.parametrize("value", [0, 0.0, False])
def test_arize_a_label_of_zero_is_a_label(line: Line, fresh: str, value: object) -> None:
    """Arize 8.42.0 leaves `actual_label=0`, `0.0` and `False` out without a word (`if actual_label or ...`)."""
    line.predict({"request_id": fresh, "model": fresh})
    assert line.label({"request_id": fresh, "value": value}).accepted == 1
    state, found = outcome(line, fresh)
    assert (state, found, type(found)) == ("labelled", value, type(value))


def test_arize_the_same_id_in_two_models_and_versions(line: Line, fresh: str) -> None:
    """Arize joins an actual to every row with that ID, whatever the version; a label that names its model joins only there."""
    for model, version in (("a", "1"), ("a", "2"), ("b", "1")):
        line.predict({"request_id": fresh, "model": f"{fresh}-{model}", "model_version": version})
    line.label({"request_id": fresh, "value": 1, "model": f"{fresh}-b"})
    found = [
        (one["model"], one["model_version"], one["value"])
        for one in line.story(fresh)["outcomes"]
        if one["state"] == "labelled"
    ]
    assert found == [(f"{fresh}-b", "1", 1)]
    assert len(line.outcomes(fresh)) == 1


def test_arize_a_label_later_than_two_weeks(line: Line, fresh: str) -> None:
    """Arize joins once a day, and only to predictions of the last 14 days; ours joins at once, after 400 days."""
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(days=400)})
    line.label({"request_id": fresh, "value": 1})
    assert outcome(line, fresh) == ("labelled", 1)


def test_personalizer_a_reward_after_the_window_still_counts(line: Line, fresh: str) -> None:
    """Personalizer waits one or two days and discards what comes later; here the rule of the label decides."""
    combined(line, fresh, "last", window=DAY, default=0)
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(days=30)})
    [before] = line.story(fresh)["outcomes"]
    assert (before["state"], before["value"]) == ("defaulted", 0)
    line.label({"request_id": fresh, "value": 1, "observed_at": at(days=1)})
    assert outcome(line, fresh) == ("labelled", 1)


@pytest.mark.parametrize(("combine", "expected"), [("max", -2), ("min", -7)])
def test_vowpal_wabbit_the_maximum_of_negative_rewards(line: Line, fresh: str, combine: str, expected: int) -> None:
    """VW's joiner begins `max` with the smallest positive number, so that rewards that are all negative give the default."""
    combined(line, fresh, combine, default=0)
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=9)})
    line.label(
        *(
            {"request_id": fresh, "value": value, "label_id": str(value), "observed_at": at(hours=hours)}
            for hours, value in enumerate((-5, -2, -7), 1)
        )
    )
    assert outcome(line, fresh) == ("labelled", expected)


@pytest.mark.parametrize("with_id", [True, False])
def test_learning_loop_a_redelivered_reward_counts_once(line: Line, fresh: str, with_id: bool) -> None:
    """learning-loop's outcome events have no ID, so that one that is delivered again counts twice under `sum`."""
    combined(line, fresh, "sum")
    rewards = [
        {
            "request_id": fresh,
            "value": value,
            "observed_at": at(hours=hours),
            **({"label_id": str(hours)} if with_id else {}),
        }
        for hours, value in enumerate((3, 3, 4), 1)
    ]
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=9)})
    for _ in range(3):
        line.label(*rewards)
    line.label(*rewards, *rewards)
    assert outcome(line, fresh) == ("labelled", 10)


@pytest.mark.parametrize("early", [timedelta(minutes=3), DAY, 40 * DAY])
def test_learning_loop_a_reward_long_before_its_interaction(line: Line, fresh: str, early: timedelta) -> None:
    """learning-loop keeps a reward that comes before its interaction for two minutes; ours waits, is listed, and joins."""
    line.label({"request_id": fresh, "name": fresh, "value": 1, "observed_at": (NOW - early).isoformat()})
    assert line.coverage(fresh, name=fresh)["orphans"] == 1
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": NOW.isoformat()})
    assert outcome(line, fresh) == ("labelled", 1)
    assert line.coverage(fresh, name=fresh)["orphans"] == 0


def test_langfuse_a_score_that_was_sent_again_counts_once(line: Line, fresh: str) -> None:
    """Langfuse v4 keeps a score with a known ID a second time, and its metrics count both."""
    combined(line, fresh, "count")
    line.predict({"request_id": fresh, "model": fresh})
    score = {"request_id": fresh, "label_id": "score-1", "value": 0.5, "observed_at": at(hours=1)}
    assert (line.label(score).accepted, line.label(score).duplicates) == (1, 1)
    assert outcome(line, fresh) == ("labelled", 1)
    assert line.coverage(fresh)["labelled"] == 1


def test_langfuse_one_row_across_midnight(line: Line, fresh: str) -> None:
    """Langfuse has the day in its key: the same score before and after midnight UTC is two rows. Ours is one."""
    midnight = datetime(2025, 12, 31, tzinfo=UTC)
    line.predict(
        {"request_id": fresh, "model": fresh, "predicted_at": (midnight - timedelta(microseconds=1)).isoformat()}
    )
    for number, observed in enumerate((midnight - timedelta(seconds=1), midnight, midnight + timedelta(seconds=1))):
        line.label({"request_id": fresh, "value": number, "observed_at": observed.isoformat()})
        assert outcome(line, fresh) == ("labelled", number)
    told = line.coverage(fresh)
    assert (told["predictions"], told["labelled"]) == (1, 1)


def test_langfuse_a_batch_that_the_store_refuses_three_times_is_not_dropped(
    store: Store, line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Langfuse's writer drops rows after three attempts; ours says 503 as often as it takes, and the sender still has them."""
    line.predict({"request_id": fresh, "model": fresh})
    for _ in range(5):
        with monkeypatch.context() as broken:
            failing_once(store, "label_events", broken)
            with pytest.raises(Problem) as refused:
                line.label({"request_id": fresh, "value": 1})
        assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
    assert line.label({"request_id": fresh, "value": 1}).accepted == 1
    assert outcome(line, fresh) == ("labelled", 1)


def test_deepchecks_a_failed_label_batch_is_not_lost(
    store: Store, line: Line, fresh: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deepchecks commits the offset of a label batch that raised: its labels are gone without a trace."""
    failing_once(store, "label_events", monkeypatch)
    labels = [{"request_id": f"{fresh}-{n}", "value": n} for n in range(10)]
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(10)))
    with pytest.raises(Problem):
        line.label(*labels)
    assert line.label(*labels).accepted == 10
    assert [outcome(line, f"{fresh}-{n}") for n in range(10)] == [("labelled", n) for n in range(10)]


@pytest.mark.parametrize("combine", ["first", "last"])
def test_deepchecks_first_and_last_do_not_depend_on_batch_borders(line: Line, fresh: str, combine: str) -> None:
    """Deepchecks keeps the first of two labels of one batch, and the last of two that came in two."""
    combined(line, fresh, combine)
    said = [{"value": n, "label_id": str(n), "observed_at": at(hours=8 - n)} for n in range(4)]
    cases = list(enumerate(itertools.product(itertools.permutations(said), range(4))))
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh, "predicted_at": at(hours=9)} for n, _ in cases))
    for half in (0, 1):
        line.label(
            *(
                {"request_id": f"{fresh}-{n}"} | event
                for n, (order, border) in cases
                for event in (order[:border], order[border:])[half]
            )
        )
        line.joiner.wait_until_idle(30)
    expected = ("labelled", "0" if combine == "first" else "3")
    assert {line.outcomes(f"{fresh}-{n}")[0][3:] for n, _ in cases} == {expected}
    assert len(cases) == 96


def test_deepchecks_one_bad_label_of_a_batch_loses_no_other(line: Line, fresh: str) -> None:
    """Deepchecks keeps error rows of predictions only; here a bad label is named, kept in quarantine, and the rest is stored."""
    line.predict({"request_id": fresh, "model": fresh})
    receiver = Receiver(line.committer)
    body = msgspec.json.encode([{"request_id": fresh, "value": 1}, {"request_id": fresh}, {"value": 1}])
    answer = receiver.submit_labels(receiver.decode_labels(body, "application/json", "")).result(30)
    assert (answer.accepted, answer.rejected) == (1, 2)
    assert [(error["index"], error["code"]) for error in answer.errors] == [(1, "missing"), (2, "missing")]
    assert outcome(line, fresh) == ("labelled", 1)
    found = line.store.query(
        "SELECT code FROM quarantine WHERE kind = 'label' AND request_id = {r:String}", {"r": fresh}
    )
    assert found == [("missing",)]


@pytest.mark.parametrize("value", ["1", "0", "", "false", "fraud", "0.0"])
def test_a_label_that_is_text_stays_text(line: Line, fresh: str, value: str) -> None:
    """Systems that cast labels to a number make 1 of "1", and nothing of "fraud"; and "" is a label too."""
    line.predict({"request_id": fresh, "model": fresh})
    line.label({"request_id": fresh, "value": value})
    assert outcome(line, fresh) == ("labelled", value)


def test_a_label_of_text_is_passed_over_by_a_sum(line: Line, fresh: str) -> None:
    """It is neither 0 nor an error, and it stays in the ledger."""
    combined(line, fresh, "sum")
    line.predict({"request_id": fresh, "model": fresh})
    line.label(
        *({"request_id": fresh, "value": value, "label_id": str(n)} for n, value in enumerate((2, "7", 3, "unknown")))
    )
    assert outcome(line, fresh) == ("labelled", 5)
    assert [event["value"] for event in line.story(fresh)["label_events"]] == [2, "7", 3, "unknown"]


@pytest.mark.parametrize("combine", ["first", "last", "sum", "mean", "min", "max", "majority", "count"])
def test_a_label_too_large_for_a_float_holds_up_nothing(line: Line, fresh: str, combine: str) -> None:
    """JSON's integers have no end, a float has: one such label must not stop the fold of its request, nor of others."""
    combined(line, fresh, combine)
    line.predict(*({"request_id": f"{fresh}-{n}", "model": fresh} for n in range(2)))
    failed = line.joiner.failed
    line.label({"request_id": f"{fresh}-0", "value": 10**400}, {"request_id": f"{fresh}-1", "value": 1})
    [(*_, state, _)] = line.outcomes(f"{fresh}-0")
    assert state == "labelled"
    [(*_, state, value)] = line.outcomes(f"{fresh}-1")
    assert (state, float(value)) == ("labelled", 1.0)
    assert line.joiner.failed == failed


def test_a_correction_that_comes_before_what_it_corrects(line: Line, fresh: str) -> None:
    """Where the last to arrive wins, a late copy of the old label undoes the correction; here the later observation counts."""
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=9)})
    line.label({"request_id": fresh, "value": "corrected", "observed_at": at(hours=1)})
    line.label({"request_id": fresh, "value": "old", "observed_at": at(hours=5)})
    assert outcome(line, fresh) == ("labelled", "corrected")


def test_a_retraction_leaves_no_value_behind(line: Line, fresh: str) -> None:
    """Most systems cannot take a label back; where one can, the metrics keep the value. Here the row is retracted everywhere."""
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": at(hours=9)})
    line.label({"request_id": fresh, "value": 1, "observed_at": at(hours=2)})
    line.label({"request_id": fresh, "op": "retract", "observed_at": at(hours=1)})
    assert outcome(line, fresh) == ("retracted", None)
    told = line.coverage(fresh)
    assert (told["labelled"], told["retracted"], told["pending"]) == (0, 1, 0)
    assert [event["op"] for event in line.story(fresh)["label_events"]] == ["set", "retract"]


def test_a_label_under_a_known_id_with_another_value_is_refused_and_kept(line: Line, fresh: str) -> None:
    """Where the same ID overwrites, history is gone; where it is dropped, nobody learns of it. Here it is a conflict."""
    line.predict({"request_id": fresh, "model": fresh})
    line.label({"request_id": fresh, "value": 1, "label_id": "x"})
    answer = line.label({"request_id": fresh, "value": 0, "label_id": "x"})
    assert (answer.accepted, answer.rejected, answer.errors[0]["code"]) == (0, 1, "conflict")
    assert outcome(line, fresh) == ("labelled", 1)
    [(payload,)] = line.store.query("SELECT payload FROM quarantine WHERE request_id = {r:String}", {"r": fresh})
    assert msgspec.json.decode(payload)["value"] == 0
