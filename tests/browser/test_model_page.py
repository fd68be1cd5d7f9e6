"""A model's page, drawn from canned answers."""

from __future__ import annotations

import pytest

from tests.browser.canned import drift, flights, labels, performance
from tests.browser.conftest import Canned, OpenPage
from tests.waiting import eventually

pytestmark = pytest.mark.browser

UNDEFINED = "\N{EN DASH}"


def test_key_figures_are_those_of_the_api(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    figures = {}

    def complete() -> bool:
        figures.update(
            (one.locator(".figure-label").inner_text(), one.locator(".figure-value").inner_text())
            for one in shown.page.locator(".figure").all()
        )
        # Version 1 speaks for the model until version 2 has answered.
        return UNDEFINED not in figures.values() and "ROC AUC, version 2" in figures

    eventually(complete)
    assert figures["Predictions"] == "114,212"
    assert figures["Label coverage"] == "97.5 %"
    assert figures["ROC AUC, version 2"] == "0.728"
    assert figures["Features drifting"] == "3 of 10"
    assert figures["Label delay, median"] == "4 h 12 min"
    shown.says("#figures-said", "Predictions: 114,212")
    shown.says("#live-text", "2013-11-20 14:05 UTC")
    shown.clean(canned.url)


def test_the_table_of_a_chart_has_the_same_numbers_as_the_api(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.charts(3)
    shown.page.locator("#performance summary").click()
    rows = shown.page.locator("#performance tbody tr")
    expected = [("1", w) for w in performance("1")["windows"]] + [("2", w) for w in performance("2")["windows"]]
    eventually(lambda: rows.count() == len(expected))
    texts = rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    for (version, window), cells in zip(reversed(expected), texts, strict=True):
        value = window["metrics"].get("roc_auc")
        still_open = " (open)" if window["matured"] < window["rows"] else ""
        assert cells[0] == version
        assert cells[1] == f"{window['start'][:10]} (UTC)"
        assert cells[2] == (UNDEFINED if value is None else f"{value:.3f}")
        assert cells[4:6] == [str(window["rows"]), f"{window['matured']}{still_open}"]
    shown.clean(canned.url)


def test_open_windows_are_drawn_hollow_and_matured_ones_as_a_line(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.charts(3)
    traces = shown.page.locator("#performance .plot").evaluate(
        "plot => plot.data.filter(t => t.type === 'scatter' && t.fill !== 'toself')"
        ".map(t => ({mode: t.mode, dash: t.line?.dash, y: t.y.filter(y => y !== null).length}))"
    )
    closed = sum(w["matured"] == w["rows"] for w in performance("1")["windows"])
    moving = sum(w["matured"] < w["rows"] and bool(w["metrics"]) for w in performance("1")["windows"])
    assert moving > 0
    assert (traces[1]["mode"], traces[1]["dash"], traces[1]["y"]) == ("lines", None, closed)
    assert (traces[2]["mode"], traces[2]["y"]) == ("markers", moving)
    assert traces[0]["dash"] == "dot"
    shown.says("#performance .key", "open window: outcomes are still to come")


def test_two_versions_are_compared_in_words(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.says(".conclusion", "Version 2 is better than version 1 by 0.029 ROC AUC on the 19,402 matured requests")
    canned.answers["/v1/models/flights/compare"][1]["difference"] = {"value": 0.001, "interval": [-0.01, 0.012]}
    again = open_page(f"{canned.url}/models/flights")
    again.says(".conclusion", "No difference can be told")


def test_a_feature_opens_by_keyboard_and_stays_open_through_refreshes(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    button = shown.page.get_by_role("button", name="temperature")
    button.focus()
    button.press("Enter")
    eventually(lambda: shown.page.locator(".detail .plot .main-svg").count() >= 6)  # plotly draws two layers a chart
    assert button.get_attribute("aria-expanded") == "true"
    shown.page.evaluate("document.querySelector('.detail').marked = true")
    canned.answers["/v1/models/flights/drift"] = (200, drift())
    canned.answers["/v1/models/flights/drift"][1]["features"][0]["statistic"] = 0.5051
    shown.says(".feature .measure", "0.5051")
    assert shown.page.evaluate("document.querySelector('.detail').marked"), "the open part was made anew"
    assert button.evaluate("button => button === document.activeElement"), "the focus was lost"
    shown.says(".detail .sub", "wasserstein 0.5051 against a threshold of 0.100; 80,789 reference rows, 412 current")
    button.press("Enter")
    eventually(lambda: shown.page.locator(".detail").count() == 0)
    shown.clean(canned.url)


def test_verdicts_are_words_and_no_verdict_says_why(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    rows = shown.page.locator("tr.feature")
    eventually(lambda: rows.count() == 12)
    assert shown.text("#drift .sub").endswith("3 of 10 judged features drifted.")
    assert "drift" in rows.nth(0).inner_text()
    assert "no verdict\ntoo few rows" in rows.nth(11).inner_text().replace("\t", "\n").replace("\n\n", "\n")
    assert rows.nth(11).locator(".measure").inner_text() == UNDEFINED


def test_skew_is_fetched_when_it_is_chosen_and_the_address_remembers(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.says("#drift .sub", "against the window before (2013-11-18 14:05 to 2013-11-19 14:05 UTC)")
    assert "/v1/models/flights/skew" not in canned.asked
    shown.page.locator("#drift .choice label", has_text="Skew").click()
    shown.says("#drift .sub", "against the training data of version 1")
    assert "compare=skew" in shown.page.url
    shown.page.locator("#range label", has_text="30 d").click()
    assert "range=30d" in shown.page.url
    shown.clean(canned.url)


@pytest.mark.parametrize("known", [True, False])
def test_a_model_without_results_says_not_yet_and_never_zero(canned: Canned, open_page: OpenPage, known: bool) -> None:
    if known:
        canned.answers["/v1/models/new"] = (200, {"model": "new", "config": {}, "versions": [], "references": []})
        canned.answers["/v1/models/new/drift"] = (200, {"baseline": None, "window": None, "features": []})
        canned.answers["/v1/models/new/labels"] = (200, {"labels": [], "funnel": {"logged": 0}})
        canned.answers["/v1/models/new/traffic"] = (200, {"bucket": "day", "points": []})
        canned.answers["/v1/exports"] = (200, {"exports": []})
    shown = open_page(f"{canned.url}/models/new")
    for panel in ("performance", "versions", "drift", "traffic", "funnel", "labels", "training-sets"):
        shown.says(f"#{panel}", "Not yet")
    values = shown.page.locator(".figure-value").all_inner_texts()
    assert set(values) == {UNDEFINED}
    shown.clean(canned.url)


def test_a_wrong_address_of_a_feature_does_not_break_the_page(canned: Canned, open_page: OpenPage) -> None:
    answers = flights()
    del answers["/v1/models/flights/features/humidity"]
    canned.answers.update(answers)
    shown = open_page(f"{canned.url}/models/flights")
    shown.page.get_by_role("button", name="humidity").click()
    shown.says(".detail", "Not yet")
    shown.clean(canned.url)


def test_the_delay_curve_has_its_band_and_windows_their_advice(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.says("#labels [data-part=advice]", "A window of 4 h would turn 38 % of positives into false negatives")
    shown.says("#labels [data-part=delays]", "After 2 d 8 h, 97.7 % of predictions have one (97.6 % to 97.8 %).")
    eventually(lambda: shown.page.locator("#labels .main-svg").count() > 0)
    traces = shown.page.locator("#labels .plot").evaluate("plot => plot.data.map(t => [t.line.shape, t.fill ?? ''])")
    assert traces == [["hv", ""], ["hv", "tonexty"], ["hv", ""]]
    shown.page.locator("#labels .advice summary").click()
    rows = shown.page.locator("#labels .advice tbody tr").all_inner_texts()
    assert [" ".join(row.split()) for row in rows] == [
        "1 h 70.0 % 69.0 % to 71.0 %",
        "4 h 38.0 % 37.0 % to 39.0 % configured",
        "1 d 2.1 % 1.1 % to 3.1 % loses at most 5 %",
        "37 d 12 h \N{EN DASH} \N{EN DASH} not watched for that long yet",
    ]
    shown.clean(canned.url)


def test_the_funnel_can_be_of_one_version(canned: Canned, open_page: OpenPage) -> None:
    canned.answers.update(flights())
    narrowed = {**labels(), "funnel": {"logged": 20_211, "shown": 20_000, "labelled": 1, "matured": 2, "exported": 3}}
    canned.answers["/v1/models/flights/labels?version=2"] = (200, narrowed)
    shown = open_page(f"{canned.url}/models/flights")
    shown.says(".funnel", "Logged predictions received 114,212")
    shown.page.locator("#funnel select").select_option("2")
    shown.says(".funnel", "Logged predictions received 20,211")
    shown.page.locator("#funnel select").select_option("")
    shown.says(".funnel", "Logged predictions received 114,212")
    shown.clean(canned.url)


def test_what_fires_is_seen_on_the_models_page_and_on_the_model(canned: Canned, open_page: OpenPage) -> None:
    """Since when, on what that rests, what drifted, and who was told; what cannot be told says why."""
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.says("#model-health", "alert fires, critical summer since 2013-11-20 09:05 UTC")
    rows = shown.page.locator("#alerts tbody tr")
    eventually(lambda: rows.count() == 3)
    shown.says("#alerts", "(5 h ago)")  # once the server's clock is known
    status = canned.answers["/v1/status"][1]
    canned.answers["/v1/status"] = (200, {**status, "now": "2013-11-20T16:05:00Z"})
    shown.says("#alerts", "(7 h ago)")  # and as it goes on, although no rule has changed
    canned.answers["/v1/status"] = (200, status)
    shown.says("#alerts", "(5 h ago)")
    firing, unknown, well = (" ".join(text.split()) for text in rows.all_inner_texts())
    assert "summer drift.share > 0.2 firing, critical 2013-11-20 09:05 UTC (5 h ago)" in firing
    assert "drift.share is 0.3, 420 rows; drifted: temperature, humidity, destination firing: sent ops" in firing
    assert "cannot be told" in unknown
    assert "too few rows: 41, 100 needed" in unknown
    assert "labels.coverage is 0.9712" in well
    shown.clean(canned.url)
    index = open_page(canned.url + "/")
    index.says("#models-rows tr:first-child", "alert fires, critical summer since 2013-11-20 09:05 UTC")
    index.clean(canned.url)


def test_a_model_without_rules_has_no_panel_for_them(canned: Canned, open_page: OpenPage) -> None:
    answers = flights()
    answers["/v1/models/flights/alerts"] = (200, {"model": "flights", "evaluated_at": None, "rules": []})
    canned.answers.update(answers)
    shown = open_page(f"{canned.url}/models/flights")
    shown.charts(3)
    eventually(lambda: "/v1/models/flights/alerts" in canned.asked)
    assert shown.page.locator("#alerts:visible").count() == 0
    assert shown.page.locator('.sections a[href="#alerts"]:visible').count() == 0


def test_late_evaluation_is_said_on_every_page(canned: Canned, open_page: OpenPage) -> None:
    """The view of the server itself; the heartbeat's silence is that of somebody else."""
    answers = flights()
    told = {"late": True, "rules": 2, "evaluated_at": "2013-11-20T12:00:00Z"}
    answers["/v1/status"] = (200, {**answers["/v1/status"][1], "alerts": told})
    canned.answers.update(answers)
    shown = open_page(canned.url + "/")
    shown.says(
        "#trouble", "Alert rules are not evaluated as they should be: they were looked at last at 2013-11-20 12:00 UTC"
    )


def test_features_together_show_numbers_since_when_and_what_tells_the_sides_apart(
    canned: Canned, open_page: OpenPage
) -> None:
    """Both methods beside their thresholds; closed windows that say drift without a break are told by the first of them."""
    canned.answers.update(flights())
    shown = open_page(f"{canned.url}/models/flights")
    shown.says("#multivariate tbody tr:has-text('Domain classifier')", "0.683")
    shown.says("#multivariate tbody tr:has-text('Domain classifier')", "drift")
    shown.says("#multivariate tbody tr:has-text('PCA reconstruction error')", "0.030")
    shown.says("#multivariate", "412 rows against 5,000 of the training data")
    shown.says("#multivariate", "Told apart by temperature (0.100), humidity (0.050)")
    shown.says("#multivariate", "Every closed window says drift since the one of 2013-11-19 14:05 UTC.")
    link = shown.page.locator("#multivariate a", has_text="Python").get_attribute("href")
    assert link == "/v1/multivariate-drifts/multi-1?code=true"
    shown.clean(canned.url)
