"""`upshot.integrations.feast` with a real feature store. Feast needs other library versions, so it has its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import require
from tests.logger.collector import Collector

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-feast/bin/python"
FEATURES = ["conv_rate", "trips", "city", "is_new", "embedding", "joined"]


class Served(NamedTuple):
    """What Feast answered (values of the four drivers, times of their rows), what was logged, and what was said."""

    feast: dict[str, Any]
    events: dict[str, list[Any]]
    said: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    require("Feast", PYTHON.exists(), "make .venv-feast/.installed")
    collector = Collector()
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("feast_service.py"), tmp_path_factory.mktemp("feast")],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "logger"),
            "UPSHOT_URL": collector.url,
            "FEAST_USAGE": "False",
            "UPSHOT_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    collector.close()
    assert done.returncode == 0, done.stderr
    events: dict[str, list[Any]] = {}
    for prediction in collector.predictions:
        events.setdefault(prediction.model, []).append(prediction)
    return Served(json.loads(done.stdout.splitlines()[-1]), events, done.stderr)


def row(served: Served, n: int) -> dict[str, Any]:
    """What Feast said of the n-th driver."""
    return {name: served.feast["values"][name][n] for name in FEATURES}


def test_values_are_logged_as_they_were_served(served):
    """0, "", null and a list stay what they are; the fourth driver is unknown to the store, so its features are absent."""
    events = served.events["rows"]
    assert [p.features for p in events] == [row(served, 0), row(served, 1), row(served, 2), {}]
    assert row(served, 1) | {"joined": ""} == {
        "conv_rate": 0.0,
        "trips": 0,
        "city": "",
        "is_new": False,
        "embedding": [0.3, 0.4],
        "joined": "",
    }
    assert (events[2].features["conv_rate"], events[2].features["city"]) == (None, None)
    assert [type(value) for value in events[0].features.values()] == [
        type(row(served, 0)[name]) for name in events[0].features
    ]
    assert [p.request_id for p in events] == served.feast["ids"]
    assert [p.prediction for p in events] == [0.1, 0.2, 0.3, 0.4]


def test_the_time_of_each_value_is_the_stores(served):
    """Feast's server in Python serves a row that is older than the view keeps it, as PRESENT: its time says how old it is."""
    events = served.events["rows"]
    assert [p.feature_times for p in events] == [dict.fromkeys(FEATURES, at) for at in served.feast["times"]] + [{}]
    assert events[1].tags["feast_status"] == "PRESENT"


def test_entity_keys_are_entities_and_no_features(served):
    assert [p.entities for p in served.events["rows"]] == [{"driver_id": str(n)} for n in (1001, 1002, 1003, 1004)]


def test_statuses_are_tags(served):
    """As Feast's server in Python says them, and with the two that others say."""
    nothing = {"feast_status": "NOT_FOUND", **{f"feast_status.{name}": "NOT_FOUND" for name in FEATURES}}
    present = {"feast_status": "PRESENT"}
    assert [p.tags for p in served.events["rows"]] == [
        tags | {"channel": "web"} for tags in (present, present, present, nothing)
    ]
    old = dict.fromkeys(nothing, "OUTSIDE_MAX_AGE")
    null = {"feast_status": "NULL_VALUE,PRESENT"} | {
        f"feast_status.{name}": "NULL_VALUE" for name in ("conv_rate", "city")
    }
    assert [p.tags for p in served.events["statuses"]] == [present, old, null, nothing]
    assert [p.features for p in served.events["statuses"]] == [p.features for p in served.events["rows"]]


def test_one_row_with_what_the_model_was_given_besides(served):
    [event] = served.events["one"]
    assert event.features == {f"driver_stats__{name}": value for name, value in row(served, 0).items()} | {
        "amount": 12.5
    }
    assert (event.request_id, event.prediction) == ("r1", 0.5)
    [event] = served.events["probabilities"]
    assert (event.prediction, event.probabilities) == ("bad", {"ok": 0.25, "bad": 0.75})


def test_a_row_as_keyword_arguments_is_the_same_row(served):
    [one], [keywords] = served.events["one"], served.events["keywords"]
    assert keywords.request_id == "r2"
    assert keywords.features | {"amount": 12.5} == one.features
    assert (keywords.feature_times, keywords.entities, keywords.tags) == (one.feature_times, one.entities, one.tags)


def test_a_feature_made_on_demand_has_no_time(served):
    [event] = served.events["demanded"]
    assert event.features == {"trips": 7, "trips_per_km": 3.5}
    assert event.feature_times == {"trips": served.feast["times"][0]}


def test_the_rows_of_a_ranked_list_share_a_request_id(served):
    events = served.events["slate"]
    assert [(p.item_id, p.prediction, p.features["rank"]) for p in events] == [("a", 0.6, 1), ("b", 0.7, 2)]
    assert [p.request_id for p in events] == served.feast["slate"]
    assert len(set(served.feast["slate"])) == 1


def test_the_answer_of_a_feature_server_is_as_good(served):
    """Its JSON writes moments in another way and is else the same."""
    for over_http, direct in zip(served.events["server"], served.events["rows"], strict=True):
        assert over_http.features | {"joined": ""} == direct.features | {"joined": ""} or not direct.features
        assert (over_http.entities, over_http.tags | {"channel": "web"}) == (direct.entities, direct.tags)
        assert list(over_http.feature_times or ()) == list(over_http.features)
    assert served.events["server"][0].feature_times["trips"].endswith("Z")


def test_what_cannot_be_read_is_counted_and_raises_nothing(served):
    """Two predictions for four rows, no response at all twice, too few extra features, and a row that is not there."""
    assert "odd" not in served.events
    assert served.feast["failed"] == 4 + 1 + 1 + 1 + 1
    assert "2 answers for 4 rows" in served.said


def test_an_entity_that_is_not_in_the_response_is_said(served):
    [event] = served.events["unknown entity"]
    assert event.entities == {"driver_id": "1001"}
    assert "no 'passenger_id'" in served.said
