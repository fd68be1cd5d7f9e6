"""The pages on the real server: what was logged over HTTP is what they show, and they follow what happens."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.browser.canned import HOSTILE
from tests.browser.conftest import OpenPage, Watched
from tests.running import RunningServer
from tests.waiting import eventually

pytestmark = pytest.mark.browser

DAYS = 5
PER_DAY = 120
MODEL = "credit risk/v2.1"
HARMLESS = "fraud"
NOW = datetime.now(UTC).replace(microsecond=0)


def prediction(rng: random.Random, request_id: str, version: str, at: datetime) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "model": HARMLESS,
        "model_version": version,
        "predicted_at": at.isoformat(),
        "prediction": round(rng.random(), 6),
        "features": {
            "amount": round(rng.lognormvariate(3, 1), 2),
            "country": rng.choice(["DE", "FR", "PL"]),
            "is_new": rng.random() < 0.3,
            "age": rng.choice([None, 31, 44]),
        },
        "entities": {"user": f"u-{rng.randrange(50)}"},
        "feature_times": {"amount": (at - timedelta(minutes=30 + 60 * rng.random())).isoformat()},
        "attributions": {"amount": rng.gauss(0, 0.4), "age": rng.gauss(0, 0.1)},
    }


def fill(server: RunningServer) -> None:
    """Five days by two versions, the second a shadow of the last two days; labels for all but the last half day."""
    rng = random.Random(7)
    window = {"chargeback": {"window": "1d"}}
    server.http.put(f"/v1/models/{HARMLESS}", json={"labels": window, "primary_label": "chargeback"}).raise_for_status()
    predictions, labels = [], []
    for i in range(DAYS * PER_DAY):
        at = NOW - timedelta(days=DAYS) + timedelta(days=DAYS) * i / (DAYS * PER_DAY)
        one = prediction(rng, f"r-{i}", "1", at)
        predictions.append(one)
        if at > NOW - timedelta(days=2):
            predictions.append({**one, "model_version": "2", "prediction": round(rng.random(), 6)})
        if at < NOW - timedelta(hours=12):
            late = at + timedelta(hours=2)
            value = int(rng.random() < one["prediction"])
            labels.append(
                {"request_id": f"r-{i}", "name": "chargeback", "value": value, "observed_at": late.isoformat()}
            )
    for path, events in (("/v1/predictions", predictions), ("/v1/labels", labels)):
        answer = server.post(path, events)
        assert answer.json()["accepted"] == len(events), answer.text
    training = [prediction(rng, "", "1", NOW)["features"] | {"amount": rng.lognormvariate(4, 1)} for _ in range(400)]
    table = pa.Table.from_pylist(training)
    pq.write_table(table, body := io.BytesIO())
    uploaded = server.http.post(f"/v1/models/{HARMLESS}/references?model_version=1", content=body.getvalue())
    assert uploaded.status_code == 201, uploaded.text
    server.until_joined()


@pytest.fixture(scope="module")
def filled(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("dashboard") / "data")
    server.start()
    fill(server)
    yield server
    server.end()


def model_page(server: RunningServer, open_page: OpenPage, query: str = "") -> Watched:
    return open_page(f"{server.url}/models/{HARMLESS}{query}")


def test_the_list_shows_the_model_with_the_counts_of_the_api(filled: RunningServer, open_page: OpenPage) -> None:
    shown = open_page(filled.url + "/")

    def same() -> bool:
        known = {one["model"]: one for one in filled.http.get("/v1/models").json()["models"]}[HARMLESS]
        row = shown.text(f"#models-rows tr:has-text('{HARMLESS}')")
        assert f"{known['predictions']:,}" in row, row
        assert known["last_seen"][:16].replace("T", " ") in row, row
        return shown.page.locator(".spark").count() > 0

    eventually(same)
    shown.clean(filled.url)


def test_the_key_figures_and_the_funnel_equal_the_api(filled: RunningServer, open_page: OpenPage) -> None:
    shown = model_page(filled, open_page)
    base = f"/v1/models/{HARMLESS}"

    def same() -> bool:
        labels = filled.http.get(f"{base}/labels").json()
        known = labels["labels"][0]
        drift = filled.http.get(f"{base}/drift").json()
        overall = filled.http.get(f"{base}/performance", params={"version": "2"}).json()["overall"]
        figures = shown.text("#figures")
        assert f"{filled.http.get(base).json()['predictions']:,}" in figures
        assert f"{known['coverage'] * 100:.1f}".removesuffix(".0") in figures
        assert f"{drift['drifted']} of {drift['judged']}" in figures
        assert f"{overall['metrics']['roc_auc']:.3f}" in figures
        for step, count in labels["funnel"].items():
            assert f"{count:,}" in shown.text(f".funnel li:has-text('{step.capitalize()}')")
        return True

    eventually(same, 30)
    shown.clean(filled.url)


def test_every_panel_draws_what_the_server_answers(filled: RunningServer, open_page: OpenPage) -> None:
    shown = model_page(filled, open_page)
    for panel in ("performance", "traffic"):
        eventually(lambda panel=panel: shown.page.locator(f"#{panel} .main-svg").count() > 0, 30)
    # Labels of past days that were all received just now: no prediction was watched for longer than its label took.
    shown.says("#labels", "The curve begins once predictions have been watched for a little longer")
    shown.says("#drift .sub", "against the training data of version 1")
    shown.page.locator("#drift").get_by_role("button", name="amount", exact=True).click()
    eventually(lambda: shown.page.locator(".detail .main-svg").count() >= 4, 30)
    reference = filled.http.get(f"/v1/models/{HARMLESS}/features/amount").json()["reference"]
    shown.says(".detail table:has-text('Median')", f"{reference['mean']:.3f}")
    shown.says("#versions thead", "Version 1")
    shown.says("#training-sets", "400")
    shown.clean(filled.url)


def test_the_performance_table_equals_the_api_and_open_windows_say_so(
    filled: RunningServer, open_page: OpenPage
) -> None:
    shown = model_page(filled, open_page, "?window=1d")
    eventually(lambda: shown.page.locator("#performance .main-svg").count() > 0, 30)
    shown.page.locator("#performance summary").click()

    def same() -> bool:
        windows = filled.http.get(f"/v1/models/{HARMLESS}/performance?window=1d&version=1").json()["windows"]
        for window in windows:
            row = shown.text(f"#performance tbody tr:has-text('{window['start'][:10]}'):has(:first-child:text-is('1'))")
            still_open = window["matured"] < window["rows"]
            value = (window.get("so_far") or window if still_open else window)["metrics"].get("roc_auc")
            assert (f"{value:.3f}" if value is not None else "\N{EN DASH}") in row, (row, window)
            assert ("(open)" in row) == still_open, (row, window)
        return windows[-1]["matured"] < windows[-1]["rows"]

    eventually(same, 30)
    shown.clean(filled.url)


def test_a_story_shows_what_was_served_and_learns_of_a_correction(filled: RunningServer, open_page: OpenPage) -> None:
    served = {
        "request_id": "story/1 ?#",
        "model": MODEL,
        "model_version": "1.0",
        "prediction": 1.0,
        "features": {"a": 1, "b": 1.0, "c": "1", "d": None, "e": True, "f": "", "g": [1.5, 2.0]},
        "predicted_at": (NOW - timedelta(hours=5)).isoformat(),
    }
    assert filled.post("/v1/predictions", served).json()["accepted"] == 1
    shown = open_page(filled.url + "/")
    shown.page.locator("#find").fill(str(served["request_id"]))
    shown.page.locator("#find").press("Enter")
    shown.says("#story", "1 prediction, 0 label events.")
    cells = shown.page.locator("#features tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert sorted(cells) == [
        ["a", "1", "integer"],
        ["b", "1.0", "float"],
        ["c", '"1"', "string"],
        ["d", "null", "null"],
        ["e", "true", "boolean"],
        ["f", '""', "string"],
        ["g", "[1.5, 2.0]", "list of 2"],
    ]
    for value, hours, source in ((0, 4, "feed"), (1, 2, "analyst")):
        observed = (NOW - timedelta(hours=hours)).isoformat()
        label = {"request_id": served["request_id"], "name": "label", "value": value, "observed_at": observed}
        assert filled.post("/v1/labels", {**label, "source": source}).json()["accepted"] == 1
    shown.says(".tale", "Labelled 0 by feed one hour after the prediction. Corrected to 1 by analyst two hours later.")
    shown.says(".tale", "It now counts as 1, final on")
    shown.clean(filled.url)


def test_a_model_whose_name_holds_slashes_has_a_page(filled: RunningServer, open_page: OpenPage) -> None:
    event = prediction(random.Random(1), "slash-1", "1", NOW) | {"model": "team/a.b/c"}
    assert filled.post("/v1/predictions", event).json()["accepted"] == 1
    shown = open_page(filled.url + "/")
    shown.page.get_by_role("link", name="team/a.b/c").click()
    shown.says("h1", "team/a.b/c")
    eventually(lambda: shown.text(".figure-value") == "1")
    shown.clean(filled.url)


def test_back_dated_predictions_begin_the_story_when_they_were_made(filled: RunningServer, open_page: OpenPage) -> None:
    shown = model_page(filled, open_page)
    shown.says("#model-sub", f"since {(NOW - timedelta(days=DAYS)).date().isoformat()}")


def test_a_report_is_made_on_demand_and_opens_without_rights(filled: RunningServer, open_page: OpenPage) -> None:
    shown = model_page(filled, open_page)
    shown.page.get_by_role("button", name="Make a report").click()
    eventually(lambda: "done" in shown.text("#reports tbody tr"), 90)
    with shown.page.context.expect_page() as opened:
        shown.page.locator("#reports tbody a").first.click()
    report = opened.value
    report.wait_for_load_state()
    eventually(lambda: report.locator("body").inner_text().strip())
    assert report.evaluate("window.origin") == "null", "the report would have the rights of our pages"
    shown.clean(filled.url)


@pytest.mark.parametrize("panel", ["drift", "performance"])
def test_what_a_panel_shows_can_be_had_as_python(filled: RunningServer, open_page: OpenPage, panel: str) -> None:
    """The link asks for the lines of the very answer that is shown."""
    shown = model_page(filled, open_page)
    link = shown.page.locator(f"#{panel} a", has_text="Python")
    eventually(lambda: link.count() == 1)
    address = link.get_attribute("href")
    assert address is not None
    got = filled.http.get(address)
    assert got.headers["content-type"].startswith("text/x-python")
    assert f"'/v1/models/{HARMLESS}/{panel}'" in got.text
    shown.clean(filled.url)


def test_recomputed_values_that_differ_are_shown_with_an_example(filled: RunningServer, open_page: OpenPage) -> None:
    """The newest comparison, feature by feature, the one that differs most first, with a way to the request."""
    shown = model_page(filled, open_page)
    shown.says("#row-skew", "no recomputed values were compared")
    lines = "request_id,amount,<b>new</b>\n" + "".join(f"r-{i},-1,{i}\n" for i in range(20)) + "nobody,1,1\n"
    sent = filled.http.post(
        f"/v1/models/{HARMLESS}/row-skews?version=1", content=lines, headers={"content-type": "text/csv"}
    )
    assert sent.status_code == 202, sent.text
    eventually(lambda: filled.http.get(f"/v1/row-skews/{sent.json()['id']}").json()["status"] == "done", 60)
    shown.page.reload()
    shown.says("#row-skew", "20 rows compared · 1 not served")
    shown.says("#row-skew tbody tr:has-text('<b>new</b>')", "differs")
    shown.says("#row-skew tbody tr:has-text('amount')", "recomputed -1")
    shown.page.locator("#row-skew tbody a").first.click()
    shown.says("h1", "r-")
    shown.clean(filled.url)


def test_ages_of_feature_values_are_shown_and_open(filled: RunningServer, open_page: OpenPage) -> None:
    """Only the feature whose times are logged; its row opens into its own page, not into that of the values."""
    shown = model_page(filled, open_page)
    shown.says("#freshness", "against the window before")
    shown.says("#freshness tbody tr:has-text('amount')", "100 % of")
    assert shown.page.locator("#freshness tbody tr").count() == 1
    shown.page.locator("#freshness .open").first.click()
    shown.says("#freshness .detail", "wasserstein")
    shown.charts()
    asked = [url for url in shown.requests if "/features/amount" in url]
    assert asked
    assert all("role=freshness" in url for url in asked)
    shown.clean(filled.url)


def test_what_features_contribute_is_shown_with_the_verdict_on_their_ranking(
    filled: RunningServer, open_page: OpenPage
) -> None:
    shown = model_page(filled, open_page)
    shown.says("#attributions", "Ranking: ok; NDCG 1")
    shown.says("#attributions tbody tr >> nth=0", "amount")
    shown.says("#attributions tbody tr >> nth=1", "age")
    names = shown.page.locator("#drift tbody .open").all_inner_texts()
    assert sorted(names) == sorted(set(names)), "no feature is there twice because its attributions are drift, too"
    shown.clean(filled.url)


def test_a_model_without_times_and_attributions_has_no_panels_for_them(
    filled: RunningServer, open_page: OpenPage
) -> None:
    shown = open_page(f"{filled.url}/models/{quote(MODEL, safe='')}")
    shown.says("#drift", "Not yet")
    for panel in ("freshness", "attributions"):
        assert shown.page.locator(f"#{panel}").is_hidden()
        assert shown.page.locator(f".sections a[href='#{panel}']").is_hidden()


def test_features_together_are_compared_on_demand_and_shown(filled: RunningServer, open_page: OpenPage) -> None:
    """The button asks; both numbers stand beside their thresholds, and the lines that make them again can be had."""
    shown = model_page(filled, open_page)
    shown.says("#multivariate", "were not compared")
    shown.page.locator("#multivariate button").click()
    eventually(lambda: shown.page.locator("#multivariate tbody tr").count() == 2, 120)
    shown.says("#multivariate", "done")
    shown.says("#multivariate tbody tr:has-text('Domain classifier')", "0.550")
    shown.says("#multivariate tbody tr:has-text('PCA reconstruction error')", "0.020")
    link = shown.page.locator("#multivariate a", has_text="Python").get_attribute("href")
    assert link is not None
    assert "HistGradientBoostingClassifier" in filled.http.get(link).text
    shown.clean(filled.url)


def test_a_number_moves_while_predictions_arrive(filled: RunningServer, open_page: OpenPage) -> None:
    shown = model_page(filled, open_page)
    eventually(lambda: any(digit.isdigit() for digit in shown.text(".figure-value")))
    before = shown.text(".figure-value")
    more = [prediction(random.Random(i), f"later-{i}", "1", datetime.now(UTC)) for i in range(25)]
    assert filled.post("/v1/predictions", more).json()["accepted"] == len(more)
    # A page asks a server that is slow less often: after four times what the last answer took.
    eventually(lambda: int(shown.text(".figure-value").replace(",", "")) >= int(before.replace(",", "")) + 25, 60)
    shown.clean(filled.url)


def test_a_finished_export_appears_in_the_list(filled: RunningServer, open_page: OpenPage) -> None:
    shown = model_page(filled, open_page)
    export = filled.export(model=HARMLESS)
    shown.says(f"#training-sets tr:has-text('{export['id'][:10]}')", "done")
    row = shown.text(f"#training-sets tr:has-text('{export['id'][:10]}')")
    assert f"{export['manifest']['rows']:,}" in row
    assert export["manifest"]["sha256"][:12] in row
    shown.clean(filled.url)


def test_hostile_names_that_were_really_logged_do_nothing(filled: RunningServer, open_page: OpenPage) -> None:
    name = HOSTILE[2]
    event = {
        "request_id": name,
        "model": name,
        "model_version": HOSTILE[0],
        "prediction": 0.5,
        "features": {text: text for text in HOSTILE if "\0" not in text},
        "tags": {HOSTILE[4]: HOSTILE[5]},
        "entities": {HOSTILE[6]: HOSTILE[7]},
    }
    answer = filled.post("/v1/predictions", [{**event, "request_id": f"{name}{i}"} for i in range(3)] + [event])
    assert answer.json()["accepted"] == 4, answer.text
    label = {"request_id": name, "name": HOSTILE[3], "value": HOSTILE[6], "source": HOSTILE[0]}
    assert filled.post("/v1/labels", label).json()["accepted"] == 1
    for path, sign in (
        ("/", "#models-rows tr"),
        (f"/models/{quote(name, safe='')}", ".figure-value"),
        (f"/requests/{quote(name, safe='')}", "#features tbody tr"),
    ):
        shown = open_page(filled.url + path)
        eventually(lambda shown=shown, sign=sign: shown.page.locator(sign).count() > 0)
        assert shown.page.evaluate("document.documentElement.dataset.pwned") is None
        assert shown.page.locator("main iframe, main script, main [onerror], .plot a").count() == 0
        shown.clean(filled.url)


def test_the_writers_page_follows_the_books_of_the_api(filled: RunningServer, open_page: OpenPage) -> None:
    """A gap appears, is explained by a report, and is closed by the event that comes late."""
    shown = open_page(f"{filled.url}/writers")
    shown.says("#writers-none", "No writer yet")
    events = [{"request_id": f"w-{n}", "model": "counted", "writer_id": "counting", "seq": n} for n in range(10)]
    filled.post("/v1/predictions", [*events[:3], *events[5:]])
    row = "#writers-rows tr.writer"
    shown.says(row, "counting waiting 10 2 2 too recent to judge")
    said = {"writer_id": "counting", "next_seq": 10, "host": "h-1", "pid": 7, "is_last": True}
    times = {"reported_at": NOW.isoformat(), "started_at": NOW.isoformat()}
    filled.post("/v1/writers", {**said, **times, "counters": {"dropped": 1, "dropped_full": 1}})
    shown.says(row, "counting h-1, process 7 lossy 10 2 1 lost without a word 1 dropped: queue full")
    shown.page.locator(f"{row} button").click()
    shown.says(".detail", "3 to 4 2 numbers")
    filled.post("/v1/predictions", events[3])
    shown.says(row, "counting h-1, process 7 complete, dropped some 10 1 1 dropped: queue full")
    shown.says(".detail", "4 1 number")
    shown.clean(filled.url)
