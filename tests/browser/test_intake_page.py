"""The page Intake: what is behind, what waits, what was refused; and what was refused is read, and nothing else."""

from __future__ import annotations

import json

import pytest

from tests.browser.canned import HOSTILE, flights, hostile, intake_answers, orphan, refused
from tests.browser.conftest import Canned, OpenPage
from tests.browser.test_hostile_names import untouched
from tests.waiting import eventually

pytestmark = pytest.mark.browser


def test_the_lag_is_said_in_figures(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/intake")
    shown.says("#lag", "Joined after, median 210 ms 120,000 requests in 5 min")
    assert [shown.text(f"#lag .figure:nth-child({n})") for n in range(2, 6)] == [
        "Joined after, 99 of 100 840 ms from stored to joined",
        "Waiting to be joined 31 the oldest for 400 ms",
        "Waiting to be stored 0 nothing waits",
        "Hours to roll up 3 newest first",
    ]
    shown.clean(canned.url)


def test_orphans_and_refused_events_are_listed_with_what_they_say(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/intake")
    shown.says("#orphans tbody tr", "lost-1 late 1 tower any 4 h 2013-11-20 10:05 UTC")
    shown.says("#orphans tbody tr:nth-child(2)", "lost-2 cancelled retracted \N{EN DASH} flights 4 h")
    shown.says("#orphans .ages", "2 under a day")
    shown.says("#quarantine tbody tr", "2013-11-20 14:05:00 UTC wrong type label value flights bad-1 37 bytes")
    shown.page.locator("#quarantine summary").first.click()
    shown.says("#quarantine pre", '{"request_id": "bad-1", "value": [1]}')
    # What a person has opened stays open while the list around it changes.
    canned.answers.update(intake_answers([], [refused("new"), refused("bad-1")]))
    shown.says("#quarantine tbody tr", "new")
    assert shown.page.locator("#quarantine details[open]").count() == 1
    shown.says("#orphans-body", "None: every label event has found its prediction.")
    shown.clean(canned.url)


def test_a_reason_can_be_chosen_and_its_events_sent_again(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/intake")
    shown.says("#quarantine-controls", "label: conflict (1)")
    assert not shown.page.get_by_role("button", name="Send these again").is_visible()
    with shown.page.expect_request("**/v1/quarantine?kind=label&code=conflict&limit=25"):
        shown.page.locator("#quarantine-controls select").select_option('["label","conflict"]')
    pages = [{"found": 2, "replayed": 2, "next": "more"}, {"found": 1, "replayed": 0, "next": None}]
    sent = []

    def answer(route: object) -> None:
        sent.append(json.loads(route.request.post_data))  # type: ignore[attr-defined]
        route.fulfill(json=pages[len(sent) - 1])  # type: ignore[attr-defined]

    shown.page.route("**/v1/quarantine/replay", answer)
    shown.page.get_by_role("button", name="Send these again").click()
    shown.says("#quarantine-controls", "2 of 3 were taken.")
    assert sent == [{"kind": "label", "code": "conflict"}, {"kind": "label", "code": "conflict", "after": "more"}]
    shown.clean(canned.url)


def test_further_pages_are_added_below(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    first = intake_answers([orphan(f"o-{n}") for n in range(25)], [])
    first["/v1/orphans"][1].update(next="c1", total=30)
    canned.answers.update(first)
    shown = open_page(f"{canned.url}/intake")
    more = {"orphans": [orphan(f"p-{n}") for n in range(5)], "next": None}
    shown.page.route("**/v1/orphans?*cursor=c1*", lambda route: route.fulfill(json=more))
    shown.page.get_by_role("button", name="Show more: 25 of 30").click()
    eventually(lambda: shown.page.locator("#orphans tbody tr").count() == 30)
    assert not shown.page.locator("#orphans .more").is_visible()
    shown.clean(canned.url)


def test_the_intake_page_shows_every_payload_as_text(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(hostile())
    shown = open_page(f"{canned.url}/intake")
    eventually(lambda: shown.page.locator("#quarantine tbody tr").count() == len(HOSTILE))
    for number in range(len(HOSTILE)):
        shown.page.locator("#quarantine summary").nth(number).click()
    payloads = shown.page.locator("#quarantine pre").evaluate_all("all => all.map(one => one.textContent)")
    assert payloads == HOSTILE
    names = shown.page.locator("#orphans tbody td[data-label=Label]").evaluate_all(
        "all => all.map(one => one.textContent)"
    )
    assert names == HOSTILE
    untouched(shown, canned)
