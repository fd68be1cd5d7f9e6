"""Every page on every screen: narrow and wide, light and dark, by keyboard and by screen reader."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.browser.canned import HOSTILE, flights, hostile
from tests.browser.conftest import Canned, OpenPage, Watched
from tests.waiting import eventually

pytestmark = pytest.mark.browser

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
HOSTILE_MODEL = quote(f"{HOSTILE[2]}/{HOSTILE[11]}", safe="")
PAGES = {
    "models": "/",
    "model": "/models/flights",
    "story": "/requests/flight-1545",
    "writers": "/writers",
    "intake": "/intake",
    "unknown-model": "/models/unknown",
    "unknown-request": "/requests/unknown",
    "hostile-model": f"/models/{HOSTILE_MODEL}",
    "hostile-writers": "/writers",
    "hostile-intake": "/intake",
    "hostile-story": f"/requests/{quote(HOSTILE[2], safe='')}",
}


def settled(shown: Watched) -> None:
    eventually(lambda: shown.page.locator(".loading:visible").count() == 0)
    if shown.page.locator("#performance").count():
        eventually(lambda: shown.page.locator("#performance .empty, #performance .main-svg").count() > 0)
    if shown.page.locator("#performance .chart").count():
        shown.charts(6)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_scrolls_sideways_in_light_or_dark(canned: Canned, open_page: OpenPage, name: str) -> None:
    canned.answers.update(hostile() if name.startswith("hostile") else flights())
    shown = open_page(canned.url + PAGES[name], width=400)
    settled(shown)
    for scheme, width in itertools.product(("light", "dark"), (400, 768, 1440)):
        shown.page.emulate_media(color_scheme=scheme)
        shown.page.set_viewport_size({"width": width, "height": 900})
        eventually(lambda width=width: shown.page.evaluate("document.documentElement.scrollWidth") == width)
    shown.clean(canned.url)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["models", "model", "story", "writers", "intake"])
def test_text_stands_out_from_its_background(canned: Canned, open_page: OpenPage, name: str, dark: bool) -> None:
    """WCAG AA: 4.5 to 1, or 3 to 1 for large text."""
    canned.answers.update(flights())
    shown = open_page(canned.url + PAGES[name], dark=dark)
    settled(shown)
    faint = shown.page.evaluate(CONTRAST)
    assert faint == []


@pytest.mark.parametrize("name", ["models", "model", "story", "writers", "intake"])
def test_a_screen_reader_finds_its_way(canned: Canned, open_page: OpenPage, name: str) -> None:
    canned.answers.update(flights())
    shown = open_page(canned.url + PAGES[name])
    settled(shown)
    page = shown.page
    for landmark in ("header", "main", "footer", "search"):
        assert page.locator(f"{landmark}, [role={landmark}]").count() == 1, landmark
    assert page.locator("h1").count() == 1
    assert (
        page.locator("main table:not(.numbers table)").evaluate_all(
            "tables => tables.filter(t => !t.caption || ![...t.tHead.rows[0].cells].slice(1).every(c => c.scope === 'col')).length"
        )
        == 0
    )
    assert page.locator("[role=img]:not([aria-label]), [role=img][aria-label='']").count() == 0
    unnamed = page.locator("button:visible, a:visible, input:visible, select:visible").evaluate_all(
        "all => all.filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]:not(svg *)')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_charts_turn_dark_with_the_page(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    settled(shown)
    ink = "document.querySelector('#performance .plot').layout.font.color"
    assert shown.page.evaluate(ink) == "#17212b"
    shown.page.emulate_media(color_scheme="dark")
    eventually(lambda: shown.page.evaluate(ink) == "#e4eaf0")
    shown.clean(canned.url)
