"""The writers' page: what became of every number, in words, and nothing that was sent does anything but be read."""

from __future__ import annotations

import pytest

from tests.browser.canned import HOSTILE, hostile, writer, writers, writers_answers
from tests.browser.conftest import Canned, OpenPage, Watched
from tests.browser.test_hostile_names import untouched
from tests.waiting import eventually

pytestmark = pytest.mark.browser


def row(writer_id: str) -> str:
    """The row of a writer."""
    return f"#writers-rows tr.writer:has-text('{writer_id}')"


def opened(shown: Watched, writer_id: str) -> None:
    """Open the row of a writer."""
    shown.page.locator(f"{row(writer_id)} button").click()


def test_every_number_has_its_place_in_figures_and_rows(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(writers_answers(writers()))
    shown = open_page(f"{canned.url}/writers")
    shown.says("#writers-conclusion", "1 writer lost 42 events without a word")
    figures = [shown.text(f"#writers-figures .figure:nth-child({n})") for n in range(1, 6)]
    assert figures == [
        "Events numbered 60,000 by 5 writers",
        "Arrived 58,758 97.9 %, 7 of them refused, in quarantine",
        "Dropped, with a reason 1,000 990 queue full, 10 the server answered 401",
        "Still to come 200 150 in its spool, 50 too recent to judge",
        "Lost 42 nobody knows why",
    ]
    rows = [shown.text(row(one["writer_id"])) for one in writers()]
    assert [" ".join(text.split()[:1]) for text in rows] == [one["writer_id"] for one in writers()]
    assert "lossy 12,000 42 42 lost without a word 2013-11-20 14:05 UTC, fell silent" in rows[0]
    assert "waiting 12,000 200 150 in its spool 50 too recent to judge" in rows[1]
    assert "complete, dropped some 12,000 1,000 990 dropped: queue full 10 dropped: the server answered 401" in rows[2]
    assert "complete 12,000 0 \N{EN DASH} 2013-11-20 14:05 UTC, has ended" in rows[3]
    assert shown.page.locator("#writers-balance > div").count() == 4
    shown.clean(canned.url)


def test_an_open_row_tells_gaps_counters_and_process(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(writers_answers(writers()))
    shown = open_page(f"{canned.url}/writers")
    opened(shown, "9f2c77aa01b3d4e5")
    shown.says(".detail", "7 1 number 40 to 80 41 numbers")
    shown.says(".detail", "Refused 7 conflict")
    opened(shown, "9f2c77aa01b3d4e5")
    opened(shown, "0460415af31d50ef")
    shown.says(".detail", "980 to 998 19 numbers")
    shown.says(".detail", "and 2 gaps more")
    opened(shown, "no-report")
    shown.says(".detail >> nth=1", "No report has come from it")
    assert shown.page.locator(".detail").count() == 2
    # An open row stays open, and follows, while the list changes around it.
    changed = [writer("new"), *writers()]
    changed[-1]["first_seen"] = "2013-01-01T00:00:00Z"
    canned.answers.update(writers_answers(changed))
    shown.says(row("new"), "complete")
    shown.says(".detail >> nth=1", "2013-01-01 00:00:00 UTC")
    shown.clean(canned.url)


def test_a_state_can_be_chosen_and_the_totals_stay(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(writers_answers(writers()))
    shown = open_page(f"{canned.url}/writers")
    shown.says("#writers-conclusion", "lost 42")
    with shown.page.expect_request(lambda request: request.url.endswith("/v1/writers?state=lossy")):
        shown.page.locator("#writers-states input[value=lossy]").click()
    shown.says("#writers-conclusion", "lost 42")


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (writers()[1:2], "Nothing is lost. 1 writer has events still to come."),
        (writers()[2:4], "Every number that was given to an event is accounted for. 1,000 events were dropped"),
        (writers()[3:4], "Every number that was given to an event is accounted for."),
    ],
)
def test_the_conclusion_says_no_more_than_the_numbers(
    canned: Canned, open_page: OpenPage, listed: list[dict[str, object]], words: str
) -> None:
    canned.answers.update(writers_answers(listed))
    shown = open_page(f"{canned.url}/writers")
    shown.says("#writers-conclusion", words)
    assert "lost" not in shown.text("#writers-conclusion").replace("Nothing is lost", "")


def test_without_a_writer_the_page_says_what_would_make_one_appear(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(writers_answers([]))
    shown = open_page(f"{canned.url}/writers")
    shown.says("#writers-none", "No writer yet")
    assert not shown.page.locator("#writers, #writers-figures, #writers-states").first.is_visible()
    canned.answers.update(writers_answers(writers()))
    shown.says("#writers-rows", "no-report")
    assert not shown.page.locator("#writers-none").is_visible()
    shown.clean(canned.url)


def test_the_writers_page_shows_every_payload_as_text(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(hostile())
    shown = open_page(f"{canned.url}/writers")
    eventually(lambda: shown.page.locator("#writers-rows tr.writer").count() == len(HOSTILE))
    names = shown.page.locator("#writers-rows th button").evaluate_all("all => all.map(one => one.textContent)")
    assert names == HOSTILE
    for number in range(len(HOSTILE)):
        shown.page.locator("#writers-rows th button").nth(number).click()
    eventually(lambda: shown.page.locator(".detail .pairs").count() == 2 * len(HOSTILE))
    terms = shown.page.locator(".detail .detail-part:nth-child(2) dt").evaluate_all(
        "all => all.map(one => one.textContent)"
    )
    assert terms == HOSTILE
    untouched(shown, canned)
