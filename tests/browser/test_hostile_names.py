"""Names and values come from requests. Whatever they hold, it is shown as text and does nothing."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.browser.canned import HOSTILE, hostile
from tests.browser.conftest import Canned, OpenPage, Watched
from tests.waiting import eventually

pytestmark = pytest.mark.browser

MODEL = HOSTILE[2] + "/" + HOSTILE[11]


def untouched(shown: Watched, canned: Canned) -> None:
    assert shown.page.evaluate("document.documentElement.dataset.pwned") is None
    assert shown.page.evaluate("Object.prototype.polluted") is None
    assert (
        shown.page.locator("main iframe, main script, main [onerror], main [onload], main [onmouseover]").count() == 0
    )
    links = shown.page.locator("main a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert [link for link in links if link and not link.startswith(("/", "#"))] == []
    svg_links = shown.page.locator(".plot a").count()
    assert svg_links == 0, "plotly read a name as a link"
    shown.clean(canned.url)


def test_the_detector_sees_a_payload_that_gets_through(canned: Canned, open_page: OpenPage) -> None:
    """The same checks go red when a payload is written as HTML, so their silence means something."""
    shown = open_page(f"{canned.url}/requests")
    shown.page.evaluate("html => { document.querySelector('main').innerHTML = html; }", HOSTILE[2])
    eventually(lambda: shown.errors)  # the policy refuses the handler; without it the attribute would have run
    with pytest.raises(AssertionError):
        untouched(shown, canned)


def test_the_list_of_models_shows_every_payload_as_text(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(hostile())
    shown = open_page(canned.url + "/")
    eventually(lambda: shown.page.locator("#models-rows tr").count() == len(HOSTILE) + 1)
    names = shown.page.locator("#models-rows th").evaluate_all("cells => cells.map(cell => cell.textContent)")
    assert sorted(names) == sorted([MODEL, *HOSTILE])
    untouched(shown, canned)


def test_a_models_page_shows_every_payload_as_text(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(hostile())
    shown = open_page(f"{canned.url}/models/{quote(MODEL, safe='')}")
    shown.charts(4)
    assert shown.page.title() == f"{MODEL} · Upshot"
    assert shown.page.locator("h1 bdi").text_content() == MODEL
    for panel in ("drift", "freshness", "attributions"):
        rows = shown.page.locator(f"#{panel} tr.feature th")
        eventually(lambda rows=rows: rows.count() >= 12)
        assert set(rows.evaluate_all("cells => cells.map(cell => cell.textContent)")) == set(HOSTILE[:12])
    told = shown.page.locator("#multivariate bdi").evaluate_all("names => names.map(name => name.textContent)")
    assert told == HOSTILE[:8]
    for i in (0, 2, 6):
        shown.page.locator("button.open").nth(i).click()
    eventually(lambda: shown.page.locator(".detail .plot .main-svg").count() >= 12)
    legend = shown.page.locator("#performance .legendtext").evaluate_all("texts => texts.map(text => text.textContent)")
    assert f"Version {HOSTILE[-1]}" in legend
    # Hovering makes plotly draw its labels, which is where it would read markup.
    for selector in ("#performance .plot", ".detail .plot >> nth=1", "#traffic .plot"):
        plot = shown.page.locator(selector)
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box
        for share in (0.3, 0.5, 0.7):
            shown.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.5)
    shown.page.locator("#performance summary").click()
    untouched(shown, canned)


def test_a_story_shows_every_payload_as_text(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(hostile())
    shown = open_page(f"{canned.url}/requests/{quote(HOSTILE[2], safe='')}")
    eventually(lambda: shown.page.locator("#features tbody tr").count() >= len(HOSTILE))
    names = shown.page.locator("#features tbody th").evaluate_all("cells => cells.map(cell => cell.textContent)")
    assert set(HOSTILE) <= set(names)
    untouched(shown, canned)


def test_a_payload_typed_into_the_search_is_looked_up_letter_by_letter(canned: Canned, open_page: OpenPage) -> None:
    shown = open_page(canned.url + "/")
    for text in HOSTILE:
        shown.page.locator("#find").fill(text)
        typed = shown.page.locator("#find").input_value()  # the browser's box takes no NUL
        with shown.page.expect_navigation():
            shown.page.locator("#find").press("Enter")
        shown.says("#story", "No prediction and no label with this request ID")
        assert json.loads(shown.page.locator("#main").get_attribute("data-request") or "") == typed.strip()
        eventually(lambda typed=typed: f"/v1/predictions/{typed.strip()}" in canned.asked)
        untouched(shown, canned)
