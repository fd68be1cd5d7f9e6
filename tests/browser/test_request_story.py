"""One request's story, and how it is found."""

from __future__ import annotations

import json

import pytest

from tests.browser.canned import flights, story
from tests.browser.conftest import Canned, OpenPage
from tests.waiting import eventually

pytestmark = pytest.mark.browser


def test_the_search_finds_a_story_from_any_page(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    for path in ("/", "/models/flights", "/requests/other"):
        shown = open_page(canned.url + path)
        shown.page.locator("h1").first.click()
        shown.page.keyboard.press("/")
        shown.page.keyboard.type("flight-1545")
        shown.page.keyboard.press("Enter")
        shown.says("#story", "2 predictions, 2 label events.")
        shown.clean(canned.url)


def test_values_are_shown_exactly_as_they_were_served(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/requests/flight-1545")
    rows = shown.page.locator("#features tbody tr")
    eventually(lambda: rows.count() == 12)
    cells = {
        row[0]: row[1:]
        for row in rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    }
    assert cells["distance"][:2] == ["1400", "integer"]
    assert cells["temperature"][:2] == ["17.0", "float"]
    assert cells["flight"][:2] == ['"1545"', "string"]
    assert cells["serial"][:2] == ["12345678901234567890", "integer"]
    assert cells["visibility"][:2] == ["10.000000000000002", "float"]
    assert cells["wind_speed"][:2] == ["NaN", "float"]
    assert cells["gust"][:2] == ['"NaN"', "string"]
    assert cells["plane_age"][:2] == ["null", "null"]
    assert cells["is_weekend"][:2] == ["false", "boolean"]
    assert cells["note"] == ['""', "string", "absent", "absent"]
    assert cells["embedding"][:2] == ["[0.1, 2.0, 3]", "list of 3"]


def test_a_feature_that_the_model_has_and_the_request_lacks_is_absent(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    canned.answers["/v1/models/flights"][1]["features"] = [{"name": "distance"}, {"name": "gate"}]
    shown = open_page(f"{canned.url}/requests/flight-1545")
    shown.says("#features tr:has(th:has-text('gate'))", "gate absent absent absent absent")


def test_the_story_is_told_in_words_and_in_order(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/requests/flight-1545")
    shown.says(
        ".tale",
        "Labelled 0 by tower four hours after the prediction. Corrected to 1 by airline five hours later. "
        "It now counts as 1, final since 2013-10-05 10:40 UTC.",
    )
    moments = shown.page.locator(".timeline li").all_inner_texts()
    assert [moment.split("\n")[0][:16] for moment in moments] == [
        "2013-10-03 10:40",
        "2013-10-03 10:40",
        "2013-10-03 14:40",
        "2013-10-03 19:40",
        "2013-10-05 10:40",
    ]
    shown.clean(canned.url)


def test_a_label_that_arrives_appears_by_itself(canned: Canned, open_page: OpenPage) -> None:
    told = json.loads(story("r-1"))
    later = dict(told, label_events=[], outcomes=[{**o, "state": "pending", "value": None} for o in told["outcomes"]])
    canned.answers["/v1/predictions/r-1"] = (200, later)
    shown = open_page(f"{canned.url}/requests/r-1")
    shown.says(".tale", "No outcome yet; waited for until 2013-10-05 10:40 UTC")
    canned.answers["/v1/predictions/r-1"] = (200, story("r-1"))
    shown.says(".tale", "Labelled 0 by tower")


def test_labels_without_a_prediction_are_called_orphans(canned: Canned, open_page: OpenPage) -> None:
    told = json.loads(story("r-2"))
    canned.answers["/v1/predictions/r-2"] = (200, {**told, "predictions": [], "outcomes": []})
    shown = open_page(f"{canned.url}/requests/r-2")
    shown.says("#story", "they are orphans and join at once when it arrives")
    shown.says("#events", "tower")
    shown.clean(canned.url)


@pytest.mark.parametrize("request_id", ["a/b", "a b", "100%", "?x=1#y", "\u00e4\u6f22", "a.b..c", "%2F"])
def test_any_request_id_has_an_address(canned: Canned, open_page: OpenPage, request_id: str) -> None:
    canned.answers["/v1/predictions/" + request_id.replace("%", "%25")] = (200, story(request_id))
    shown = open_page(canned.url + "/")
    shown.page.locator("#find").fill(request_id)
    shown.page.locator("#find").press("Enter")
    shown.says("#story", "2 predictions, 2 label events.")
    assert shown.page.locator("h1 bdi").text_content() == request_id


def test_a_story_says_why_and_what_does_not_count(canned: Canned, open_page: OpenPage) -> None:
    told = json.loads(story("r-3"))
    for outcome in told["outcomes"]:
        outcome["because"] = {
            "rule": "last",
            "events": 2,
            "decided_by": ["e-1"],
            "overridden": [{"label_id": "e-2", "reason": "outranked"}],
            "text": "last of 2 events; tower outranks airline; matures 2013-10-05 10:40 UTC",
        }
    told["label_events"][0]["received_at"] = "2013-10-03T10:39:00Z"  # a minute before the prediction
    canned.answers["/v1/predictions/r-3"] = (200, told)
    shown = open_page(f"{canned.url}/requests/r-3")
    shown.says(".tale", "Why: last of 2 events; tower outranks airline; matures 2013-10-05 10:40 UTC.")
    shown.says(".tale", "1 by airline five hours later does not count: a more trusted source has spoken.")
    assert "Corrected" not in shown.text(".tale")
    shown.says(".timeline", "was known first and waited 1 min")
    counts = shown.page.locator("#events td[data-label=Counts]").all_inner_texts()
    assert counts == ["decides", "no: a more trusted source has spoken"]
    shown.clean(canned.url)


def test_a_slate_is_told_item_by_item_and_drawn_as_one(canned: Canned, open_page: OpenPage) -> None:
    told = json.loads(story("r-4"))
    [first, _] = told["predictions"]
    told["predictions"] = [{**first, "item_id": f"i-{n}", "features": {}} for n in range(30)]
    told["label_events"] = [{**told["label_events"][0], "item_id": "i-7"}, {**told["label_events"][1], "waiting": True}]
    outcome = told["outcomes"][0]
    told["outcomes"] = [
        {**outcome, "item_id": f"i-{n}", **({} if n == 7 else {"state": "pending", "value": None})} for n in range(30)
    ]
    canned.answers["/v1/predictions/r-4"] = (200, told)
    shown = open_page(f"{canned.url}/requests/r-4")
    shown.says(".timeline", "Predicted 30 items by flights 1")
    shown.says(".timeline", "for i-7 from tower")
    shown.says(".timeline", "waits for its prediction")
    shown.says(".tale li", "flights 1 \N{MIDDLE DOT} i-7")
    shown.says(".rest summary", "22 more outcomes")
    shown.clean(canned.url)
