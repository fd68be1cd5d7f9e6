"""Pages keep themselves current, stop when told, ask little when nobody looks, and say when the server is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.browser.canned import NOW, flights, iso
from tests.browser.conftest import Canned, OpenPage, Watched
from tests.waiting import eventually

pytestmark = pytest.mark.browser

HIDE = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => window.covered === true});"


def everything_asked_has_arrived(shown: Watched) -> None:
    """Ask once more than the browser has connections, all at once: what it was asked before is with the server then."""
    shown.page.evaluate("Promise.all(Array.from({length: 8}, () => fetch('/v1/barrier').then((r) => r.text())))")


def test_a_number_moves_without_a_reload(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.says(".figure-value", "114,212")
    shown.page.evaluate("window.same = true")
    canned.answers["/v1/models/flights"][1]["predictions"] = 114_999
    shown.says(".figure-value", "114,999")
    assert shown.page.evaluate("window.same") is True
    shown.clean(canned.url)


def test_the_first_model_appears_without_a_reload(canned: Canned, open_page: OpenPage) -> None:
    canned.answers["/v1/models"] = (200, {"models": []})
    shown = open_page(canned.url + "/")
    shown.says("#first-steps", "upshot.log_prediction(")
    assert canned.url in shown.text("#snippet-sdk")
    assert f"curl {canned.url}/v1/labels" in shown.text("#snippet-curl")
    canned.answers.update(flights())
    shown.says("#models-rows", "flights")
    assert not shown.page.locator("#first-steps").is_visible()
    shown.clean(canned.url)


def test_an_unchanged_answer_changes_nothing_on_the_page(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.charts(4)
    shown.says("#training-sets", "exp-01")
    shown.page.evaluate(
        "window.changes = 0; new MutationObserver((all) => { window.changes += all.length; })"
        ".observe(document.getElementById('main'), {subtree: true, childList: true, characterData: true})"
    )
    before = canned.asked.count("/v1/models/flights")
    eventually(lambda: canned.asked.count("/v1/models/flights") >= before + 2)
    assert shown.page.evaluate("window.changes") == 0


def test_how_long_ago_a_model_was_last_seen_goes_on_with_the_servers_clock(canned: Canned, open_page: OpenPage) -> None:
    """Although nothing else on the page has changed, and back again with a clock that goes back."""
    canned.answers.update(flights())
    shown = open_page(canned.url + "/")
    shown.says("#models-rows", "(3 h ago)")
    status = canned.answers["/v1/status"][1]
    canned.answers["/v1/status"] = (200, {**status, "now": iso(NOW + timedelta(hours=2))})
    shown.says("#models-rows", "(5 h ago)")
    canned.answers["/v1/status"] = (200, status)
    shown.says("#models-rows", "(3 h ago)")


def test_pause_stops_asking_and_resume_asks_at_once(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights", clock=True)
    shown.says(".figure-value", "114,212")
    shown.page.locator("#live-toggle").click()
    shown.says("#live-text", "Paused")
    canned.answers["/v1/models/flights"][1]["predictions"] = 115_000
    everything_asked_has_arrived(shown)
    asked = len(canned.asked)
    shown.page.clock.fast_forward(60_000)
    everything_asked_has_arrived(shown)
    assert set(canned.asked[asked:]) == {"/v1/barrier"}
    shown.page.locator("#live-toggle").click()
    shown.page.clock.fast_forward(100)
    shown.says(".figure-value", "115,000")


def test_a_page_that_nobody_sees_asks_twenty_times_less(canned: Canned, open_page: OpenPage) -> None:
    """The page's clock stands still but where the test moves it, so that to the page no answer takes any time, however long it
    takes: a page waits for four times that."""
    address = "/v1/models/flights"
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights", script=HIDE, still=NOW)

    def asks_at(move: Callable[[], None], number: int) -> None:
        """The move makes it ask, once, and it has the answer: what it then waits for begins now."""
        before = canned.asked.count(address)
        canned.answers[address][1]["predictions"] = number
        move()
        shown.says(".figure-value", f"{number:,}")
        assert canned.asked.count(address) == before + 1

    def does_not_ask_for(ms: int) -> None:
        before = canned.asked.count(address)
        shown.page.clock.fast_forward(ms)
        everything_asked_has_arrived(shown)
        assert canned.asked.count(address) == before

    def looked_at_anew() -> None:
        shown.page.evaluate("window.covered = false; document.dispatchEvent(new Event('visibilitychange'))")
        shown.page.clock.fast_forward(1)

    asks_at(lambda: shown.page.clock.fast_forward(1), 115_000)
    does_not_ask_for(2_999)
    # The timer that is running when the page is covered still asks once; what it sets next is the long period.
    shown.page.evaluate("window.covered = true")
    asks_at(lambda: shown.page.clock.fast_forward(1), 115_001)
    does_not_ask_for(59_999)
    asks_at(lambda: shown.page.clock.fast_forward(1), 115_002)
    asks_at(looked_at_anew, 115_003)


def test_a_server_that_is_gone_is_said_and_forgotten_when_it_is_back(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.says(".figure-value", "114,212")
    shown.page.context.set_offline(True)
    eventually(lambda: shown.page.locator("#trouble").is_visible(), timeout_s=20)
    assert "The server does not answer. The numbers are from" in shown.text("#trouble")
    assert shown.text(".figure-value") == "114,212", "what was known stays"
    shown.page.context.set_offline(False)
    eventually(lambda: not shown.page.locator("#trouble").is_visible(), timeout_s=20)


def test_numbers_do_not_wait_for_the_chart_library(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    late = """
      new MutationObserver(() => {
        const first = document.querySelector('.figure-value');
        if (window.numbersAt === undefined && first && /[0-9]/.test(first.textContent)) {
          window.numbersAt = performance.now();
          window.chartsThen = Boolean(window.Plotly);
        }
      }).observe(document, {subtree: true, childList: true, characterData: true});
    """
    shown = open_page(f"{canned.url}/models/flights", script=late)
    shown.charts(4)
    print(f"first numbers after {shown.page.evaluate('window.numbersAt'):.0f} ms")
    assert shown.page.evaluate("window.chartsThen") is False
